"""The rule that makes a terse prompt dense fills in what is left open and touches nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from model.enhance import dense
from model.quality import parse
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
            "a large white circle standing still turns blue on a checkered black background, the camera pans left",
        ),
        (
            "circle hits a blue square which breaks on navy",
            "a large red circle hits a large blue square which breaks on a navy background",
        ),
        # What it does is said: in the world's words or in everyday ones, before or behind the background.
        ("small green triangle falls on navy", "a small green triangle falling down on a navy background"),
        ("ball falls and bounces", "a large red circle falling and bouncing on a black background"),
        ("a red ball bounces up and down", "a large red circle bouncing up and down on a black background"),
        ("tiny square bounces", "a small red square bouncing on a black background"),
        ("white circle orbits the center", "a large white circle orbiting around the center on a black background"),
        ("cyan box accelerates to the right", "a large cyan square accelerating right on a black background"),
        ("blue square drifting left", "a large blue square moving left on a black background"),
        ("a red circle, moving right.", "a large red circle moving right on a black background"),
        ("A red circle on navy, moving up-right.", "a large red circle moving up right on a navy background"),
        ("a red circle that moves on a gray background", "a large red circle moving on a gray background"),
        ("red circle stops", "a large red circle stops on a black background"),
        ("red circle behind a blue bar", "a large red circle behind a blue bar on a black background"),
        (
            "ball turns blue and breaks, navy background, clay style",
            "a large red circle standing still turns blue and then breaks on a navy background, clay style",
        ),
        # Two things have sides, and the left one is told first, as in the world.
        (
            "a red box and a blue ball",
            "a large red square on the left and a large blue circle on the right on a black background",
        ),
        (
            "red circle to the left of a blue square",
            "a large red circle on the left and a large blue square on the right on a black background",
        ),
        (
            "red circle right of blue square",
            "a large blue square on the left and a large red circle on the right on a black background",
        ),
        (
            "a red circle on the right, a small blue square on the left moving up",
            "a small blue square moving up on the left and a large red circle on the right on a black background",
        ),
        (
            "red circle next to a blue square on navy",
            "a large red circle on the left and a large blue square on the right on a navy background",
        ),
        (
            "a red circle and a blue square on the left",
            "a large blue square on the left and a large red circle on the right on a black background",
        ),
        # Styles, motions and cameras stand before the noun, or are said as to a cameraman.
        ("a clay ball", "a large red circle standing still on a black background, clay style"),
        ("sketch of a falling blue triangle", "a large blue triangle falling down on a black background, sketch style"),
        ("flat red circle", "a large red circle standing still on a black background"),
        (
            "red circle, zoom in",
            "a large red circle standing still on a checkered black background, the camera zooms in",
        ),
        (
            "blue square on navy, camera panning to the left",
            "a large blue square standing still on a navy background, the camera pans left",
        ),
        ("green circle, static camera", "a large green circle standing still on a black background"),
        (
            "a ball changes to blue, then green",
            "a large red circle standing still turns blue and then turns green on a black background",
        ),
        (
            "a red circle becomes yellow then shatters",
            "a large red circle standing still turns yellow and then breaks on a black background",
        ),
    ],
)
def test_what_is_left_open_is_filled_in(terse: str, expected: str) -> None:
    assert dense(terse) == expected


OTHERS = [
    "A cat in the rain, 35 mm.", "", "  ", "白い猫", "the camera pans left", "redsquare",
    # A shape is named, but beside words that are not understood, or so that it is not clear what belongs to what.
    "a circle of friends", "Red circle  spinning", "a red circle hopping right", "a black circle", "circles falling",
    "a red circle moving left and right", "a red circle moving from left to right", "a circle orbits a blue square",
    "red circle on a sunny beach", "a red blue circle", "a red circle moving right falling down", "four red circles",
    "a circle hits a square, moving right", "a red circle on black on navy", "a circle, a square", "a circle and",
    "a red circle behind a bar", "a red circle on the left and a blue square on the left", "a circle pans",
    "a red circle to the left of a blue square to the left of a cyan circle", "a circle moving to the left of a square",
    "then green circle", "a falling red circle moving up", "clay sketch of a circle", "a red circle, a blue square",
    "the town square", "a red circle. It moves right.",
]  # fmt: skip


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


def sizeless(text: str) -> str:
    return re.sub(r"\b(?:small|large) ", "", text)


@pytest.mark.parametrize("clip", [True, False])
def test_every_caption_of_the_world_is_understood_and_means_what_it_meant(clip: bool) -> None:
    rng = np.random.default_rng(1)
    for _ in range(400):
        scene = sample_scene(rng, 128, 128, 33)
        said = captions.varied(scene, rng, clip=clip)
        if clip:  # a caption in other words is the dense one again, but for sizes that it has not told
            assert sizeless(dense(said)) == sizeless(captions.dense(scene)), said
        before, after = parse(said), parse(dense(said))
        assert before is not None and after is not None
        assert replace(after, subjects=()) == replace(before, subjects=()), said
        for one, other in zip(before.subjects, after.subjects, strict=True):
            told = {name: value for name, value in vars(one).items() if value is not None}
            assert vars(other) | told == vars(other), said
            assert other.size is not None


def test_whatever_is_filled_in_contradicts_nothing_that_was_said() -> None:
    """Words of the world in any order: what is understood of them before is understood of them after."""
    rng = np.random.default_rng(2)
    phrases = [
        "red circle", "a small blue square", "two cyan triangles", "moving left", "falling", "bounces", "on navy",
        "turns green", "hits", "and", ",", "behind a white bar", "on the left", "breaks", "orbiting", "clay style",
        "the camera zooms in", "moves on", "spins", "pink background",
    ]  # fmt: skip
    changed = 0
    for _ in range(3000):
        prompt = " ".join(rng.choice(phrases, size=rng.integers(1, 6), replace=False))
        made = dense(prompt)
        if made == prompt:
            continue
        changed += 1
        assert dense(made) == made
        assert "spins" not in prompt
        for words, verb in [
            ("moving left", "moving left"), ("falling", "falling"), ("bounces", "bouncing"), ("orbiting", "orbiting"),
            ("turns green", "turns green"), ("breaks", "breaks"), ("hits", "hits"), ("on navy", "navy background"),
            ("behind a white bar", "behind a white bar"), ("clay style", "clay style"),
        ]:  # fmt: skip
            assert (words in prompt) == (verb in made), (prompt, made)
        if any(word in prompt for word in ("moving", "falling", "bounces", "orbiting", "moves on")):
            assert "still" not in made, (prompt, made)
    assert changed > 100


def test_it_needs_no_torch() -> None:
    check = "import sys, model.enhance; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
