"""Rows longer than a model's own clip: their method, window, limits, keys and cost."""

from __future__ import annotations

from typing import Any

import pytest

from catalogs import plan, read
from catalogs.keys import revision, spec_fields, spec_key
from catalogs.long import METHODS
from model.long import long_facts


@pytest.fixture
def facts(facts: dict[str, Any]) -> dict[str, Any]:
    """The small model of the other tests, of 17 frames at 8 a second, that may be moved along."""
    tasks = ["t2v", "still", "i2v", "extend", "loop"]
    return facts | {"tasks": tasks, "long": long_facts(facts["frames"], facts["frame_stride"])}


def rows(write: Any, facts: dict[str, Any], **columns: list[Any]) -> list[dict[str, Any]]:
    planned = plan(read(write(**columns)), facts)
    assert planned.refused == []
    return planned.takes.to_pylist()


def test_a_clip_is_long_beyond_twice_the_models_own(write, facts):
    made = rows(write, facts, duration_s=[2.125, 4.125, 4.25, 60.0, 600.0])
    assert [row["render_frames"] for row in made] == [17, 33, 37, 481, 4801]
    assert [row["long_method"] for row in made] == [None, None, *["hierarchical"] * 3]
    assert [row["window_frames"] for row in made] == [None, None, 17, 17, 17]


def test_the_method_follows_the_task_and_a_deadline_unless_the_row_says_it(write, facts):
    tasks = ["t2v", "extend", "extend", "loop", "loop", "extend", "still"]
    made = rows(
        write, facts, task=tasks, duration_s=[20.0] * 7,
        video_uri=["a.mp4" if task == "extend" else None for task in tasks],
        deadline=[None, None, "2026-12-24T18:00:00Z", None, "2026-12-24T18:00:00Z", None, None],
        long_method=[None, None, None, None, None, "co_denoise", "overlap"],
    )  # fmt: skip
    assert [row["long_method"] for row in made] == [
        "hierarchical", "overlap", "hierarchical", "co_denoise", "co_denoise", "co_denoise", None,
    ]  # fmt: skip


def test_a_ring_has_no_group_that_shows_its_beginning_again(write, facts):
    made = rows(
        write, facts, task=["loop"] * 3, duration_s=[20.0, 20.25, 20.0], long_method=[None, None, "hierarchical"]
    )
    assert [(row["frames"], row["render_frames"]) for row in made] == [(160, 161), (162, 165), (160, 165)]


def test_limits_hold_for_a_window(write, facts):
    planned = plan(
        read(write(width=[512, 512, 64], height=[512, 512, 64], duration_s=[20.0, 3.0, 3600.0])),
        facts | {"max_tokens": 6_000, "max_frames": 33},
    )
    assert planned.refused == []
    made = planned.takes.to_pylist()
    # The second is no longer than what the model makes elsewhere, and too many tokens at this size at once.
    assert [row["long_method"] for row in made] == ["hierarchical"] * 3
    assert [row["tokens"] for row in made] == [5 * 32 * 32, 5 * 32 * 32, 5 * 16]
    refused = plan(read(write(width=[512], height=[512], duration_s=[20.0])), facts | {"max_tokens": 5_000}).refused
    assert [(entry.column, "5,120 tokens" in entry.legal) for entry in refused] == [("width", True)]


def test_work_grows_with_the_length_and_not_with_its_square(write, facts):
    for method in METHODS:
        short, long = rows(write, facts, duration_s=[60.0, 600.0], long_method=[method] * 2)
        # The keys of ten minutes need keys between them.
        assert 9 < long["cost_gpu_s"] / short["cost_gpu_s"] < (13 if method == "hierarchical" else 11)
    planned = plan(read(write(duration_s=[60.0])), facts)
    assert planned.cost.tflop == pytest.approx(planned.cost.gpu_s / facts["gpu_s_per_tflop"])


def test_method_and_window_make_the_key_and_short_clips_keep_theirs(write, facts):
    one, other = rows(write, facts, duration_s=[60.0, 60.0], long_method=["overlap", "co_denoise"], shot_id=["a", "b"])
    assert one["revision"] != other["revision"] and one["picture_key"] != other["picture_key"]
    assert one["revision"] == revision(one)
    assert one["spec_key"] == spec_key(spec_fields(one, facts))
    (wider,) = rows(write, facts | {"long": {**facts["long"], "window_frames": 21}}, duration_s=[60.0],
                    long_method=["overlap"], shot_id=["a"])  # fmt: skip
    assert wider["revision"] == one["revision"] and wider["spec_key"] != one["spec_key"]
    (plain,) = rows(write, {**facts, "long": {}}, duration_s=[2.0])
    (named,) = rows(write, facts, duration_s=[2.0], long_method=["overlap"])
    assert (plain["revision"], plain["spec_key"]) == (named["revision"], named["spec_key"])


def test_an_unknown_method_is_a_refused_row(write, facts):
    planned = plan(read(write(duration_s=[60.0, 60.0], long_method=["sideways", None])), facts)
    (refused,) = planned.refused
    assert (refused.row, refused.column, refused.legal) == (0, "long_method", "hierarchical, overlap, co_denoise")


def test_a_model_whose_windows_cannot_be_moved_keeps_its_limits(write, facts):
    refused = plan(read(write(duration_s=[60.0])), {**facts, "long": long_facts(5, 4)}).refused
    assert [(entry.column, "161 frames" in entry.legal) for entry in refused] == [("duration_s", True)]
