"""A film's measures become a note of its commit and a column of the manifest, and never cost the film."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import actors.finishing
import model.quality
from actors.finishing import quality_note
from actors.sources import score_of
from flows.views import _of_commit
from model.training.world import Motion, Scene, Thing, draw

ORDER: dict[str, Any] = {
    "prompt": "a large red circle standing still on a gray background", "task": "t2v", "fps": 8.0,
}  # fmt: skip


def clip(color: str) -> np.ndarray:
    thing = Thing("circle", color, "large", 12.8, Motion("still", "still", (32.0, 32.0)))
    return draw(Scene((thing,), "gray", 64, 64, 9))


def test_a_take_that_obeys_scores_above_one_that_does_not() -> None:
    lines: list[str] = []
    notes = [quality_note(ORDER, clip(color), lines) for color in ("red", "blue")]
    scores = [score_of({"notes": note}) for note in notes]
    assert scores[0] is not None and scores[1] is not None and scores[0] > scores[1]
    assert notes[1]["quality"]["measures"]["color"] == 0
    assert not lines


def test_a_still_has_no_rate_and_is_measured_all_the_same() -> None:
    note = quality_note({**ORDER, "task": "still", "fps": None}, clip("red")[:1], [])
    assert note["quality"]["measures"]["color"] == 1


def test_a_measure_that_fails_is_told_and_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ArithmeticError("no such clip")

    monkeypatch.setattr(model.quality, "score", broken)
    lines: list[str] = []
    assert actors.finishing.quality_note(ORDER, clip("red"), lines) == {}
    assert len(lines) == 1 and "no such clip" in lines[0]


def test_the_manifest_shows_the_score_where_there_is_one() -> None:
    commit: dict[str, Any] = {"media": {"path": "a.mp4", "sha256": "00", "bytes": 1}, "gpu_s": 1.0, "attempt": 1}
    assert _of_commit(commit)["quality"] is None
    assert _of_commit({**commit, "notes": {"quality": {"score": 0.75, "measures": {}}}})["quality"] == 0.75
