"""General measures see what they are made for in clips that were spoilt on purpose, and nothing in sound ones."""

from __future__ import annotations

import numpy as np
import pytest

from model.quality.general import measure, soundness
from model.quality.lab import delta_e_2000, to_lab
from model.quality.seams import seams
from model.training.world import draw, sample_scene


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    rng = np.random.default_rng(0)
    while True:
        scene = sample_scene(rng, 64, 64, 17, shares={"one": 1.0})
        moves = scene.things[0].motion.kind == "straight" and scene.things[0].size == "large"
        if moves and scene.background == "pink":
            return draw(scene)


def test_a_sound_clip_is_sound(clip: np.ndarray) -> None:
    found = measure(clip)
    assert (found.black, found.blank, found.frozen, found.duplicates) == (0, 0, 0, 0)
    assert found.flicker < 0.3 and found.drift < 1 and found.jump < 2
    assert soundness(found) == 1.0


def test_black_and_blank_frames_are_counted(clip: np.ndarray) -> None:
    spoilt = clip.copy()
    spoilt[3:6] = 0
    spoilt[6] = (200, 10, 10)
    found = measure(spoilt)
    assert found.black == pytest.approx(3 / 17)
    assert found.blank == pytest.approx(4 / 17)
    assert soundness(found) < 0.8


def test_repeated_frames_are_told_from_a_stop(clip: np.ndarray) -> None:
    stutter = clip[[0, 1, 2, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11, 12, 13, 14]]
    assert measure(stutter).duplicates == pytest.approx(2 / 16)
    stops = clip[[*range(8), *[8] * 9]]
    found = measure(stops)
    assert found.duplicates == 0
    assert found.frozen == pytest.approx(0.5)


def test_flicker_drift_and_cuts_are_measured(clip: np.ndarray) -> None:
    dark = np.where(np.arange(17)[:, None, None, None] % 2, 0.8, 1.0)
    assert measure((clip * dark).astype(np.uint8)).flicker > 1
    tint = np.linspace(0, 60, 17)[:, None, None, None] * np.asarray([0, 1, 0])
    drifting = measure(np.clip(clip.astype(float) - tint, 0, 255).astype(np.uint8), fps=4)
    assert drifting.drift > 6
    assert soundness(drifting) < 1
    cut = clip.copy()
    cut[8:] = 255 - cut[8:]
    assert measure(cut).jump > 4


def test_colours_are_as_far_apart_as_the_literature_says() -> None:
    """Pairs 1, 7, 17 and 25 of the test data of Sharma, Wu and Dalal (2005)."""
    pairs = [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ]
    for one, other, expected in pairs:
        assert float(delta_e_2000(one, other)) == pytest.approx(expected, abs=1e-4)
    assert to_lab((255, 255, 255)) == pytest.approx([100, 0, 0], abs=0.01)
    assert to_lab((255, 0, 0)) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)


def test_a_join_is_measured_by_the_clips_usual_step() -> None:
    levels = np.cumsum([0, 2, 2, 6, 2, 2])  # the step from the third frame to the fourth is three times the others
    film = np.broadcast_to(levels[:, None, None, None], (6, 8, 8, 3)).astype(np.uint8)
    assert seams(film, [3, 4]).tolist() == [3.0, 1.0]
    assert seams(np.zeros((4, 8, 8, 3), np.uint8), [2]).tolist() == [0.0]
    with pytest.raises(ValueError, match="not between"):
        seams(film, [6])


def test_a_clip_of_16_bits_measures_as_one_of_8_and_what_is_no_clip_is_refused() -> None:
    clip = np.random.default_rng(3).integers(0, 16, (5, 32, 32, 3)).astype(np.uint8)
    assert measure(clip.astype(np.uint16) * 257) == measure(clip)
    assert measure(clip).black == 1.0
    with pytest.raises(ValueError, match="of float64"):
        measure(clip / 255.0)
