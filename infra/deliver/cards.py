"""Title cards that a window would cut at its sides: shown smaller, until their letters fit.

A card is letters on a plain colour. It is measured in its middle frame; where the window is narrower than the letters,
the whole card is scaled down, and the colour at its edges goes on to the window's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import ffmpeg as graph
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.deliver.tool import Tools

ROOM: Final = 0.9
"""Share of the window that letters may take."""
_LETTER: Final = 48  # difference of a letter's pixel from the card's colour, of 255, beyond what an encoder leaves

Range = tuple[int, int]
"""Frames from the first to the one behind the last."""
Size = tuple[int, int]


@dataclass(frozen=True)
class Smaller:
    """The cards of a film that are shown smaller. ranges: their frames; scaled: what the whole picture is scaled to
    there; size: of the window. All cards of a film get one scale, as they had one in it.
    """

    ranges: tuple[Range, ...]
    scaled: Size
    size: Size

    @property
    def cropped(self) -> Size:
        """What of the scaled picture is seen: its middle, where it is larger than the window."""
        return min(self.scaled[0], self.size[0]), min(self.scaled[1], self.size[1])

    @property
    def borders(self) -> tuple[int, int, int, int]:
        """Pixels between that and the window's edge: left, right, top, bottom; even at the left and the top."""
        spare = [whole - seen for whole, seen in zip(self.size, self.cropped, strict=True)]
        left, top = (side // 4 * 2 for side in spare)
        return left, spare[0] - left, top, spare[1] - top

    def inside(self, start: int, end: int) -> list[Range]:
        """The ranges within these frames, counted from `start`."""
        cut = [(max(start, low) - start, min(end, high) - start) for low, high in self.ranges]
        return [(low, high) for low, high in cut if low < high]

    def place(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A whole picture, (height, width, 3), as it is seen in the window."""
        small = np.asarray(Image.fromarray(frame).resize(self.scaled, Image.Resampling.LANCZOS))
        width, height = self.cropped
        x, y = ((whole - seen) // 2 for whole, seen in zip(self.scaled, self.cropped, strict=True))
        left, right, top, bottom = self.borders
        return np.pad(small[y : y + height, x : x + width], ((top, bottom), (left, right), (0, 0)), mode="edge")

    def filtered(self, stream: Any) -> Any:
        """The same by ffmpeg's filters, of pictures that are scaled already."""
        width, height = self.cropped
        left, right, top, bottom = self.borders
        if (width, height) != self.scaled:
            stream = stream.filter("crop", width, height)
        if (width, height) != self.size:
            stream = stream.filter("pad", *self.size, left, top)
            stream = stream.filter("fillborders", left=left, right=right, top=top, bottom=bottom, mode="smear")
        return stream


def fitted(
    film: Path, cards: Sequence[Range], *, scaled: Size, size: Size, rate: Fraction, new: Fraction, folder: Path,
    tools: Tools,
) -> Smaller | None:  # fmt: skip
    """The cards of a film that its window would cut; None where it cuts none.

    Args:
        cards: in frames of the film. rate: of the film; new: of what is delivered, in which frames are told.
        scaled: what the picture is scaled to before the window, of `size`, is cut out of it.
    """
    found: list[tuple[float, Range]] = []
    for start, end in cards:
        reach = _reach(_frame(film, (start + end) // 2, rate, folder, tools))
        wide = max(share * whole / (ROOM * seen) for share, whole, seen in zip(reach, scaled, size, strict=True))
        if wide > 1:
            found.append((wide, (round(start * new / rate), round(end * new / rate))))
    if not found:
        return None
    most = max(wide for wide, _ in found)
    width, height = (max(2, 2 * int(side / most / 2)) for side in scaled)
    return Smaller(tuple(frames for _, frames in found), (width, height), size)


def _frame(film: Path, number: int, rate: Fraction, folder: Path, tools: Tools) -> NDArray[np.int64]:
    picture = folder / f"card-{number:08d}.png"
    options = {"ss": f"{float((Fraction(number) - Fraction(1, 2)) / rate):.6f}"} if number else {}
    stream = graph.input(f"file:{film}", **options).video
    tools.run(stream.output(f"file:{picture}", **{"frames:v": 1, "f": "image2", "update": 1}))
    with Image.open(picture) as opened:
        pixels = np.asarray(opened.convert("RGB"), np.int64)
    picture.unlink()
    return pixels


def _reach(frame: NDArray[np.int64]) -> tuple[float, float]:
    """How far letters reach from the middle of a card, as shares of half its width and height."""
    edges = np.concatenate([frame[0], frame[-1], frame[:, 0], frame[:, -1]])
    letters = (np.abs(frame - np.median(edges, axis=0)) > _LETTER).any(axis=-1)
    if not letters.any():
        return 0.0, 0.0
    return _share(letters.any(axis=0)), _share(letters.any(axis=1))


def _share(used: NDArray[np.bool_]) -> float:
    at, half = np.flatnonzero(used), len(used) / 2
    return float(max(half - at[0], at[-1] + 1 - half) / half)
