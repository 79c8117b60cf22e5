"""A timeline in segments: what lies between two dissolves, and the dissolves. Each is made, or copied, on its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
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


def whole_take(segment: Segment, timeline: Timeline) -> Take | None:
    """The take that a segment is, from first frame to last, as it was rendered; None for any other segment."""
    part = segment.part
    take = part.content
    if segment.kind != "body" or not isinstance(take, Take) or take.fps != timeline.fps or part.speed != 1:
        return None
    whole = part.source_in == 0 and segment.first == 0 and segment.frames == take.frames
    return take if whole and (take.width, take.height) == (timeline.width, timeline.height) else None


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
