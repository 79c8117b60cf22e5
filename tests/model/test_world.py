"""The procedural world keeps its promises, and its words name what is drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.training import captions
from model.training.world import (
    BACKGROUNDS,
    CAMERAS,
    COLORS,
    FAMILIES,
    KINDS,
    Part,
    centres,
    coverage,
    draw,
    from_json,
    held_out,
    on_screen,
    sample_scene,
    to_json,
)
from model.training.world.vocabulary import OCCLUDER

SIZES = [(64, 64), (96, 64), (64, 96)]
MOVED_BY_CAMERA = ("camera", "bare")  # a camera may lose what stands still


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_one_shape_never_touches_the_border_nor_turns_back(width: int, height: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        scene = sample_scene(rng, width, height, 17, shares={"one": 1.0})
        alpha = coverage(scene)
        assert alpha[:, 0].max() == alpha[:, -1].max() == alpha[:, :, 0].max() == alpha[:, :, -1].max() == 0
        steps = np.diff(centres(scene)[0], axis=0)
        assert np.allclose(steps, steps[0])


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in MOVED_BY_CAMERA])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_things_stay_in_the_frame(family: str, width: int, height: int) -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        scene = sample_scene(rng, width, height, 17, shares={family: 1.0})
        places, radii = on_screen(scene)
        for thing, place, radius in zip(scene.things, places, radii, strict=True):
            if thing.kind != OCCLUDER:
                assert (place >= radius[:, None] - 1e-6).all() and (place + radius[:, None] <= (width, height)).all()


@pytest.mark.parametrize("frames", [17, 33])
def test_things_that_are_alike_keep_apart_and_are_as_many_as_asked(frames: int) -> None:
    rng = np.random.default_rng(3)
    numbers = []
    for _ in range(60):
        scene = sample_scene(rng, 128, 128, frames, shares={"count": 1.0})
        numbers.append(len(scene.things))
        places = centres(scene)
        for index, thing in enumerate(scene.things):
            for other in range(index):
                gap = np.linalg.norm(places[index] - places[other], axis=1) - 2 * thing.radius
                assert gap.min() >= 0.1 * 128 - 1e-6
    assert numbers.count(1) <= 6  # where no room was found
    assert min(numbers.count(2), numbers.count(3)) > 15


@pytest.mark.parametrize("family", FAMILIES)
def test_a_scene_survives_json_and_draws_the_same(family: str) -> None:
    rng = np.random.default_rng(2)
    for frames in (9, 17) if family in ("turning", "contact") else (1, 5, 17):  # too short for something to happen
        scene = sample_scene(rng, 64, 64, frames, shares={family: 1.0})
        again = from_json(to_json(scene))
        assert again == scene
        clip = draw(scene)
        assert clip.shape == (frames, 64, 64, 3)
        assert np.array_equal(draw(again), clip)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_part_is_cut_from_the_whole(family: str) -> None:
    rng = np.random.default_rng(6)
    for _ in range(6):
        scene = sample_scene(rng, 96, 64, 17, shares={family: 1.0})
        part = Part(5, 7, 20, 9, 40, 33)
        cut = (slice(5, 12), slice(9, 42), slice(20, 60))
        assert np.array_equal(draw(scene, part), draw(scene)[cut])
        assert np.array_equal(coverage(scene, part), coverage(scene)[cut])


@pytest.mark.parametrize("family", FAMILIES)
def test_things_are_drawn_to_their_soft_ends_and_no_further(family: str) -> None:
    """Things are drawn within boxes around them: none may be too small."""
    rng, faintest = np.random.default_rng(7), 1.0
    for _ in range(6):
        scene = replace(sample_scene(rng, 96, 64, 17, shares={family: 1.0}), texture="plain", style="flat")
        covered = coverage(scene)
        inked = (draw(scene) != np.asarray(BACKGROUNDS[scene.background], np.uint8)).any(axis=-1)
        assert not inked[covered == 0].any()
        faintest = min(faintest, float(covered[covered > 0].min()))
    assert faintest < 0.1


def test_a_bare_camera_has_nothing_behind_its_thing() -> None:
    rng = np.random.default_rng(8)
    scenes = [sample_scene(rng, 64, 64, 17, shares={"bare": 1.0}) for _ in range(60)]
    assert {scene.texture for scene in scenes} == {"plain"}
    assert {scene.camera for scene in scenes} == {name for name in CAMERAS if name != "still"}
    for scene in scenes:
        covered = coverage(scene)
        assert np.abs(covered[0] - covered[-1]).max() > 0.5, "the thing tells"
        assert f"on a {scene.background} background" in captions.dense(scene)
        assert f"the camera {scene.camera}" in captions.dense(scene)


def test_what_is_kept_from_training_has_every_word_in_it_somewhere_else() -> None:
    rng = np.random.default_rng(4)
    scenes = [sample_scene(rng, 64, 64, 9, shares={"one": 1.0}) for _ in range(1500)]
    kept = [scene for scene in scenes if held_out(scene)]
    assert 0.05 < len(kept) / len(scenes) < 0.2
    shown = [scene for scene in scenes if not held_out(scene)]
    assert {scene.things[0].color for scene in shown} == set(COLORS)
    assert {scene.things[0].kind for scene in shown} == set(KINDS)
    assert {scene.background for scene in shown} == set(BACKGROUNDS)


def test_captions_name_what_is_drawn() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        scene = sample_scene(rng, 64, 64, 17)
        for text in (captions.dense(scene), captions.varied(scene, rng)):
            assert scene.background in text.lower()
            for thing in scene.things:
                assert thing.color in text.lower()
                assert thing.kind in text.lower()
