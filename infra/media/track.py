"""Where the subject of a film is, frame by frame, told from the pictures alone: no learned model.

    table = track_subject("take.mp4")       # frame, x, y, width, height, score: one row per frame

The subject is the heaviest connected part of what is not background (`background.py`), followed through the film so
that it does not jump between parts. Pixels count from the upper left corner of the film as it is shown.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import av
import av.error
import numpy as np
import pyarrow as pa
from av.video.reformatter import ColorRange, Interpolation
from numpy.typing import NDArray

from infra.media.background import Background, Picture, Plane, Still, threshold
from infra.media.components import Component, components, grown, label, shrunk
from infra.media.errors import Unplayable

SCHEMA: Final = pa.schema(
    [("frame", pa.int32())] + [(name, pa.float32()) for name in ("x", "y", "width", "height", "score")]
)
"""Boxes in pixels of the film; `score` is 0 (no subject, the box is a guess) to 1 (all that is not background)."""

_LOOKED_AT = 192  # pixels of the longer side: enough for a box, and quick
_CANDIDATES = 4
_JUMP = 3.0  # what a jump over the picture's diagonal costs, in units of a frame's whole foreground
_LEAST, _MOST = 0.0004, 0.9  # of the picture: a smaller part is noise, a larger one is a wrong background
_PREFERRED = 0.1  # by how much the second estimate of the background must be better than the first
_SAMPLED = 31  # frames that a still background is told from
_SMOOTH = 1.5  # frames: standard deviation of the smoothing over time


class Subject(NamedTuple):
    """What was found in a film of `width` x `height` pixels.

    boxes: (frames, 4) as x, y, width, height. scores: (frames,). background: the estimate that was the better one,
    `border` (`Plane`) or `still` (`Still`). masks: per frame where the subject is in a small picture, (rows, columns).
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    background: str
    width: int
    height: int
    masks: list[NDArray[np.bool_]]


def track_subject(film: str | os.PathLike[str]) -> pa.Table:
    """A row per frame of the film: the box of its subject, smoothed over time.

    Where no subject is seen, the box lies between those before and after and has score 0; where there is none in the
    whole film, it is the whole picture. Raises Unplayable for what is no film.
    """
    return track_table(find_subject(film))


def track_table(subject: Subject) -> pa.Table:
    """The table of `track_subject`."""
    columns = [pa.array(np.arange(len(subject.boxes)), pa.int32())]
    columns += [pa.array(subject.boxes[:, side], pa.float32()) for side in range(4)]
    columns.append(pa.array(subject.scores, pa.float32()))
    told = {"width": str(subject.width), "height": str(subject.height), "background": subject.background}
    return pa.table(columns, schema=SCHEMA.with_metadata(told))


def find_subject(film: str | os.PathLike[str]) -> Subject:
    """As `track_subject`, in arrays, and which estimate of the background was used."""
    small = list(pictures(film, longest=_LOOKED_AT))
    if not small:
        raise Unplayable(str(film), "no frame in it")
    width, height = size_of(film)
    guesses: list[tuple[str, Background]] = [("border", Plane())]
    if len(small) >= Still.FEWEST:
        guesses.append(("still", Still([small[at] for at in sampled(len(small))])))
    best: _Found | None = None
    name = ""
    for other, background in guesses:
        found = _follow(small, background)
        if best is None or found.scores.mean() > best.scores.mean() + _PREFERRED:
            best, name = found, other
    assert best is not None
    boxes, scores, masks = best
    rows, columns = small[0].shape[:2]
    if scores.max() > 0:
        boxes = _smoothed(_filled(boxes, scores)) * np.array([width / columns, height / rows] * 2)
        boxes = _inside(boxes, width, height)
    else:
        boxes = np.tile(np.array([0.0, 0.0, width, height]), (len(small), 1))
    return Subject(boxes, scores, name, width, height, masks)


def pictures(film: str | os.PathLike[str], longest: int | None = None) -> Iterator[Picture]:
    """The frames, (height, width, 3) RGB of full range, made smaller where their longer side is above `longest`."""
    try:
        with av.open(os.fspath(film)) as container:
            stream = _video(film, container)
            for frame in container.decode(stream):
                scale = 1.0 if longest is None else min(1.0, longest / max(frame.width, frame.height))
                # swscale's area filter, so that a small thing is not lost between pixels
                small = frame.reformat(
                    width=max(2, round(frame.width * scale)),
                    height=max(2, round(frame.height * scale)),
                    format="rgb24",
                    interpolation=Interpolation.AREA if scale < 1 else Interpolation.BICUBIC,
                    dst_color_range=int(ColorRange.JPEG),
                )
                yield np.ascontiguousarray(small.to_ndarray())
    except av.error.FFmpegError as error:
        raise Unplayable(str(film), str(error)) from error


