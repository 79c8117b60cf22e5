"""The quality record of a take: everything measured of its film, the verdict, and its rank among its shot's takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.quality.cadence import cadence
from model.quality.flashes import flashes
from model.quality.reading import reduced
from model.quality.scoring import score
from model.quality.seams import seams, steps
from model.quality.verdicts import MOVING_ONLY, Limits, excused_by, rank_by_obedience, verdict_of

Scorer = Callable[[Mapping[str, Any], Mapping[str, Any], Any], float]
"""Called with the record so far, the take's columns and its frames, which cannot be written to; larger is better."""


def record_of(
    frames: NDArray[np.generic],
    take: Mapping[str, Any],
    limits: Limits,
    *,
    joins: Sequence[int] = (),
    more: Mapping[str, float | None] | None = None,
) -> dict[str, Any]:
    """Measures a take and judges it.

    Args:
        frames: (frames, height, width, 3), uint8 or uint16, as they are in the film.
        take: columns of its shot: `prompt` as it was rendered, `task`, `fps` (None of a still), and what a scorer may
            want to know.
        limits: where a measure becomes a fault.
        joins: where pieces of a long clip meet: the first frame after each.
        more: what was measured elsewhere, of the film's file or while it was rendered; None, or no finite number: it
            could not be.

    Returns:
        `score`, `measures`, `verdict`, `reasons`, `not_measured`, and `rank` by obedience.

    Raises:
        ValueError: no clip.
    """
    task, fps = str(take["task"]), float(take.get("fps") or 1.0)
    clip = reduced(frames)
    found = score(clip, str(take["prompt"]), task=task, fps=fps)
    measured: dict[str, float | None] = dict(found["measures"])
    if len(clip) > 1:
        between = steps(clip)
        measured |= {"cadence": cadence(between), "flashes": flashes(clip, fps)}
        if joins:
            measured["seam"] = float(seams(clip, joins).max())
    measured |= more or {}
    # A figure that is none was not measured; a record that held it could not be written, at the cost of the film.
    measured = {name: None if value is None or not np.isfinite(value) else value for name, value in measured.items()}
    judged = {name: None if task == "still" and name in MOVING_ONLY else value for name, value in measured.items()}
    record = found | {
        "measures": {name: round(value, 4) for name, value in measured.items() if value is not None},
        **verdict_of(judged, limits, excused=excused_by(str(take["prompt"]), task)),
    }
    return record | {"rank": rank_by_obedience(record, take, frames)}


def rank_of(record: Mapping[str, Any], take: Mapping[str, Any], frames: NDArray[np.generic], scorer: Scorer) -> float:
    """The rank that a scorer gives a take, given its record.

    Raises:
        ValueError: its answer is no finite number. Whatever it raises itself.
    """
    shown = frames.view()
    shown.flags.writeable = False  # a rank is a number: a scorer that paints is told so
    rank = scorer(record, take, shown)
    if isinstance(rank, bool) or not isinstance(rank, int | float) or not np.isfinite(rank):
        raise ValueError(f"a rank is a finite number, not {rank!r}")
    return float(rank)
