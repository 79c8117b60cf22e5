"""Films that nobody can use are named, and no other: least of all those that look so because they were asked to."""

from __future__ import annotations

import numpy as np
import pytest

from model.quality.unusable import Bounds, looks, unusable
from model.training.world import Motion, Scene, Thing, draw

BLACK = np.zeros((5, 32, 32, 3), np.uint8)
FLAT = np.full((5, 32, 32, 3), (200, 40, 40), np.uint8)
FROZEN = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8).repeat(5, axis=0)


def world(background: str = "gray", speed: float = 2.0) -> np.ndarray:
    thing = Thing("circle", "red", "small", 7.0, Motion("straight", "right", (20.0, 32.0), (speed, 0.0)))
    return draw(Scene((thing,), background, 64, 64, 9))


def test_looks_are_told_apart() -> None:
    assert looks(BLACK) == ["black", "flat", "frozen"]
    assert looks(FLAT) == ["flat", "frozen"]
    assert looks(FROZEN) == ["frozen"]
    flashing = FLAT.copy()
    flashing[::2] = 10
    assert looks(flashing) == ["flat"]
    assert looks(BLACK[:1]) == ["black", "flat"], "a picture is never frozen"
    assert looks(FLAT.astype(np.uint16) * 257) == ["flat", "frozen"]
    assert looks(BLACK + 12) == looks(BLACK)
    assert looks(BLACK + 12, Bounds(black=8.0)) == ["flat", "frozen"]


@pytest.mark.parametrize("background", ["black", "gray", "navy", "pink"])
def test_a_small_thing_that_creeps_is_enough(background: str) -> None:
    assert looks(world(background, 0.1)) == []


def test_one_frame_or_one_pixel_that_is_different_is_enough() -> None:
    for film in (BLACK, FLAT):
        for place in [(4,), (4, 31, 31)]:
            spoilt = film.copy()
            spoilt[place] = 90 if len(place) > 1 else FROZEN[0]
            assert looks(spoilt) == [], place


@pytest.mark.parametrize(
    ("film", "prompt", "found"),
    [
        (BLACK, "a red circle moving right on a navy background", "black"),
        (BLACK, "a woman walks along a beach at noon", "black"),
        (BLACK, "a red circle standing still on a gray background", "black"),
        (FLAT, "a blue square on a gray background", "flat"),
        (FLAT, "two dogs in the snow", "flat"),
        (FROZEN, "a red circle moving right on a gray background", "frozen"),
        (FROZEN, "a red circle on a gray background, the camera pans right", "frozen"),
        (FROZEN, "a horse gallops through a river", "frozen"),
        (FROZEN, "a red circle moving left and right on a gray background", "frozen"),
        (FROZEN, "a red circle, not moving, on a gray background", None),
        (BLACK, "a black screen", None),
        (BLACK, "The picture fades to black", None),
        (BLACK, "a black background with nothing on it", None),
        (BLACK, "a moonless night over the sea", None),
        (BLACK, "a red circle standing still on a black background", None),
        (FLAT, "a plain white card", None),
        (FLAT, "an empty blue screen", None),
        (FLAT, "an airplane lost in dense fog", None),
        (FROZEN, "a red circle standing still on a gray background", None),
        (FROZEN, "a red circle on a gray background", None),
        (FROZEN, "a portrait of a woman", None),
        (FROZEN, "a runner frozen in the air, motionless", None),
        (FROZEN, "a still life with apples turning brown", None),
    ],
)
def test_what_the_prompt_may_have_asked_for_is_no_fault(film: np.ndarray, prompt: str, found: str | None) -> None:
    assert unusable(film, prompt) == found


def test_the_prompt_of_an_edit_tells_of_a_part_only() -> None:
    assert unusable(FROZEN, "a red circle moving right", task="edit") is None
    assert unusable(BLACK, "a red circle moving right", task="edit") == "black"


def test_what_is_refused_is_a_choice() -> None:
    assert unusable(BLACK, "two dogs run", refused=["frozen"]) == "frozen"
    assert unusable(BLACK, "two dogs run", refused=[]) is None


def test_films_of_the_small_world_pass() -> None:
    assert unusable(world(), "a small red circle moving right on a gray background") is None
