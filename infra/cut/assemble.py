"""The cut without a timeline: chosen takes one behind the other, as they stand in the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

from infra.cut.asked import Asked, AskedPart, Ref, Time
from infra.cut.errors import BadTimeline
from infra.cut.timeline import Card, Colour, Solid
from infra.store.selection import Chosen

Transition = Literal["cut", "dissolve", "dip-black", "dip-white"]
_DIPS: dict[str, Colour] = {"dip-black": (0, 0, 0), "dip-white": (255, 255, 255)}


def in_order(
    chosen: Sequence[Chosen],
    *,
    handles: int = 0,
    speed: Fraction = Fraction(1),
    transition: Transition = "cut",
    transition_frames: int = 0,
    opening: Card | None = None,
    closing: Card | None = None,
    card: Time = Time(3, Fraction(1)),  # noqa: B008 - a constant
) -> Asked:
    """All takes, whole but for `handles` frames at either end, with the same transition at every join.

    Args:
        handles: frames of each take that are kept out of the film, for editors; stills have none.
        transition_frames: of the film, for dissolves and dips.
        opening, closing: title cards, each as long as `card`.
    """
    parts = [_take(one, handles, speed) for one in chosen]
    if opening is not None:
        parts.insert(0, AskedPart(opening, "the title", length=card))
    if closing is not None:
        parts.append(AskedPart(closing, "the end title", length=card))
    if transition == "cut":
        return Asked(parts)
    if transition_frames < (2 if transition in _DIPS else 1):
        raise BadTimeline(f"a {transition} of {transition_frames} frames", "Say how long: --transition-frames 8.")
    joined = parts[:1]
    for part in parts[1:]:
        overlap = transition_frames
        if transition in _DIPS:
            overlap = transition_frames - transition_frames // 2
            joined.append(
                AskedPart(
                    Solid(_DIPS[transition]),
                    f"the dip before {part.where}",
                    length=Time(transition_frames),
                    overlap=(Time(transition_frames // 2),),
                )
            )
        joined.append(replace(part, overlap=(Time(overlap),)))
    return Asked(joined)


def _take(one: Chosen, handles: int, speed: Fraction) -> AskedPart:
    commit = one.commit
    name = f"{one.show}/{one.shot_id}"
    ref = Ref(name, one.show, one.shot_id, commit["take"], spec_key=commit["spec_key"])
    if not handles or commit["media"]["fps"] is None:
        return AskedPart(ref, name, speed=speed)
    until = commit["media"]["frames"] - handles
    if until <= handles:
        raise BadTimeline(
            f"{name} has {commit['media']['frames']} frames: nothing is left between handles of {handles}",
            "Give shorter --handles.",
        )
    return AskedPart(ref, name, start=Time(handles), until=Time(until), speed=speed)
