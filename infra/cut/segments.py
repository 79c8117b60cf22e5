"""A timeline in segments: what lies between two dissolves, and the dissolves. Each is made, or copied, on its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from infra.cut.errors import FilmDiffers
from infra.cut.timeline import Card, Part, Placed, Take, Timeline
from infra.cut.titles import Fonts

PICTURES = 1
"""Raised when the same recipe gives other pictures than before."""


@dataclass(frozen=True)
class Segment:
    """Some frames of the film.

    Attributes:
        part: the part that it shows, or dissolves out of.
        into: the part that it dissolves into.
        first: its first frame, counted in `part`.
        record_in: its first frame in the film.
    """

    kind: Literal["body", "dissolve"]
    part: Part
    into: Part | None
    numbers: tuple[int, ...]
    first: int
    frames: int
    record_in: int


def split(timeline: Timeline) -> list[Segment]:
    """All segments, in order. FilmDiffers if they do not add up to the film, which would be an error of ours."""
    found: list[Segment] = []
    before: Placed | None = None
    for placed in timeline.placed():
        part = placed.part
        if before is not None and part.overlap:
            first = before.part.frames - part.overlap
            numbers = (before.number, placed.number)
            found.append(Segment("dissolve", before.part, part, numbers, first, part.overlap, placed.record_in))
        body = part.frames - part.overlap - placed.tail
        if body:
            start = placed.record_in + part.overlap
            found.append(Segment("body", part, None, (placed.number,), part.overlap, body, start))
        before = placed
    _check(found, timeline)
    return found


def _check(segments: list[Segment], timeline: Timeline) -> None:
    at = 0
    for segment in segments:
        if segment.record_in != at:
            raise FilmDiffers(f"a segment begins at frame {segment.record_in}, where the one before it ends at {at}")
        at += segment.frames
    if at != timeline.frames:
        raise FilmDiffers(f"the segments have {at} frames together, the timeline has {timeline.frames}")


def pieces(
    segment: Segment, timeline: Timeline, boundaries: Callable[[Take], Sequence[int]]
) -> list[tuple[Segment, int | None]]:
    """A segment as what can be copied from its take's film and what must be encoded, in order.

    Copied is what plays at its own speed, rate and size, from one boundary of the film to another. With each piece goes
    the frame of the film that it is copied from, None where it is encoded.

    Args:
        boundaries: numbers of the frames of a film at which it can be parted without encoding, its ends among them.
    """
    part, take = segment.part, segment.part.content
    if segment.kind != "body" or not isinstance(take, Take) or part.speed != 1 or take.fps != timeline.fps:
        return [(segment, None)]
    if (take.width, take.height) != (timeline.width, timeline.height):
        return [(segment, None)]
    begins = part.source_in + segment.first
    ends = begins + segment.frames
    inside = [number for number in boundaries(take) if begins <= number <= ends]
    if len(inside) < 2:
        return [(segment, None)]
    first, last = min(inside), max(inside)
    spans = [(begins, first, None), (first, last, first), (last, ends, None)]
    return [
        (
            replace(
                segment,
                first=segment.first + start - begins,
                frames=end - start,
                record_in=segment.record_in + start - begins,
            ),
            copied_from,
        )
        for start, end, copied_from in spans
        if end > start
    ]


def key_of(segment: Segment, timeline: Timeline, fonts: Fonts, encoder: dict[str, Any]) -> str:
    """SHA-256 over all that the pictures of a segment and their encoding depend on."""
    recipe = {
        "pictures": PICTURES,
        "encoder": encoder,
        "film": [timeline.width, timeline.height, str(timeline.fps)],
        "shown": list(_shown(segment, timeline, fonts)),
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True, default=str).encode()).hexdigest()


def _shown(segment: Segment, timeline: Timeline, fonts: Fonts) -> Iterator[dict[str, Any]]:
    yield _source(segment.part, segment.first, segment.frames, timeline.fps, fonts)
    if segment.into is not None:
        yield _source(segment.into, 0, segment.frames, timeline.fps, fonts)


def _source(part: Part, first: int, count: int, fps: Fraction, fonts: Fonts) -> dict[str, Any]:
    content = part.content
    if isinstance(content, Take):
        told: dict[str, Any] = {"sha256": content.sha256}
    else:
        told = {"kind": part.kind, **asdict(content)}
        if isinstance(content, Card):
            told["font"] = fonts.digest(content)
    step = part.step(fps)
    at = part.source_in + first * step
    return told | {"at": str(at if step else part.source_in), "step": str(step), "frames": count}
