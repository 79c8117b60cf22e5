"""Flashes, cadence and verdicts: each fault is made on purpose, found, and found in nothing else."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.quality.cadence import cadence
from model.quality.flashes import flashes
from model.quality.record import rank_of, record_of
from model.quality.seams import steps
from model.quality.verdicts import MEASURES, Limits, excused_by, rank_by_obedience, verdict_of
from model.training.world import Motion, Scene, Thing, draw

LIMITS = Limits(
    of={"black": 0.3, "frozen": 0.8, "duplicates": 0.1, "cadence": 1.5, "flashes": 3, "flicker": 2, "obedience": 0.75},
    retry={"black", "frozen", "duplicates", "cadence", "flashes"}, escalate={"levels", "obedience"},
)  # fmt: skip
PAN = "a large red circle on a gray background, the camera pans left"
NOISE = np.random.default_rng(1)


def levels(*greys: float, size: int = 64) -> np.ndarray:
    return np.stack([np.full((size, size, 3), grey, np.uint8) for grey in greys])


def moving(color: str = "red", frames: int = 17) -> np.ndarray:
    thing = Thing("circle", color, "large", 12.8, Motion("straight", "right", (18.0, 32.0), (1.7, 0.0)))
    return draw(Scene((thing,), "gray", 64, 64, frames))


def take(prompt: str = "a large red circle moving right on a gray background", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "task": "t2v", "fps": 8.0, **more}


def test_a_strobe_flashes_and_a_fade_or_a_dim_flicker_does_not() -> None:
    assert flashes(levels(*[0, 255] * 8), 8.0) == 4
    assert flashes(levels(*[0, 255] * 24), 24.0) == 12
    assert flashes(levels(*np.linspace(0, 255, 24)), 24.0) == 0.5  # one change, and no way back
    assert flashes(levels(*[100, 108] * 12), 24.0) == 0
    assert flashes(levels(*[245, 255] * 12), 24.0) == 0  # both above what counts as dark
    assert flashes(levels(7), 24.0) == 0


def test_only_changes_of_a_quarter_of_the_picture_count() -> None:
    for side, found in ((28, 0.0), (36, 4.0)):  # 19 % and 32 % of 64x64
        clip = levels(*[0] * 16)
        clip[1::2, :side, :side] = 255
        assert flashes(clip, 8.0) == found


def test_flashes_are_counted_in_the_worst_second() -> None:
    slow = [0] * 6 + [255] * 6
    assert flashes(levels(*slow * 4), 24.0) == 2.0
    assert flashes(levels(*slow * 2, *[0, 255] * 4, *slow), 24.0) > 3


def test_things_that_move_are_no_flashes() -> None:
    assert flashes(moving(), 8.0) == 0
    grain = NOISE.integers(-12, 13, (24, 64, 64, 3)) + 120
    assert flashes(grain.astype(np.uint8), 24.0) == 0


@pytest.mark.parametrize("held", [1, 2, 3])
def test_cadence_is_for_how_long_a_picture_is_held(held: int) -> None:
    clip = NOISE.integers(0, 256, (8, 16, 16, 3)).astype(np.uint8).repeat(held, axis=0)
    assert cadence(steps(clip)) == held


def test_a_rest_is_no_cadence_and_too_little_motion_tells_none() -> None:
    pictures = NOISE.integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)
    rests = np.concatenate([pictures, pictures[-1:].repeat(20, axis=0), pictures[::-1]])
    assert cadence(steps(rests)) == 1
    assert cadence(steps(pictures[:1].repeat(9, axis=0))) is None
    assert cadence(steps(pictures[:3])) is None


def test_a_sound_take_passes_and_says_what_nobody_measured() -> None:
    record = record_of(moving(), take(), LIMITS, more={"levels": 0.0, "banding": None})
    assert (record["verdict"], record["reasons"]) == ("pass", [])
    assert record["not_measured"] == ["nan", "seam", "banding"]
    assert record["rank"] == pytest.approx(record["measures"]["obedience"] + 0.05 * record["score"])


def test_a_strobe_is_worth_another_seed_and_a_wrong_colour_is_for_people() -> None:
    strobe = moving()
    strobe[1::2] = 0
    record = record_of(strobe, take(), LIMITS)
    assert record["verdict"] == "retry" and {"black", "flashes"} <= set(record["reasons"])
    limits = Limits(LIMITS.of | {"obedience": 0.95}, LIMITS.retry, LIMITS.escalate)
    wrong = record_of(moving("blue"), take(), limits)
    assert (wrong["verdict"], wrong["reasons"]) == ("escalate", ["obedience"])
    assert wrong["rank"] < record_of(moving(), take(), limits)["rank"]


def test_twos_are_told_and_a_still_is_not_asked_for_motion() -> None:
    twos = record_of(moving(frames=9).repeat(2, axis=0), take(), LIMITS)
    assert "cadence" in twos["reasons"] and twos["measures"]["cadence"] == 2
    still = record_of(moving()[:1], take(task="still", fps=None), LIMITS)
    assert still["verdict"] == "pass" and {"frozen", "flicker", "flashes"} <= set(still["not_measured"])


def test_a_seam_is_measured_where_pieces_meet() -> None:
    clip = moving()
    clip[9:] = 255 - clip[9:]
    assert record_of(clip, take(), LIMITS, joins=[9])["measures"]["seam"] > 1.5
    assert "seam" in record_of(clip, take(), LIMITS)["not_measured"]


def test_a_measure_that_is_no_number_was_not_measured() -> None:
    record = record_of(moving(), take(), LIMITS, more={"levels": float("nan"), "banding": float("inf")})
    assert not {"levels", "banding"} & set(record["measures"])
    assert {"levels", "banding"} <= set(record["not_measured"])
    json.dumps(record, allow_nan=False)  # as a commit is written
    assert "black" in verdict_of({"black": float("nan")}, LIMITS)["not_measured"]


def test_what_was_asked_for_is_no_fault() -> None:
    assert {"black", "blank"} <= excused_by("a dark night", "t2v")
    assert "frozen" in excused_by("a motionless statue", "t2v")
    assert {"drift", "jump"} <= excused_by(PAN, "t2v")
    assert not excused_by("a dog runs", "t2v")
    black = np.zeros((9, 64, 64, 3), np.uint8)
    assert record_of(black, take("a dark night"), LIMITS)["reasons"] == []
    assert record_of(black, take("a dog runs"), LIMITS)["verdict"] == "retry"


def test_a_scorer_of_ones_own_gives_the_rank_and_may_not_paint() -> None:
    def bright(record: Any, columns: Any, frames: np.ndarray) -> float:
        assert record["verdict"] == "pass" and columns["director"] == "Ida"
        with pytest.raises(ValueError, match="read-only"):
            frames[0] = 0
        return float(frames.mean())

    clip = moving()
    record = record_of(clip, take(), LIMITS)
    assert rank_of(record, take(director="Ida"), clip, bright) == pytest.approx(float(clip.mean()))
    assert clip.flags.writeable
    with pytest.raises(ValueError, match="finite"):
        rank_of(record, take(), clip, lambda *_: float("nan"))


def test_obedience_goes_before_general_quality() -> None:
    worse, better = ({"score": s, "measures": {"obedience": o}} for s, o in ((1.0, 0.8), (0.1, 0.9)))
    assert rank_by_obedience(better, {}, None) > rank_by_obedience(worse, {}, None)
    assert rank_by_obedience({"score": 0.4, "measures": {}}, {}, None) == 0.4


numbers = st.dictionaries(st.sampled_from(MEASURES), st.none() | st.floats(0, 20))


@given(numbers, st.dictionaries(st.sampled_from(MEASURES), st.floats(0, 20)), st.sets(st.sampled_from(MEASURES)),
       st.sets(st.sampled_from(MEASURES)), st.sets(st.sampled_from(MEASURES)))  # fmt: skip
def test_a_verdict_follows_from_its_reasons(measures, of, retry, escalate, excused) -> None:
    found = verdict_of(measures, Limits(of, retry, escalate), excused=excused)
    reasons = set(found["reasons"])
    assert not reasons & (set(found["not_measured"]) | excused)
    assert all(measures[name] is not None and name in of for name in reasons)
    wanted = "retry" if reasons & retry else "escalate" if reasons & escalate else "pass"
    assert found["verdict"] == wanted
