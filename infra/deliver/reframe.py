"""Another aspect around the subject: a window that follows a motion track, smoothly, and stays inside the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import av
import ffmpeg as graph
import numpy as np
from numpy.typing import NDArray

from infra.deliver.cards import Smaller
from infra.deliver.tool import Tools
from infra.media.track import track_subject

Boxes = NDArray[np.float64]
MOVED: Final = "crop@window"
"""The filter that `Window.commands` move: by its own name, for there may be others of its kind."""
_SMOOTH_S: Final = 0.5  # standard deviation of the smoothing: a camera operator's hand, not the subject's every step


@dataclass(frozen=True)
class Window:
    """Where the window's upper left corner is, in pixels of the scaled picture, per frame.

    scaled: (width, height) that the picture is scaled to before; size: of the window; kept: share of the subject's
    box, over all frames, that is inside; None without a track. how: for people. smaller: title cards that are not cut.
    """

    scaled: tuple[int, int]
    size: tuple[int, int]
    corners: NDArray[np.int64]
    kept: float | None
    how: str
    smaller: Smaller | None = None

    @property
    def told(self) -> dict[str, Any]:
        """For the record."""
        told = {"around": self.how, "subject_kept": None if self.kept is None else round(self.kept, 4)}
        if self.smaller is None:
            return told
        return told | {"cards": [list(frames) for frames in self.smaller.ranges], "cards_to": list(self.smaller.scaled)}

    def commands(self, rate: Fraction, start: int = 0, end: int | None = None) -> str:
        """For ffmpeg's sendcmd: the corners of frames `start` to `end`, counted from `start`, where they change."""
        lines = []
        before: tuple[int, int] | None = None
        for number, (x, y) in enumerate(self.corners[start:end].tolist()):
            if before is not None and (x, y) != before:
                # half a frame early, so that no rounding of times makes it a frame late
                at = float((Fraction(number) - Fraction(1, 2)) / rate)
                lines.append(f"{at:.6f} {MOVED} x {x}, {MOVED} y {y};")
            before = x, y
        return "\n".join(lines) + "\n"


def follow(
    boxes: NDArray[np.float64] | None,
    frames: int,
    rate: Fraction,
    *,
    source: tuple[int, int],
    size: tuple[int, int],
    cuts: Sequence[int] = (),
) -> Window:
    """The window of a size over the picture of `source`, around the subject's boxes (frames, 4): x, y, width, height.

    It moves smoothly between `cuts`, the frames at which another shot begins, and jumps there. Without boxes it stays
    around the centre, and `how` says so.
    """
    scale = max(size[0] / source[0], size[1] / source[1])
    scaled = tuple(max(wanted, 2 * round(side * scale / 2)) for side, wanted in zip(source, size, strict=True))
    room = np.array(scaled) - np.array(size)
    if boxes is None:
        corners = np.tile(room // 2, (frames, 1)).astype(np.int64)
        return Window((scaled[0], scaled[1]), size, corners, None, "centre: no subject was found")
    ratio = np.array(scaled) / np.array(source)
    low, high = boxes[:, :2] * ratio, (boxes[:, :2] + boxes[:, 2:]) * ratio
    shots = np.split((low + high) / 2, sorted(cuts))
    centres = np.concatenate([_smooth(shot, float(rate) * _SMOOTH_S) for shot in shots])
    wanted = centres - np.array(size) / 2
    # Smoothing lags behind quick things: the window is moved so far that the box is in, where it fits.
    fits = (high - low) <= np.array(size)
    wanted = np.where(fits, np.clip(wanted, high - np.array(size), low), wanted)
    corners = np.clip(np.round(wanted), 0, room).astype(np.int64)
    return Window((scaled[0], scaled[1]), size, corners, _kept(low, high, corners, size), "subject")


def track(
    film: Path,
    frames: int,
    cuts: Sequence[int],
    folder: Path,
    tools: Tools,
    rate: Fraction,
    *,
    cards: Sequence[int] = (),
) -> Boxes | None:
    """Boxes of a film's subject, (frames, 4); None where no subject is seen in it.

    Each shot between `cuts` is looked at by itself: what is background in one is nothing in the next. Shots that begin
    at `cards` have no subject: the letters of a title are none.
    """
    edges = [0, *sorted(cut for cut in set(cuts) if 0 < cut < frames), frames]
    if len(edges) == 2:
        return _tracked(film, frames)
    found = []
    for start, end in pairwise(edges):
        if start in cards:
            found.append(np.full((end - start, 4), np.nan))
            continue
        shot = folder / f"shot-{start:08d}.mp4"
        _cut_out(film, shot, start, end, tools, rate)
        boxes = _tracked(shot, end - start)
        shot.unlink()
        found.append(np.full((end - start, 4), np.nan) if boxes is None else boxes)
    whole = np.concatenate(found)
    if np.isnan(whole).all():
        return None
    with av.open(str(film)) as container:
        codec = container.streams.video[0].codec_context
        middle = np.array([0.0, 0.0, codec.width, codec.height])
    return np.where(np.isnan(whole), middle, whole)  # a card, or a shot without a subject: around the centre


def _tracked(film: Path, frames: int) -> Boxes | None:
    table = track_subject(film)
    return boxes_of({name: table[name].to_numpy() for name in table.column_names}, frames)


def _cut_out(film: Path, shot: Path, start: int, end: int, tools: Tools, rate: Fraction) -> None:
    options = {"ss": f"{float((Fraction(start) - Fraction(1, 2)) / rate):.6f}"} if start else {}
    stream = graph.input(f"file:{film}", **options).video.filter("trim", end_frame=end - start)
    stream = stream.filter("setpts", "PTS-STARTPTS")
    tools.run(stream.output(f"file:{shot}", **{"c:v": "libx264", "crf": 4, "preset": "ultrafast", "f": "mp4"}))


def boxes_of(table: Mapping[str, Any], frames: int) -> NDArray[np.float64] | None:
    """Boxes for every frame of a track, those between seen ones interpolated; None where none was seen."""
    number = np.asarray(table["frame"], np.int64)
    boxes = np.stack([np.asarray(table[name], np.float64) for name in ("x", "y", "width", "height")], axis=1)
    good = (np.asarray(table["score"], np.float64) > 0) & np.isfinite(boxes).all(axis=1) & (number < frames)
    if not good.any():
        return None
    every = np.arange(frames)
    return np.stack([np.interp(every, number[good], boxes[good, side]) for side in range(4)], axis=1)


def _smooth(values: NDArray[np.float64], deviation: float) -> NDArray[np.float64]:
    """A Gaussian over time, (frames, 2); the ends are held."""
    reach = int(np.ceil(3 * deviation))
    if reach < 1 or len(values) < 2:
        return values
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel /= kernel.sum()
    held = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    return np.stack([np.convolve(held[:, side], kernel, "valid") for side in range(values.shape[1])], axis=1)


def _kept(
    low: NDArray[np.float64], high: NDArray[np.float64], corners: NDArray[np.int64], size: tuple[int, int]
) -> float:
    inner = np.minimum(high, corners + np.array(size)) - np.maximum(low, corners)
    area = np.prod(np.maximum(inner, 0), axis=1) / np.maximum(np.prod(high - low, axis=1), 1e-9)
    return float(area.mean())
