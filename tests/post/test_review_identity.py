"""A take's card on the review page tells how well it keeps its scene's subject, where that was measured."""

from __future__ import annotations

from typing import Any

import pytest

from flows.review.shots import TakeView


@pytest.mark.parametrize(
    ("notes", "told"),
    [
        ({"quality": {"measures": {"identity": 0.93}, "score": 0.8}}, 0.93),
        ({"quality": {"measures": {"identity": 0}}}, 0.0),
        ({"quality": {"measures": {"color": 1.0}}}, None),
        ({"quality": 0.5}, None),
        ({}, None),
    ],
)
def test_identity_is_told_where_it_was_measured(notes: dict[str, Any], told: float | None) -> None:
    row = {"show": "s", "shot_id": "a", "take": 1, "revision": "r", "scene": "harbour"}
    media = {"width": 64, "height": 64, "frames": 9, "fps": 8.0, "path": "media.mp4"}
    commit = {"media": media, "gpu_s": 1.0, "notes": notes}
    shown = TakeView(row, "key", "committed", commit, None).as_dict()
    assert shown.get("identity_score") == told and shown["scene"] == "harbour"
    assert ("identity_score" in shown) == (told is not None)
