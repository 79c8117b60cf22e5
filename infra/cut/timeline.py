"""A cut as plain data: parts in order, dissolves where two of them overlap, and where in the film each part lies.

All numbers are frames of the film's rate, unless they are said to be frames of a source. Ranges are half-open. A part's
length holds everything of it that is to be seen, also while a dissolve runs, so that

    film = sum of the parts' lengths - sum of the overlaps

A dip to a colour is no kind of its own: it is a solid of the dip's length that the part before it dissolves into and
the part behind it dissolves out of, so that it leaves the film's length as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from infra.cut.errors import BadTimeline
from infra.cut.frames import rate_text

MOST_PARTS = 10_000
MOST_SIDE = 16_384
Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""
BLACK: Colour = (0, 0, 0)


@dataclass(frozen=True)
class Take:
    """A committed take as a source. `fps` is None for a still, whose one frame lasts for as long as it is asked for."""

    show: str
    shot_id: str
    take: int
    revision: str
    spec_key: str
    media: str
    sha256: str
    width: int
    height: int
    frames: int
    fps: Fraction | None

    @classmethod
    def of(cls, commit: Mapping[str, Any], rate: Fraction | None) -> Take:
        """From its commit; `rate` is the exact one of its film."""
        media = commit["media"]
        return cls(
            commit["show"], commit["shot_id"], commit["take"], commit["revision"], commit["spec_key"],
            media["path"], media["sha256"], media["width"], media["height"], media["frames"], rate,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """`show/shot.take-002`: what people and timelines call it."""
        return f"{self.show}/{self.shot_id}.take-{self.take:03d}"


@dataclass(frozen=True)
class Card:
    """A title card. `font` is a name from the command line, None the built-in one; `size` is of the frame's height."""

    text: str
    colour: Colour = (255, 255, 255)
    background: Colour = BLACK
    font: str | None = None
    size: Fraction = Fraction(1, 10)


@dataclass(frozen=True)
class Solid:
    """Nothing but a colour."""

    colour: Colour = BLACK


Content = Take | Card | Solid


@dataclass(frozen=True)
class Part:
    """One content on the timeline.

    Attributes:
        frames: how long it is seen, in frames of the film.
        source_in: the first frame of the source.
        speed: 1 plays as rendered, 2 twice as fast, 1/2 half as fast, 0 holds the first frame.
        overlap: frames during which it dissolves out of the part before it.
    """

    content: Content
    frames: int
    source_in: int = 0
    speed: Fraction = Fraction(1)
    overlap: int = 0

    @property
    def kind(self) -> Literal["take", "title", "solid"]:
        """What it is, as `cut.json` says it."""
        kinds: dict[type, Literal["take", "title", "solid"]] = {Take: "take", Card: "title", Solid: "solid"}
        return kinds[type(self.content)]

    @property
    def name(self) -> str:
        """What messages call it."""
        if isinstance(self.content, Take):
            return self.content.name
        if isinstance(self.content, Card):
            return f"title {self.content.text[:40]!r}"
        return "solid #{:02x}{:02x}{:02x}".format(*self.content.colour)

    def step(self, fps: Fraction) -> Fraction:
        """Frames of the source per frame of the film; 0 where it is one picture throughout."""
        if not isinstance(self.content, Take) or self.content.fps is None:
            return Fraction(0)
        return self.speed * self.content.fps / fps

    def source_frame(self, number: int, fps: Fraction) -> int:
        """Which frame of the source is seen in the part's frame `number`: the last that has begun by then."""
        at = number * self.step(fps)
        return self.source_in + at.numerator // at.denominator

    def source_out(self, fps: Fraction) -> int:
        """The frame behind the last one of the source that is seen."""
        return self.source_frame(self.frames - 1, fps) + 1


@dataclass(frozen=True)
class Placed:
    """A part and its place in the film. `tail`: frames during which it dissolves into the part behind it."""

    number: int
    part: Part
    record_in: int
    record_out: int
    tail: int


@dataclass(frozen=True)
class Timeline:
    """Parts in order, and the form of the film."""

    name: str
    fps: Fraction
    width: int
    height: int
    parts: Sequence[Part]
    start: str = "01:00:00:00"
    notes: Sequence[str] = field(default=(), compare=False)

    @property
    def frames(self) -> int:
        """Length of the film: the parts less what overlaps."""
        return sum(part.frames for part in self.parts) - sum(part.overlap for part in self.parts)

    def placed(self) -> Iterator[Placed]:
        """Every part with its place."""
        at = 0
        for number, part in enumerate(self.parts):
            at -= part.overlap
            tail = self.parts[number + 1].overlap if number + 1 < len(self.parts) else 0
            yield Placed(number, part, at, at + part.frames, tail)
            at += part.frames

    def check(self) -> Timeline:
        """The same timeline, if a film can be made of it. BadTimeline says what cannot be."""
        if not self.parts:
            raise BadTimeline("the timeline is empty: there is nothing to cut")
        if len(self.parts) > MOST_PARTS:
            raise BadTimeline(f"the timeline has {len(self.parts):,} parts, {MOST_PARTS:,} are the most")
        for side in (self.width, self.height):
            if side % 2 or not 2 <= side <= MOST_SIDE:
                raise BadTimeline(f"a film of {self.width}x{self.height}: both sides are even, 2 to {MOST_SIDE}")
        if self.parts[0].overlap:
            raise BadTimeline("the first part cannot dissolve out of anything", "Put a gap or a solid before it.")
        for placed in self.placed():
            self._check_part(placed)
        return self

    def _check_part(self, placed: Placed) -> None:
        part, where = placed.part, f"part {placed.number + 1}, {placed.part.name},"
        if part.frames < 1:
            raise BadTimeline(f"{where} has no frames")
        if part.overlap < 0:
            raise BadTimeline(f"{where} has a transition of {part.overlap} frames")
        if part.overlap + placed.tail > part.frames:
            raise BadTimeline(
                f"{where} is {part.frames} frames long, and its transitions take {part.overlap + placed.tail}",
                "Make the transitions shorter or the part longer.",
            )
        if isinstance(part.content, Take):
            have, out = part.content.frames, part.source_out(self.fps)
            if part.source_in < 0 or out > have:
                raise BadTimeline(
                    f"{where} asks for frames {part.source_in} to {out} of a take that has {have} "
                    f"(at {rate_text(part.content.fps or self.fps)} a second)",
                    "Transitions and handles need frames too: trim less, or make the transition shorter.",
                )
