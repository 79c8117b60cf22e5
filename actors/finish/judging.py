"""The quality record of a take: measured where its film is finished, kept in its commit, never at the film's cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from actors.errors import ErrorClass
from actors.gangs.rendering import Frames, Order
from actors.job import InputRules, JobSpec
from actors.logs import stamp
from infra.hooks import function_of

Scorer = Callable[[Mapping[str, Any], Mapping[str, Any], Frames], float]
"""Called with the quality record so far, the take's columns and its frames (frames, height, width, 3), which cannot be
written to. Returns the take's rank among those of its shot: larger is better."""


class ScorerMissing(ValueError):
    """`quality.scorer` names no function that can be called."""


def scorer_of(path: str | None) -> Scorer:
    """The function that ``module:function`` names; without a name the one that ranks by obedience.

    Raises:
        ScorerMissing: there is none.
    """
    if path is None:
        from model.quality.verdicts import rank_by_obedience

        return rank_by_obedience
    return function_of(path, "quality.scorer", ScorerMissing)


def quality_note(
    order: Order, frames: Frames, lines: list[str], *, spec: JobSpec, film: Path | None = None
) -> dict[str, Any]:
    """The note `quality` of a take's commit: measures, verdict, reasons and rank.

    It is measured on the node's own cores, so that the gang is at its next take by then. A measure that fails does not
    cost the film: its record says so, and people look. A scorer that fails costs its rank, not the verdict.

    Args:
        frames: as they are in the film.
        lines: of the attempt's log; what went wrong is added.
        film: the encoded file, of which levels and banding are measured; None for a still.
    """
    from model.quality.record import rank_of, record_of
    from model.quality.verdicts import Limits, rank_by_obedience, unmeasured

    judging = spec.judging
    limits = Limits(judging.limits(), judging.retry, judging.escalate)
    try:
        more = {
            "nan": float((order.get("retried") or {}).get(str(ErrorClass.NAN), 0)),
            "identity": _identity(order, frames, lines, spec),
            **_of_file(order, film, spec),
        }
        record = record_of(frames, order, limits, joins=_joins(order, spec), more=more)
    except Exception as error:  # the film is there and sound enough to play
        lines.append(f"{stamp()} WARNING {__name__}: no measure of quality: {error!r}")
        return {"quality": unmeasured(f"{type(error).__name__}: {error}")}
    if judging.scorer is None:
        return {"quality": record}
    try:
        rank = rank_of(record, order, frames, scorer_of(judging.scorer))
        return {"quality": record | {"rank": rank, "rank_by": judging.scorer}}
    except Exception as error:
        lines.append(f"{stamp()} WARNING {__name__}: {judging.scorer} gave no rank: {error!r}")
        return {"quality": record | {"rank_by": rank_by_obedience.__name__}}


def _identity(order: Order, frames: Frames, lines: list[str], spec: JobSpec) -> float | None:
    """How much a take of a scene or an identity shows the subject of the picture that it starts from.

    None where there is no such picture, where the prompt names nothing of the small world, whose subjects alone can be
    told apart, and for an edit, which may replace the subject. The picture is read again: one that has become out of
    reach since the take was rendered costs this measure and no other.
    """
    from model.quality import identity, parse

    grouped = order.get("scene") or order.get("identity")
    if not grouped or order["task"] == "edit" or parse(str(order["prompt"])) is None:
        return None
    from actors.gangs.inputs import picture_of

    try:
        picture = picture_of(order, InputRules.of(spec), int(spec.model_facts["frame_stride"]))
    except Exception as error:
        lines.append(f"{stamp()} WARNING {__name__}: no measure of identity: {error!r}")
        return None
    return None if picture is None else identity([picture[None], frames])


def _of_file(order: Order, film: Path | None, spec: JobSpec) -> dict[str, float | None]:
    """What is measured of the file itself; None where it cannot be."""
    if film is None:
        return {"levels": None, "banding": None}
    from infra.media.banding import banding
    from infra.media.levels import out_of_range

    size = {"width": int(order["width"]), "height": int(order["height"]), "frames": int(order["frames"])}
    options = spec.film
    return {
        "levels": out_of_range(film, frames=size["frames"]),
        "banding": banding(film, **size, ffmpeg=options.ffmpeg, timeout_s=options.timeout_s),
    }


def _joins(order: Order, spec: JobSpec) -> tuple[int, ...]:
    """Where the pieces of a long clip meet, as first frames after each join."""
    if not order.get("long_method"):
        return ()
    from model.long import plan_pieces, story_of

    stride = int(spec.model_facts["frame_stride"])
    latents, window = ((int(order[name]) - 1) // stride + 1 for name in ("render_frames", "window_frames"))
    method = order["long_method"]
    plan = plan_pieces(method, latents, window, frame_stride=stride, **story_of(order["task"], method)._asdict())
    return tuple(join for join in plan.joins(stride) if join < int(order["frames"]))
