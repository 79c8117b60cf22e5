"""Files that go with a take: matte, motion track, a blurred background. Each is whole or not there.

| kind | film | still |
|---|---|---|
| matte | FFV1 in Matroska, gray, 8 bit, full range, without loss | PNG, gray |
| track | Parquet, one row per frame | Parquet, one row |
| blur | as takes are: H.264 High, 4:2:0, BT.709 | PNG |
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal, get_args

import ffmpeg as graph
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from infra.media.ffmpeg import run
from infra.media.files import appears_whole
from infra.media.film import CRF_WORST, encode_film
from infra.media.matte import Matte
from infra.media.probe import MediaFacts, probe
from infra.media.still import encode_still
from infra.media.track import Subject, find_subject, track_table

Kind = Literal["matte", "track", "blur"]
KINDS: Final = get_args(Kind)
METHOD: Final = 1
"""Raised when the same film gives another matte, track or blur."""


def suffix_of(kind: Kind, *, still: bool) -> str:
    """How a file of this kind is called at its end."""
    if kind == "track":
        return ".parquet"
    if still:
        return ".png"
    return ".mkv" if kind == "matte" else ".mp4"


class SideAssets:
    """Makes the files of one take; the subject is looked for once. Raises Unplayable for what is no film or still."""

    def __init__(self, film: Path, *, ffmpeg: Path | None = None, timeout_s: float = 600.0) -> None:
        self._film, self._ffmpeg, self._timeout_s = film, ffmpeg, timeout_s
        self._facts: MediaFacts = probe(film)
        self.subject: Subject = find_subject(film)

    def write(self, kind: Kind, target: Path) -> None:
        """Writes the file of a kind. Raises EncodeError where ffmpeg fails."""
        with appears_whole(target) as partial:
            if kind == "track":
                pq.write_table(track_table(self.subject), partial)
            elif kind == "matte":
                self._matte(partial)
            else:
                self._blur(partial)

    def _matte(self, target: Path) -> None:
        alphas = Matte(self._film, self.subject).alphas()
        if self._facts.fps is None:
            Image.fromarray(next(alphas)).save(target, "PNG")
            return
        size = f"{self._facts.width}x{self._facts.height}"
        rate = f"{self._facts.fps.numerator}/{self._facts.fps.denominator}"
        source = graph.input("pipe:0", format="rawvideo", pix_fmt="gray", s=size, framerate=rate)
        output = source.output(str(target), **_LOSSLESS)
        run(output, feed=_raw(alphas), timeout_s=self._timeout_s, ffmpeg=self._ffmpeg)

    def _blur(self, target: Path) -> None:
        pictures = Matte(self._film, self.subject).blurred()
        if self._facts.fps is None:
            encode_still(next(pictures), target)
            return
        with tempfile.TemporaryFile(dir=target.parent) as pixels:  # all frames at once may be more than the memory
            shape = (self._facts.frames, self._facts.height, self._facts.width, 3)
            frames = np.memmap(pixels, np.uint8, "w+", shape=shape)
            for number, picture in enumerate(pictures):
                frames[number] = picture
            encode_film(frames, target, fps=Fraction(self._facts.fps), crf=CRF_WORST, ffmpeg=self._ffmpeg)


# Every frame a key frame, a checksum for every slice, and the same bytes for the same frames.
_LOSSLESS: Final[dict[str, Any]] = {
    "format": "matroska",
    "c:v": "ffv1",
    "level": 3,
    "g": 1,
    "slices": 4,
    "slicecrc": 1,
    "threads": 1,
    "color_range": "pc",
    "fflags": "+bitexact",
    "flags:v": "+bitexact",
}


def _raw(alphas: Iterator[NDArray[np.uint8]]) -> Iterator[memoryview]:
    for alpha in alphas:
        yield np.ascontiguousarray(alpha).data.cast("B")
