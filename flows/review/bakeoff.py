"""A bake-off: several jobs of one catalog, with other models or settings, side by side, and what each came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows.review.shots import reasons_of
from flows.verbs.origin import Origin
from infra.store.jobs import read_plan
from infra.store.selection import passed, rank_of

if TYPE_CHECKING:
    from flows.review.shots import JobTakes, ShotView
    from infra.settings import PriceSettings


def compare(jobs: Sequence[JobTakes], price: PriceSettings) -> dict[str, Any]:
    """What each job came to, and the takes that bear the same names beside one another.

    Returns:
        jobs: job_id, model, the options in which they differ, metrics. rows: show, shot_id, take, and one take or
        null per job.

    Raises:
        NotFound: no such job. StoreError.
    """
    shots = [job.refresh() for job in jobs]
    origins = [Origin.of(read_plan(job.store, job.job_id)) for job in jobs]
    differing = _differing([dict(origin.options) if origin else {} for origin in origins])
    best = _best_by_shot(shots)
    heads = []
    for number, (job, own, origin) in enumerate(zip(jobs, shots, origins, strict=True)):
        heads.append(
            {
                "job_id": job.job_id,
                "model": origin.model if origin else None,
                "options": {name: (origin.options.get(name) if origin else None) for name in differing},
                "metrics": metrics(own, price) | {"best_shots": sum(number in winners for winners in best.values())},
            }
        )
    rows: dict[tuple[str, str, int], list[Any]] = {}
    for number, own in enumerate(shots):
        for shot in own:
            for take in shot.takes:
                name = shot.show, shot.shot_id, int(take.row["take"])
                rows.setdefault(name, [None] * len(jobs))[number] = take.as_dict()
    return {
        "jobs": heads,
        "rows": [{"show": show, "shot_id": shot, "take": take, "cells": c} for (show, shot, take), c in rows.items()],
    }


def metrics(shots: Sequence[ShotView], price: PriceSettings) -> dict[str, Any]:
    """Counts, keep rate, cost and measured quality of a job; a figure that nothing tells is null.

    Kept takes are those that people approved; used seconds are theirs. Times are seconds of film.
    `measures` are means of what was measured of the takes, `reasons` how many failed a check, by its code.
    """
    takes = [take for shot in shots for take in shot.takes]
    made = [take for take in takes if take.commit is not None]
    verdicts = [str((take.said or {}).get("verdict")) for take in takes]
    kept = [take for take in made if (take.said or {}).get("verdict") == "approved"]
    commits = [take.commit for take in made if take.commit is not None]
    ranks = [rank for commit in commits if (rank := rank_of(commit)) is not None]
    gpu_s = sum(float(commit["gpu_s"]) for commit in commits)
    delivered = sum(_seconds(commit) for commit in commits)
    used = sum(_seconds(take.commit) for take in kept if take.commit is not None)
    return {
        "shots": len(shots),
        "shots_approved": sum(shot.state == "approved" for shot in shots),
        "takes": len(takes),
        "committed": len(made),
        "quarantined": sum(take.state == "quarantined" for take in takes),
        "kept": len(kept),
        "rejected": verdicts.count("rejected"),
        "keep_rate": _ratio(len(kept), len(made)),
        "passed_rate": _ratio(sum(passed(commit) for commit in commits), len(made)),
        "quality_mean": _ratio(sum(ranks), len(ranks)),
        "quality_measured": len(ranks),
        "gpu_s": round(gpu_s, 3),
        "gpu_s_per_take": _ratio(gpu_s, len(made)),
        "gpu_s_per_delivered_s": _ratio(gpu_s, delivered),
        "gpu_s_per_used_s": _ratio(gpu_s, used),
        "delivered_s": round(delivered, 3),
        "used_s": round(used, 3),
        "money": None if price.gpu_hour is None else round(gpu_s / 3600 * price.gpu_hour, 6),
        "measures": _means(commits),
        "reasons": dict(sorted(Counter(reason for commit in commits for reason in reasons_of(commit)).items())),
        "currency": None if price.gpu_hour is None else price.currency,
    }


def _means(commits: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of each thing that was measured, over the takes of which it was."""
    values: dict[str, list[float]] = {}
    for commit in commits:
        quality = (commit.get("notes") or {}).get("quality")
        measures = quality.get("measures") if isinstance(quality, Mapping) else None
        for name, value in (measures if isinstance(measures, Mapping) else {}).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                values.setdefault(str(name), []).append(float(value))
    return {name: round(sum(found) / len(found), 4) for name, found in sorted(values.items())}


def _differing(options: Sequence[Mapping[str, Any]]) -> list[str]:
    names = sorted({name for own in options for name in own} - {"model"})
    return [name for name in names if any(own.get(name) != options[0].get(name) for own in options)]


def _best_by_shot(jobs: Sequence[Sequence[ShotView]]) -> dict[tuple[str, str], set[int]]:
    """Of each shot that several jobs measured, the jobs whose best take has the highest rank."""
    ranks: dict[tuple[str, str], dict[int, float]] = {}
    for number, shots in enumerate(jobs):
        for shot in shots:
            own = [rank for t in shot.takes if t.commit is not None and (rank := rank_of(t.commit)) is not None]
            if own:
                ranks.setdefault((shot.show, shot.shot_id), {})[number] = max(own)
    return {
        shot: {number for number, rank in own.items() if rank == max(own.values())}
        for shot, own in ranks.items()
        if len(own) > 1
    }


def _seconds(commit: Mapping[str, Any]) -> float:
    fps = commit["media"]["fps"]
    return int(commit["media"]["frames"]) / float(fps) if fps else 0.0


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None
