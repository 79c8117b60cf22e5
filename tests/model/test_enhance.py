"""The rule that makes a terse prompt dense fills in what is left open and touches nothing else."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from model.enhance import dense
from model.training import captions
from model.training.world import sample_scene


@pytest.mark.parametrize(
    ("terse", "expected"),
    [
        ("Red ball going right", "a large red circle moving right on a black background"),
        ("blue square", "a large blue square standing still on a black background"),
        ("2 tiny green circles", "two small green circles standing still on a black background"),
        ("a tiny yellow triangle moves up on pink", "a small yellow triangle moving up on a pink background"),
        ("triangle flying to the left.", "a large red triangle moving left on a black background"),
        (
            "a red circle on the left and a blue box on the right",
            "a large red circle on the left and a large blue square on the right on a black background",
        ),
        (
            "white circle turns blue, the camera pans left",
            "a large white circle turns blue on a black background, the camera pans left",
        ),
        (
            "circle hits a blue square which breaks on navy",
            "a large red circle hits a large blue square which breaks on a navy background",
        ),
    ],
)
def test_what_is_left_open_is_filled_in(terse: str, expected: str) -> None:
    assert dense(terse) == expected


OTHERS = ["A cat in the rain, 35 mm.", "", "  ", "白い猫", "the camera pans left", "redsquare"]


@pytest.mark.parametrize("prompt", OTHERS)
def test_a_prompt_of_another_world_comes_back_as_it_is(prompt: str) -> None:
    assert dense(prompt) == prompt


def test_a_dense_caption_stays_and_twice_is_once() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        scene = sample_scene(rng, 128, 128, 33)
        assert dense(captions.dense(scene)) == captions.dense(scene)
        once = dense(captions.varied(scene, rng))
        assert dense(once) == once


def test_it_needs_no_torch() -> None:
    check = "import sys, model.enhance; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
