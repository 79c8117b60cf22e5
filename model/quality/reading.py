"""Reads a clip: what its pixels show, in the words of the world, whatever was asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.quality.blobs import Blob, find_blobs
from model.quality.camera import find_camera
from model.quality.paper import Paper, find_paper

_SIDE = 128  # pixels of the short side that are looked at; the world is drawn at no more
_FRAMES = 65  # frames of a longer clip in which things are looked for
_FULL = 0.97  # of the height: what reaches that far is a bar
_NOTABLE = 0.08  # of the largest thing's area; the smallest triangle beside the largest square has a tenth


@dataclass(frozen=True)
class Reading:
    """What a clip shows.

    Attributes:
        width, height: pixels as they were looked at, which may be fewer than the clip's.
        paper, style: of the whole clip.
        camera: word of the vocabulary; None where the background cannot tell.
        blobs: the things of each frame looked at, largest first, bars left out.
        bar: a bar through the frame, as the clip mostly has it; None where there is none.
    """

    width: int
    height: int
    paper: Paper
    style: str
    camera: str | None
    blobs: tuple[tuple[Blob, ...], ...]
    bar: Blob | None

    @property
    def short(self) -> int:
        """Pixels of the short side, the measure of all lengths."""
        return min(self.width, self.height)

    def main(self) -> list[Blob | None]:
        """The largest thing of each frame."""
        return [frame[0] if frame else None for frame in self.blobs]

    def counts(self) -> list[int]:
        """How many things each frame has, specks beside the largest not counted."""
        return [sum(blob.area >= _NOTABLE * frame[0].area for blob in frame) if frame else 0 for frame in self.blobs]


def reduced(frames: NDArray[np.generic]) -> NDArray[np.uint8]:
    """A clip (frames, height, width, 3), uint8 or uint16, as uint8 with a short side of 191 at most.

    Raises ValueError for what is no clip.
    """
    told = (getattr(frames, "shape", type(frames).__name__), getattr(frames, "dtype", None))
    if told[1] not in (np.uint8, np.uint16) or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"a clip is (frames, height, width, 3), uint8 or uint16, not {told[0]} of {told[1]}")
    by = max(1, round(min(frames.shape[1:3]) / _SIDE))
    height, width = (side // by for side in frames.shape[1:3])
    scale = 257.0 if frames.dtype == np.uint16 else 1.0
    if by == 1 and frames.dtype == np.uint8:
        return frames.astype(np.uint8, copy=False)
    small = np.empty((len(frames), height, width, 3), np.uint8)
    for index, frame in enumerate(frames):  # one at a time: a minute of film does not fit into memory as floats
        total = np.zeros((height, width, 3), np.float32)
        for row in range(by):
            for column in range(by):
                total += frame[row : height * by : by, column : width * by : by]
        small[index] = np.rint(total / (by * by * scale)).clip(0, 255)
    return small


def read(frames: NDArray[np.generic]) -> Reading:
    """Reads a clip (frames, height, width, 3), uint8 or uint16. ValueError for what is no clip."""
    clip = reduced(frames)
    _, height, width, _ = clip.shape
    chosen = np.unique(np.linspace(0, len(clip) - 1, min(len(clip), _FRAMES)).round().astype(int))
    video = clip[chosen].astype(np.float32)
    paper = find_paper(video)
    blobs, style = find_blobs(video, paper)
    camera = None
    if paper.texture != "plain":
        near = clip if len(chosen) == len(clip) else clip[: 3 * _FRAMES]
        pixels = video if len(chosen) == len(clip) else near.astype(np.float32)
        camera = find_camera(paper.tone(pixels), paper.away(pixels) < 30.0)
    bar = _bar(blobs, height, width)
    if bar is not None:
        blobs = tuple(tuple(blob for blob in frame if not _of_bar(blob, bar)) for frame in blobs)
    return Reading(width, height, paper, style, camera, blobs, bar)


def _bar(blobs: tuple[tuple[Blob, ...], ...], height: int, width: int) -> Blob | None:
    bars = [
        blob
        for frame in blobs
        for blob in frame
        if blob.box[3] - blob.box[1] >= _FULL * height and blob.box[2] - blob.box[0] < 0.5 * width
    ]
    if len(bars) < max(1, len(blobs) / 3):
        return None
    left, top, right, bottom = (int(np.median([blob.box[side] for blob in bars])) for side in range(4))
    middle = bars[len(bars) // 2]
    return replace(middle, x=(left + right) / 2, box=(left, top, right, bottom), whole=False, likeness=None)


def _of_bar(blob: Blob, bar: Blob) -> bool:
    """Whether a blob is the bar, or a part of it that something before it cuts off."""
    return blob.color == bar.color and bar.box[0] - 2 <= blob.box[0] and blob.box[2] <= bar.box[2] + 2
