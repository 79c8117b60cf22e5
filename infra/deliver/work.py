"""What one deliverable is made from, and what it has to be: sizes, rates and frames, computed before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from infra.deliver.captions import Captions
from infra.deliver.drawing import Font
from infra.deliver.errors import DeliverError
from infra.deliver.look import Look
from infra.deliver.profiles import Profile
from infra.deliver.reframe import Window
from infra.deliver.tool import Tools
from infra.media.upscale import LANCZOS


@dataclass(frozen=True)
class Source:
    """A film on this machine. look: None for a still. fields: what is known of it, for slates and burn-ins.

    audio: the file that its sound comes from (the film itself, or another), None where it has none.
    cuts: frames at which another shot begins. cards: those of them, or 0, at which something without a subject does.
    titles: frames of title cards, from the first to the one behind the last.
    """

    path: Path
    look: Look | None
    fields: Mapping[str, Any] = field(default_factory=dict)
    audio: Path | None = None
    size: tuple[int, int] = (0, 0)
    cuts: Sequence[int] = ()
    cards: Sequence[int] = ()
    titles: Sequence[tuple[int, int]] = ()

    @property
    def film(self) -> Look:
        """What the film is. DeliverError for a still."""
        if self.look is None:
            raise DeliverError("a still has no rate: it cannot be delivered as a film")
        return self.look


@dataclass(frozen=True)
class Job:
    """One deliverable to be made. name: of its file, without a suffix. captions: of its locales.

    window: where it is cut, once that is known, so that no chunk has to look for the subject again.
    """

    source: Source
    profile: Profile
    name: str
    font: Font
    tools: Tools
    captions: Sequence[Captions] = ()
    scaler: str = LANCZOS
    workers: int = 1
    chunk_s: float = 60.0
    window: Window | None = None


@dataclass(frozen=True)
class Shape:
    """What the film has to be. size: (width, height); programme: frames without head and tail."""

    size: tuple[int, int]
    rate: Fraction
    programme: int
    head: int
    freeze: int
    black: int

    @property
    def frames(self) -> int:
        """All frames."""
        return self.head + self.programme + self.freeze + self.black

    @property
    def seconds(self) -> Fraction:
        """Of the whole film."""
        return self.frames / self.rate

    @property
    def head_s(self) -> Fraction:
        """Seconds before the programme."""
        return self.head / self.rate


class Playable(Protocol):
    """Of a film, what its deliverable's shape depends on."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def fps(self) -> Fraction: ...


def shape_of(source: Playable, profile: Profile) -> Shape:
    """The shape that a profile asks of a source."""
    rate = profile.frame.rate or source.fps
    # As a catalog counts: floor(seconds · rate + 1/2), exactly.
    programme = source.frames
    if rate != source.fps:
        programme = max(1, int(Fraction(source.frames) * rate / source.fps + Fraction(1, 2)))
    tail = {band.kind: band.length(rate) for band in profile.tail}
    return Shape(
        size=size_of((source.width, source.height), profile),
        rate=rate,
        programme=programme,
        head=sum(band.length(rate) for band in profile.head),
        freeze=tail.get("freeze", 0),
        black=tail.get("black", 0),
    )


def size_of(source: tuple[int, int], profile: Profile) -> tuple[int, int]:
    """Width and height that a profile asks for; a height alone is of the shorter side."""
    frame = profile.frame
    if frame.width is not None and frame.height is not None:
        return frame.width, frame.height
    return source if frame.height is None else shorter_side(source, frame.height)


def shorter_side(source: tuple[int, int], length: int) -> tuple[int, int]:
    """This size in the same aspect, even, with a shorter side of this length."""
    scale = length / min(source)
    width, height = (max(2, 2 * round(side * scale / 2)) for side in source)
    return width, height


def beside(folder: Path, name: str) -> Path:
    """A new folder beside one of which all is delivered, for what is not."""
    work = folder.with_name(f"{folder.name}.{name}")
    work.mkdir()
    return work
