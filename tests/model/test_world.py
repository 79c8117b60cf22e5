"""The procedural world keeps its promises, and the measures that judge rendered clips are right on drawn ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.quality.shapes import look
from model.training import captions
from model.training.world import COLORS, KINDS, centres, coverage, draw, sample_scene


@pytest.mark.parametrize(("width", "height"), [(64, 64), (96, 64), (64, 96)])
def test_a_shape_never_touches_the_border_nor_turns_back(width: int, height: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        scene = sample_scene(rng, width, height, 17)
        alpha = coverage(scene, width, height, 17)
        assert alpha[:, 0].max() == alpha[:, -1].max() == alpha[:, :, 0].max() == alpha[:, :, -1].max() == 0
        steps = np.diff(centres(scene, 17), axis=0)
        assert np.allclose(steps, steps[0])


def test_measures_are_right_on_drawn_clips() -> None:
    rng = np.random.default_rng(1)
    wrong: dict[str, int] = {}
    for _ in range(400):
        scene = sample_scene(rng, 64, 64, 17)
        seen = look(draw(scene, 64, 64, 17))
        for name in ("kind", "color", "size", "background", "direction"):
            wrong[name] = wrong.get(name, 0) + (getattr(seen, name) != getattr(scene, name))
    assert max(wrong.values()) <= 8, wrong  # 98 % right


def test_measures_tell_wrong_clips() -> None:
    rng = np.random.default_rng(2)
    for _ in range(100):
        scene = sample_scene(rng, 64, 64, 17)
        other = replace(
            scene,
            color=str(rng.choice([c for c in COLORS if c != scene.color])),
            kind=str(rng.choice([k for k in KINDS if k != scene.kind])),
        )
        seen = look(draw(other, 64, 64, 17))
        assert seen.color != scene.color
        assert seen.kind != scene.kind


def test_an_empty_clip_shows_nothing() -> None:
    assert look(np.zeros((17, 64, 64, 3), np.uint8)).kind is None


def test_captions_name_what_is_drawn() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        scene = sample_scene(rng, 64, 64, 17)
        for text in (captions.dense(scene), captions.varied(scene, rng)):
            assert scene.color in text.lower()
            assert scene.kind in text.lower()
            assert scene.background in text.lower()
