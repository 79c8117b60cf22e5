"""From measures to a verdict: whether a take can be used, is worth another seed, or has to be looked at by people."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from model.quality.asked import Asked, parse
from model.quality.unusable import may_be

Said = Literal["pass", "retry", "escalate"]

MEASURES: tuple[str, ...] = (
    "nan", "black", "blank", "frozen", "duplicates", "cadence", "flicker", "drift", "jump", "seam", "flashes",
    "levels", "banding", "obedience",
)  # fmt: skip
"""What a verdict is made of, which are the reason codes too. Each is a fault above its limit; obedience below it."""
UNMEASURED = "unmeasured"
"""Reason code of a take whose measuring failed: nobody knows, so people look."""
MOVING_ONLY = frozenset({"frozen", "duplicates", "cadence", "flicker", "drift", "jump", "flashes"})
"""Measures that a still has not."""


@dataclass(frozen=True)
class Limits:
    """Where a measure becomes a fault, and what follows from it.

    Attributes:
        of: limit by measure. One that has none is never a fault.
        retry: measures whose faults another seed may not have. escalate: those that people have to judge. A fault in
            neither is a reason, and changes no verdict.
    """

    of: Mapping[str, float] = field(default_factory=dict)
    retry: Collection[str] = ()
    escalate: Collection[str] = ()


def verdict_of(
    measures: Mapping[str, float | None], limits: Limits, *, excused: Collection[str] = ()
) -> dict[str, Any]:
    """The verdict on a take.

    Args:
        measures: by name, as in MEASURES; None, NaN, or none at all, where it was not measured.
        excused: measures that say what was asked for.

    Returns:
        `verdict`; `reasons`, the codes of all faults in the order of MEASURES; `not_measured`, names of measures that
        count for nothing here: they have not passed.
    """
    known = {name: value for name, value in measures.items() if value is not None and not math.isnan(value)}
    missing = [name for name in MEASURES if name not in known]
    reasons = []
    for name in MEASURES:
        value, limit = known.get(name), limits.of.get(name)
        if value is None or limit is None or name in excused:
            continue
        if (value < limit) if name == "obedience" else (value > limit):
            reasons.append(name)
    said: Said = "pass"
    if any(name in limits.retry for name in reasons):
        said = "retry"
    elif any(name in limits.escalate for name in reasons):
        said = "escalate"
    return {"verdict": said, "reasons": reasons, "not_measured": missing}


def unmeasured(why: str) -> dict[str, Any]:
    """The record of a take whose measuring failed."""
    return {
        "verdict": "escalate", "reasons": [UNMEASURED], "not_measured": list(MEASURES), "measures": {}, "why": why[:300]
    }  # fmt: skip


def excused_by(prompt: str, task: str) -> frozenset[str]:
    """Measures that a prompt may have asked for, so that they are no faults of its take.

    The same words as for films that are thrown away (`model.quality.unusable`), and colours that are to change or a
    camera that is to move.
    """
    asked: Asked | None = None if task == "edit" else parse(prompt)
    found: set[str] = set()
    if may_be("black", prompt, asked):
        found |= {"black", "blank"}
    if may_be("flat", prompt, asked):
        found.add("blank")
    if task == "edit" or may_be("frozen", prompt, asked):
        found |= {"frozen", "duplicates"}
    if asked is not None and (asked.changes or asked.camera != "still"):
        found |= {"drift", "jump"}
    return frozenset(found)


def rank_by_obedience(record: Mapping[str, Any], take: Mapping[str, Any], frames: Any) -> float:
    """The rank of a take among those of its shot, larger is better: how well it obeys, then how good it is in general.

    Takes that obey alike differ by their score, which is never worth as much as one thing obeyed more. Where nothing
    could be held against the prompt the score alone decides.

    Args:
        record: of its quality, with `score` and `measures`. take: columns of its shot. frames: of the film; not used.
    """
    score = float(record["score"])
    obedience = record["measures"].get("obedience")
    return round(score if obedience is None else float(obedience) + 0.05 * score, 6)
