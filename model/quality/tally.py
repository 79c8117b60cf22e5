"""Figures over many clips: how often they obey, how sure that is, and what a model deaf to its prompt would reach."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.quality.asked import Asked
from model.quality.faults import FAULTS, sound
from model.quality.obedience import CHECKS, judge
from model.quality.paths import Verdict
from model.quality.reading import Reading

ACCURACY = Path(__file__).with_name("accuracy.json")
_RESAMPLES = 2000
_CAPTIONS = 24  # of other clips, against which each clip is held for the baseline


def interval(values: ArrayLike, seed: int = 0) -> tuple[float, float]:
    """Bootstrap 95 % interval of the mean of values (n,); (0, 1) of none."""
    found = np.asarray(values, float)
    if not len(found):
        return 0.0, 1.0
    rng = np.random.default_rng(seed)
    means = found[rng.integers(0, len(found), (_RESAMPLES, len(found)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def checker_accuracy() -> dict[str, dict[str, float]]:
    """What `model.quality.validate` found of each check when it was last run."""
    found: dict[str, dict[str, float]] = json.loads(ACCURACY.read_text())
    return found


def baseline(readings: Sequence[Reading], asked: Sequence[Asked], measure: str, seed: int = 0) -> float | None:
    """Share of clips that pass against captions of other clips, of those that ask for something of the measure.

    None where there are fewer than two such captions.
    """
    check = CHECKS[measure]
    own = [index for index in range(len(asked)) if check(readings[index], asked[index]) is not None]
    if len(own) < 2:
        return None
    rng = np.random.default_rng(seed)
    passed = []
    for index in own:
        others = [other for other in own if other != index]
        for other in rng.choice(others, min(_CAPTIONS, len(others)), replace=False):
            verdict = check(readings[index], asked[int(other)])
            if verdict is not None:
                passed.append(verdict.passed)
    return float(np.mean(passed)) if passed else None


def summarise(readings: Sequence[Reading], asked: Sequence[Asked]) -> dict[str, dict[str, Any]]:
    """For each measure that applies: score, its 95 % interval, baseline, the check's own accuracy, and n.

    `all` is the share of clips that pass everything they are held against.
    """
    verdicts = [judge(reading, one) for reading, one in zip(readings, asked, strict=True)]
    known = checker_accuracy()
    found: dict[str, dict[str, Any]] = {}
    for measure in CHECKS:
        passed = [one[measure].passed for one in verdicts if measure in one]
        if passed:
            by_chance = baseline(readings, asked, measure)
            found[measure] = _row(passed) | {
                "baseline": None if by_chance is None else round(by_chance, 4),
                "checker": {kind: known[measure][kind] for kind in ("right", "wrong", "soft")},
            }
    if verdicts:
        found["all"] = _row([obeys_all(one) for one in verdicts])
    return found


def free_of_faults(clips: Sequence[NDArray[np.uint8]], asked: Sequence[Asked], fps: float) -> dict[str, dict[str, Any]]:
    """For each of `model.quality.faults.FAULTS`: the share of clips (frames, height, width, 3) that are free of it."""
    known = checker_accuracy()
    found = [sound(clip, one, fps) for clip, one in zip(clips, asked, strict=True)]
    return {
        name: _row(passed) | {"checker": {kind: known[name][kind] for kind in ("right", "wrong", "soft")}}
        for name in FAULTS
        if (passed := [one[name] for one in found if name in one])
    }


def obeys_all(verdicts: Mapping[str, Verdict]) -> bool:
    """Whether a clip passes all that it is held against."""
    return all(verdict.passed for verdict in verdicts.values())


def _row(passed: Sequence[bool]) -> dict[str, Any]:
    low, high = interval(passed)
    return {"score": round(float(np.mean(passed)), 4), "low": round(low, 4), "high": round(high, 4), "n": len(passed)}