def size_of(film: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height of a film's pictures."""
    try:
        with av.open(os.fspath(film)) as container:
            codec = _video(film, container).codec_context
            return int(codec.width), int(codec.height)
    except av.error.FFmpegError as error:
        raise Unplayable(str(film), str(error)) from error


def sampled(count: int) -> list[int]:
    """Numbers of frames, spread over so many, that a still background is told from."""
    return [int(at) for at in np.unique(np.linspace(0, count - 1, min(count, _SAMPLED)).round())]


def _video(film: str | os.PathLike[str], container: av.container.InputContainer) -> av.VideoStream:
    if not container.streams.video:
        raise Unplayable(Path(film).name, "no video in it")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return stream


class _Found(NamedTuple):
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    masks: list[NDArray[np.bool_]]


def _follow(small: Sequence[Picture], background: Background) -> _Found:
    """The subject with one estimate of the background, in pixels of these pictures, not yet smoothed."""
    found = [_seen(background.distance(picture)) for picture in small]
    rows, columns = small[0].shape[:2]
    chosen = _path([seen.parts for seen in found], [seen.total for seen in found], float(np.hypot(rows, columns)))
    boxes = np.zeros((len(small), 4))
    scores = np.zeros(len(small))
    for number, part in enumerate(chosen):
        if part is not None:
            boxes[number] = part.left, part.top, part.right - part.left, part.bottom - part.top
            scores[number] = part.mass / found[number].total
    masks = [seen.labels == (-1 if part is None else part.label) for seen, part in zip(found, chosen, strict=True)]
    return _Found(boxes, scores, masks)


class _Seen(NamedTuple):
    """The heaviest parts of a frame's foreground, the weight of all of it, and where each part is."""

    parts: list[Component]
    total: float
    labels: NDArray[np.int32]


def _seen(distance: NDArray[np.float32]) -> _Seen:
    mask = distance > threshold(distance)
    labels, count = label(grown(shrunk(mask)) if mask.mean() > 0.01 else mask)
    weights = np.where(mask, distance, 0).astype(np.float32)
    pixels = mask.size
    parts = components(labels, count, weights, _CANDIDATES)
    fitting = [part for part in parts if _LEAST * pixels <= part.area <= _MOST * pixels]
    return _Seen(fitting, float(weights.sum()) + 1e-6, labels)


def _path(found: list[list[Component]], totals: list[float], diagonal: float) -> list[Component | None]:
    """One part per frame: heavy ones, without jumps. The best path by dynamic programming, over frames with parts."""
    frames = [number for number, parts in enumerate(found) if parts]
    chosen: list[Component | None] = [None] * len(found)
    if not frames:
        return chosen
    gains = [np.array([part.mass / totals[frames[0]] for part in found[frames[0]]])]
    came_from: list[NDArray[np.int64]] = []
    for before, number in pairwise(frames):
        here, there = _centres(found[number]), _centres(found[before])
        jump = np.linalg.norm(here[:, None] - there[None], axis=2) / diagonal
        reached = gains[-1][None] - _JUMP * jump
        came_from.append(reached.argmax(axis=1))
        gains.append(reached.max(axis=1) + np.array([part.mass / totals[number] for part in found[number]]))
    at = int(gains[-1].argmax())
    for place in range(len(frames) - 1, -1, -1):
        chosen[frames[place]] = found[frames[place]][at]
        if place:
            at = int(came_from[place - 1][at])
    return chosen


def _centres(parts: list[Component]) -> NDArray[np.float64]:
    return np.array([part.centre for part in parts])


def _filled(boxes: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frames without a subject get a box between those of their neighbours."""
    seen = np.flatnonzero(scores > 0)
    every = np.arange(len(boxes))
    return np.stack([np.interp(every, seen, boxes[seen, side]) for side in range(4)], axis=1)


def _smoothed(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """A Gaussian over time on both corners. Ends are mirrored through their value: a steady motion stays."""
    reach = min(len(boxes) - 1, round(3 * _SMOOTH))
    if reach < 1:
        return boxes
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    before = 2 * corners[:1] - corners[reach:0:-1]
    after = 2 * corners[-1:] - corners[-2 : -reach - 2 : -1]
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _SMOOTH) ** 2)
    kernel /= kernel.sum()
    whole = np.concatenate([before, corners, after])
    even = np.stack([np.convolve(whole[:, side], kernel, "valid") for side in range(4)], axis=1)
    return np.concatenate([even[:, :2], even[:, 2:] - even[:, :2]], axis=1)


def _inside(boxes: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    limit = np.array([width, height])
    start = np.clip(boxes[:, :2], 0, limit - 1)
    end = np.clip(boxes[:, :2] + boxes[:, 2:], start + 1, limit)
    return np.concatenate([start, end - start], axis=1)
