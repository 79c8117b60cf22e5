"""A film's measures become a note of its commit and a column of the manifest, and never cost the film."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import model.quality.record
from actors.finish.judging import ScorerMissing, quality_note, scorer_of
from actors.job import JobSpec
from flows.manifest import _of_commit
from infra.media import encode_film
from infra.store.selection import rank_of
from model.training.world import Motion, Scene, Thing, draw
from tests.actors.farm import FACTS

ORDER: dict[str, Any] = {
    "prompt": "a large red circle standing still on a gray background", "task": "t2v", "fps": 8.0, "width": 64,
    "height": 64, "frames": 9,
}  # fmt: skip
SCORERS = "tests.actors.moderator"


def clip(color: str) -> np.ndarray:
    thing = Thing("circle", color, "large", 12.8, Motion("still", "still", (32.0, 32.0)))
    return draw(Scene((thing,), "gray", 64, 64, 9))


def spec(**quality: Any) -> JobSpec:
    return JobSpec("job", "/nowhere", "/nowhere", FACTS, 1, {"token": "t"}, quality=quality)


def note(
    frames: np.ndarray, lines: list[str] | None = None, film: Path | None = None, **quality: Any
) -> dict[str, Any]:
    order = ORDER | {"retried": {"nan": 1}}
    found: dict[str, Any] = quality_note(order, frames, [] if lines is None else lines, spec=spec(**quality), film=film)
    return found["quality"]


def test_a_take_that_obeys_passes_and_scores_above_one_that_does_not() -> None:
    lines: list[str] = []
    good, bad = note(clip("red"), lines), note(clip("blue"), lines, obedience_least=0.95)
    assert good["verdict"] == "pass" and good["reasons"] == ["nan"]  # told of, and no reason for another seed
    assert (bad["verdict"], bad["reasons"]) == ("retry", ["nan", "obedience"])
    scores = [rank_of({"notes": {"quality": one}}) for one in (good, bad)]
    assert scores[0] is not None and scores[1] is not None and scores[0] > scores[1]
    assert good["rank"] > bad["rank"] and bad["measures"]["color"] == 0 and not lines


def test_what_follows_from_a_fault_is_a_setting() -> None:
    kept = note(clip("blue"), obedience_least=0.95, retry=["black"], escalate=["obedience"])
    assert kept["verdict"] == "escalate"
    assert note(clip("blue"), obedience_least=0.0)["verdict"] == "pass"


def test_levels_are_measured_of_the_file_and_banding_of_a_small_one_is_not(tmp_path: Path) -> None:
    film = tmp_path / "take.mp4"
    encode_film(clip("red"), film, fps=8, preset="ultrafast")
    found = note(clip("red"), film=film)
    assert found["measures"]["levels"] < 0.01 and "banding" in found["not_measured"]
    assert "levels" in note(clip("red"))["not_measured"]


def test_a_still_has_no_rate_and_is_measured_all_the_same() -> None:
    found = quality_note({**ORDER, "task": "still", "fps": None}, clip("red")[:1], [], spec=spec())["quality"]
    assert found["measures"]["color"] == 1 and found["verdict"] == "pass"


def test_seams_of_a_long_clip_are_looked_for_where_its_pieces_meet() -> None:
    frames = clip("red").repeat(4, axis=0)[:33]
    frames[17:] = 255 - frames[17:]
    order = {**ORDER, "long_method": "overlap", "render_frames": 33, "window_frames": 17, "frames": 33}
    found = quality_note(order, frames, [], spec=spec())["quality"]
    assert found["measures"]["seam"] > 2 and "seam" in found["reasons"]


@pytest.mark.parametrize("method", ["hierarchical", "overlap", "co_denoise"])
def test_a_long_loop_is_measured_whatever_its_method(method: str) -> None:
    order = {**ORDER, "task": "loop", "long_method": method, "render_frames": 37, "window_frames": 17, "frames": 33}
    lines: list[str] = []
    found = quality_note(order, clip("red").repeat(4, axis=0)[:33], lines, spec=spec())["quality"]
    assert found["measures"]["color"] == 1 and not lines


@pytest.mark.parametrize("anchored", [True, False])
def test_a_take_of_a_scene_is_held_against_the_picture_that_it_starts_from(anchored: bool, tmp_path: Path) -> None:
    """Anchored: the picture is the first frame of the film of the scene's first row; else a picture of its own."""
    encode_film(clip("red"), tmp_path / "media.mp4", fps=8, preset="ultrafast")
    Image.fromarray(clip("red")[0]).save(tmp_path / "picture.png")
    sized = {"render_width": 64, "render_height": 64, "render_frames": 9}
    given = {"source_media": "media.mp4", "source_frame": "first"}
    order = ORDER | sized | {"task": "i2v", "scene": "harbour", "identity": None}
    order |= given if anchored else {"image_uri": str(tmp_path / "picture.png")}
    job = JobSpec("job", str(tmp_path), "/nowhere", FACTS, 1, {"token": "t"}, roots=(str(tmp_path),))

    def measured(frames: np.ndarray, lines: list[str], **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = quality_note({**order, **more}, frames, lines, spec=job)["quality"]
        return found

    lines: list[str] = []
    same, other = measured(clip("red"), lines), measured(clip("blue"), lines)
    assert same["measures"]["identity"] > 0.9 > 0.75 > other["measures"]["identity"]
    assert "identity" not in {*same["reasons"], *other["reasons"]}, "it is told, and no fault"
    by_name = measured(clip("red"), lines, scene=None, identity="ann")
    assert by_name["measures"]["identity"] == same["measures"]["identity"]
    for left_out in (
        {"scene": None}, {"task": "t2v"}, {"task": "edit"}, {"prompt": "a cat"},
        {"source_media": None, "image_uri": None},
    ):  # fmt: skip
        found = measured(clip("red"), lines, **left_out)
        assert "identity" not in found["measures"] and found["verdict"] == "pass", left_out
    assert not lines
    gone = {"source_media": "gone.mp4"} if anchored else {"image_uri": str(tmp_path / "gone.png")}
    found = measured(clip("red"), lines, **gone)
    assert "identity" not in found["measures"] and found["verdict"] == "pass"
    assert len(lines) == 1 and "no measure of identity" in lines[0] and "gone" in lines[0]


def test_a_measure_that_fails_is_told_and_is_no_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ArithmeticError("no such clip")

    monkeypatch.setattr(model.quality.record, "score", broken)
    lines: list[str] = []
    found = note(clip("red"), lines)
    assert (found["verdict"], found["reasons"]) == ("escalate", ["unmeasured"])
    assert len(lines) == 1 and "no such clip" in lines[0]


def test_a_scorer_of_ones_own_ranks_and_one_that_fails_costs_the_rank_alone() -> None:
    lines: list[str] = []
    found = note(clip("red"), lines, scorer=f"{SCORERS}:brightness")
    assert found["rank"] == pytest.approx(float(clip("red").mean())) and found["rank_by"] == f"{SCORERS}:brightness"
    assert not lines
    fallen = note(clip("red"), lines, scorer=f"{SCORERS}:no_rank")
    assert fallen["rank"] == note(clip("red"))["rank"] and fallen["rank_by"] == "rank_by_obedience"
    assert "no_rank gave no rank" in lines[0]
    for path in ("nowhere.at.all:rank", f"{SCORERS}:missing", "os:sep"):
        with pytest.raises(ScorerMissing, match=r"quality\.scorer"):
            scorer_of(path)


def test_the_manifest_shows_the_score_where_there_is_one() -> None:
    commit: dict[str, Any] = {"media": {"path": "a.mp4", "sha256": "00", "bytes": 1}, "gpu_s": 1.0, "attempt": 1}
    assert _of_commit(commit)["quality"] is None
    assert _of_commit({**commit, "notes": {"quality": {"score": 0.75, "measures": {}}}})["quality"] == 0.75
