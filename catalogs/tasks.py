"""What each task is given: the one table that validation, planning, rendering and the pages read.

Every task is the same question, "given some of the video, what is the rest?". A row names its givens in the columns of
`INPUTS`; `depends_on` stands in for the source of a task (`Task.source`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

INPUTS: Final = {
    "image_uri": "image_sha256",
    "last_image_uri": "last_image_sha256",
    "video_uri": "video_sha256",
    "mask_uri": "mask_sha256",
}
"""Columns that name an input -> the column of a plan that holds the SHA-256 of its bytes."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task.

    Attributes:
        needs: inputs that a row must name. Of an inner tuple, exactly one.
        may: inputs and settings (`strength`, `keep_frames`) that it may name as well.
        source: the input that a row with `depends_on` need not name: the film it depends on is it, or that film's last
            frame where the column takes a picture. None where nothing can be stood in for.
        ends: how many ends of the clip are given; between and beyond them at least one group of frames is to be made.
        meaning: for people.
    """

    needs: tuple[tuple[str, ...], ...] = ()
    may: frozenset[str] = frozenset()
    source: str | None = None
    ends: int = 0
    meaning: str = ""

    @property
    def uses(self) -> frozenset[str]:
        """Every input and setting that the task looks at."""
        return self.may | {name for either in self.needs for name in either}

    def least_frames(self, stride: int) -> int:
        """Frames of the shortest film of this task, on a grid whose latent frames hold `stride` frames each."""
        return (1, 2, stride + 2)[self.ends]


def _needs(*names: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(name.split("|")) for name in names)


TASKS: Final[dict[str, Task]] = {
    "t2v": Task(meaning="a film from words"),
    "still": Task(meaning="one picture from words"),
    "i2v": Task(
        _needs("image_uri"), source="image_uri", meaning="the film begins with the picture",
    ),
    "flf2v": Task(
        _needs("image_uri", "last_image_uri"), source="image_uri", ends=2,
        meaning="the film begins with one picture and ends with another",
    ),
    "extend": Task(
        _needs("video_uri"), source="video_uri", ends=1,
        meaning="the film begins with the last frames of the source and goes on",
    ),
    "extend_back": Task(
        _needs("video_uri"), source="video_uri", ends=1,
        meaning="the film ends with the first frames of the source",
    ),
    "connect": Task(
        _needs("video_uri", "last_image_uri"), source="video_uri", ends=2,
        meaning="from the last frames of one film to the first frames of another",
    ),
    "infill": Task(
        _needs("video_uri"), frozenset({"keep_frames"}), source="video_uri", ends=2,
        meaning="some frames of the source stay, the others are made",
    ),
    "loop": Task(
        (), frozenset({"image_uri"}), source="image_uri", ends=1,
        meaning="closed in time: after the last frame comes the first",
    ),
    "v2v": Task(
        _needs("video_uri"), frozenset({"strength"}), source="video_uri",
        meaning="the source is noised and made anew, as far as strength says",
    ),
    "edit": Task(
        _needs("video_uri|image_uri", "mask_uri"), frozenset({"strength"}), source="video_uri",
        meaning="what is white in the mask is made anew, the rest of the source stays",
    ),
}  # fmt: skip

STRENGTHS: Final = {"v2v": 0.6, "edit": 1.0}
"""Tasks that `strength` changes -> what null means. 0 gives the source back as it is."""
INFILLS: Final = ("infill",)
"""Tasks that `keep_frames` changes."""


def users(column: str) -> tuple[str, ...]:
    """Tasks that look at an input or setting."""
    return tuple(name for name, task in TASKS.items() if column in task.uses)


_RANGE: Final = re.compile(r"\s*([0-9]{1,6})\s*(?:-\s*([0-9]{1,6})\s*)?")
KEEP_LEGAL: Final = 'frame numbers and ranges, counted from 0, such as "0-4, 28-32"'


def parse_frames(text: str) -> tuple[tuple[int, int], ...]:
    """Ranges (first, last) of frames, sorted and joined where they touch: "8, 0-4,5" is ((0, 5), (8, 8)).

    Raises:
        ValueError: not frame numbers and ranges; the message says what is legal.
    """
    found = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is None or (match[2] is not None and int(match[2]) < int(match[1])):
            raise ValueError(KEEP_LEGAL)
        found.append((int(match[1]), int(match[2] or match[1])))
    joined: list[tuple[int, int]] = []
    for first, last in sorted(found):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return tuple(joined)


def frames_text(ranges: Iterable[tuple[int, int]]) -> str:
    """Ranges as the one text that stands for them in keys: "0-5,8"."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
