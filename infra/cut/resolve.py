"""From what was asked for to a timeline of takes: which takes, what rate, what size, how many frames."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from infra.cut.asked import Asked, AskedPart, Ref, Time
from infra.cut.errors import BadTimeline
from infra.cut.frames import rate_text
from infra.cut.library import Library
from infra.cut.timeline import Card, Part, Solid, Take, Timeline
from infra.media.rate import as_rate

ALONE = Time(4, Fraction(1))
"""How long a still or a card is seen that nobody gave a length."""


def resolve(
    asked: Asked,
    library: Library,
    *,
    name: str,
    conform: Fraction | None = None,
    size: tuple[int, int] | None = None,
    start: str = "01:00:00:00",
    still: Time = ALONE,
) -> Timeline:
    """The timeline, checked: every take found, one rate, one size, no trim outside its source.

    Args:
        conform: the film's rate; takes of another one show at each moment the frame that has begun last. Without it
            takes of different rates are refused.
        size: width and height of the film; else those of its largest take.
        start: timecode of the film's first frame.
        still: how long stills and cards without a length are seen.

    Raises:
        TakeMissing, BadTimeline.
    """
    contents = [_content(part, library) for part in asked.parts]
    takes = [content for content in contents if isinstance(content, Take)]
    fps = conform or _one_rate(takes)
    width, height = size or _largest(takes)
    parts = [_part(part, content, fps, still) for part, content in zip(asked.parts, contents, strict=True)]
    return Timeline(name, fps, width, height, parts, start, asked.notes).check()


def take_of(commit: Mapping[str, Any]) -> Take:
    """A commit's film as a source."""
    rate = commit["media"]["fps"]
    return Take.of(commit, None if rate is None or str(commit["media"]["path"]).endswith(".png") else as_rate(rate))


def _content(part: AskedPart, library: Library) -> Take | Card | Solid:
    if isinstance(part.content, Ref):
        return take_of(library.find(part.content, part.where))
    return part.content


def _one_rate(takes: Sequence[Take]) -> Fraction:
    """The rate that all takes have. BadTimeline where they differ, or where none has one."""
    rates: dict[Fraction, list[str]] = defaultdict(list)
    for take in takes:
        if take.fps is not None:
            rates[take.fps].append(take.name)
    if not rates:
        raise BadTimeline(
            "nothing on the timeline has a frame rate: there are stills and titles only",
            "Say which one the film shall have: --conform 24.",
        )
    if len(rates) > 1:
        told = "; ".join(f"{rate_text(fps)} ({_some(names)})" for fps, names in sorted(rates.items()))
        most = max(rates, key=lambda rate: (len(rates[rate]), rate))
        raise BadTimeline(
            f"takes of different frame rates in one film: {told}",
            f"Say which rate the film shall have: --conform {rate_text(most)}. Frames are then repeated or left out, "
            "none is made anew.",
        )
    return next(iter(rates))


def _largest(takes: Sequence[Take]) -> tuple[int, int]:
    if not takes:
        raise BadTimeline("no take on the timeline has a size", "Say which one the film shall have: --size 1280x720.")
    largest = max(takes, key=lambda take: take.width * take.height)  # the first of equally large ones
    return largest.width + largest.width % 2, largest.height + largest.height % 2


def _part(asked: AskedPart, content: Take | Card | Solid, fps: Fraction, still: Time) -> Part:
    where = asked.where
    part = Part(content, 1, speed=asked.speed)
    moving = isinstance(content, Take) and content.fps is not None
    own = content.fps if isinstance(content, Take) and content.fps is not None else fps
    if moving and asked.start is not None:
        part = replace(part, source_in=asked.start.frames(own, f"{where}: its first frame"))
    step = part.step(fps)
    if asked.length is not None:
        frames = asked.length.frames(fps, f"{where}: its length")
    elif moving and isinstance(content, Take) and step:
        end = content.frames if asked.until is None else asked.until.frames(own, f"{where}: its last frame")
        frames = _lasting(end - part.source_in, step, where)
    elif asked.until is not None and asked.start is not None:
        frames = asked.until.frames(fps, where) - asked.start.frames(fps, where)
    else:
        frames = _rounded(still, fps)
    head = asked.head.frames(fps, f"{where}: its transition") if asked.head is not None else 0
    tail = asked.tail.frames(fps, f"{where}: its transition") if asked.tail is not None else 0
    overlap = sum(time.frames(fps, f"{where}: its transition") for time in asked.overlap)
    earlier = head * step
    if earlier.denominator != 1:
        raise BadTimeline(f"{where}: its transition begins between two frames of its source, at this speed")
    return replace(part, frames=frames + head + tail, source_in=part.source_in - int(earlier), overlap=overlap)


def _lasting(source_frames: int, step: Fraction, where: str) -> int:
    """How many frames of the film so many of the source last."""
    if source_frames < 1:
        raise BadTimeline(f"{where} has no frames: it ends where it begins, or before")
    return max(1, int(source_frames / step))


def _rounded(time: Time, fps: Fraction) -> int:
    """A length that nobody gave exactly, to the nearest frame, at least one."""
    if time.rate is None:
        return int(time.value)
    return max(1, int(Fraction(time.value) / time.rate * fps + Fraction(1, 2)))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
