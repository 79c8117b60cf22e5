"""The measures of the other tasks tell what is kept from what is not, and the command goes on where it stopped."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from model.conditions.given import Given
from model.conditions.surround import around
from model.training import evaluate_tasks, task_measures
from model.training.card_tables import tasks_text
from model.training.run import STOPPED
from model.training.task_measures import FRAMES, KEPT, MARGIN, SIDE, Tasks, nearer, overlap, psnr, source
from model.training.world import BACKGROUNDS, COLORS, TEXTURES, coverage, draw


class Nothing:
    """In place of a pipeline, where `render` is another's."""

    facts: ClassVar[dict[str, Any]] = {"digest": "0", "fps": 8.0, "steps": 2, "long": {"window_frames": 33}}


def film_for(task: str, number: int, *, spoilt: bool) -> np.ndarray:
    """What a model that obeys makes of a source, or one that does not."""
    one = source(number)
    film = one.film.copy()
    if task == "extend":
        film[:5] = one.film[-5:]
    elif task == "extend_back":
        film[-8:] = one.film[:8]
    elif task == "loop":
        film = np.concatenate([one.film[::2], one.film[1::2][::-1]])
    elif task == "edit":
        paper = next(name for name in BACKGROUNDS if name not in (one.scene.background, one.scene.things[0].color))
        thing = coverage(one.scene)[..., None] > 0.5
        film = np.where(thing, COLORS[one.scene.things[0].color], BACKGROUNDS[paper]).astype(np.uint8)
    if spoilt:
        film[[0, 2, -2]] = 255 - film[[0, 2, -2]]
    return film


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {"spoilt": False, "given": {}}

    def render(_: Any, task: str, prompt: str, given: Given, *, seed: int, **settings: Any) -> np.ndarray:
        assert settings["width"] == settings["height"] == SIDE and settings["frames"] == FRAMES and prompt
        seen["given"][task] = given
        return film_for(task, seed, spoilt=seen["spoilt"])

    monkeypatch.setattr(task_measures, "render", render)
    return seen


@pytest.mark.parametrize("name", ["i2v", "flf2v", "extend", "extend_back", "infill"])
def test_given_frames_that_come_back_are_told_from_those_that_do_not(rendered: dict[str, Any], name: str) -> None:
    tasks = Tasks(Nothing())
    assert getattr(tasks, name)(source(1)) == 99.0
    rendered["spoilt"] = True
    assert getattr(tasks, name)(source(1)) < 20, "one bad frame of many is the worst one"


def test_what_an_edit_and_a_loop_are_worth(rendered: dict[str, Any]) -> None:
    tasks, one = Tasks(Nothing()), source(1)
    assert tasks.background(one) == 1.0 and tasks.loop(one) < 1.1
    assert rendered["given"]["edit"].mask.shape == (FRAMES, SIDE, SIDE)
    rendered["spoilt"] = True
    assert tasks.background(one) < 0.9 and tasks.loop(one) > 5


@pytest.mark.parametrize("number", [0, 1, 3])
def test_an_animated_region_that_stands_still_or_spills_over_is_told(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    one, seen, films = source(number), [], []

    def render(_: Any, task: str, prompt: str, given: Given, **settings: Any) -> np.ndarray:
        seen.append((task, prompt, given))
        return films[-1]

    monkeypatch.setattr(task_measures, "render", render)
    films.append(one.film[:1].repeat(FRAMES, axis=0))
    assert Tasks(Nothing()).animation(one) == pytest.approx(0.0, abs=0.02)
    films.append(one.film)
    assert Tasks(Nothing()).animation(one) == pytest.approx(1.0, abs=0.02)
    task, prompt, given = seen[0]
    assert task == "edit" and prompt == one.prompt and (given.image == one.film[0]).all() and given.video is None
    thing = coverage(one.scene) > 0.5
    assert (given.mask >= around(thing, MARGIN)).all() and not given.mask.all(), "the thing's way, and a margin"
    assert Tasks(Nothing()).region(one) == 99.0, "the thing never leaves its mask"
    films.append(np.where(given.mask[..., None], one.film, 255))
    assert Tasks(Nothing()).region(one) < 20


def test_a_subject_that_is_not_replaced_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    one, prompts = source(1), []
    thing = coverage(one.scene)[..., None] > 0.5

    def render(_: Any, task: str, prompt: str, given: Given, **settings: Any) -> np.ndarray:
        prompts.append(prompt)
        assert task == "edit" and given.mask[thing[..., 0]].all() and (given.video == one.film).all()
        color = next(name for name in COLORS if name in prompt and name != one.scene.background)
        return np.where(thing & obeys, COLORS[color], one.film).astype(np.uint8)

    monkeypatch.setattr(task_measures, "render", render)
    obeys = True
    assert Tasks(Nothing()).subject(one) > 0.95
    obeys = False
    assert Tasks(Nothing()).subject(one) < 0.5
    assert one.scene.things[0].color not in prompts[0] and prompts[0] != one.prompt


def test_a_scene_whose_shots_show_two_subjects_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str, int]] = []
    other = next(n for n in range(1, 20) if source(n).scene.things[0].color != source(0).scene.things[0].color)

    def render(_: Any, task: str, prompt: str, given: Given, *, seed: int, **settings: Any) -> np.ndarray:
        seen.append((task, prompt, int(given.image.sum())))
        return source(other if spoilt and "the camera" in prompt else seed).film

    monkeypatch.setattr(task_measures, "render", render)
    spoilt = False
    tasks = Tasks(Nothing())
    assert tasks.scene(source(0)) == pytest.approx(1.0) and tasks.ground(source(0)) > 0.97
    [one, two] = seen  # both measures look at the same shots
    assert one[0] == two[0] == "i2v" and one[2] == two[2], "both start from one picture"
    assert "standing still" in one[1] and two[1] == f"{one[1]}, the camera zooms out"
    spoilt = True
    assert Tasks(Nothing()).scene(source(0)) < 0.75


def test_a_texture_that_a_camera_brings_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def render(*_: Any, **__: Any) -> np.ndarray:
        return draw(replace(source(0).scene, texture=texture))

    monkeypatch.setattr(task_measures, "render", render)
    shares = {}
    for texture in TEXTURES:
        shares[texture] = Tasks(Nothing()).ground(source(0))
    assert shares.pop("plain") > 0.97
    assert max(shares.values()) < 0.9, "dots cover the least"


def test_figures() -> None:
    black, gray = np.zeros((2, 4, 4, 3), np.uint8), np.full((2, 4, 4, 3), 16, np.uint8)
    assert psnr(black, black) == 99.0 and psnr(black, gray) == pytest.approx(20 * np.log10(255 / 16))
    where = np.zeros((2, 4, 4), bool)
    where[0, 0] = True
    half = black.copy()
    half[0, 0] = 16
    assert psnr(half, black, where) == pytest.approx(20 * np.log10(255 / 16))
    assert psnr(half, black) > psnr(half, black, where), "the rest is equal"
    assert overlap(where, where) == 1.0 and overlap(where, ~where) == 0.0
    assert all(0 <= low <= high < FRAMES for low, high in KEPT)
    assert nearer(black, (10, 0, 0), (9, 9, 9)).all() and not nearer(gray, (0, 0, 0), (99, 99, 99), (20, 20, 20)).any()


def test_the_command_goes_on_and_the_card_has_its_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rendered: dict[str, Any]
) -> None:
    monkeypatch.setattr(evaluate_tasks.Pipeline, "from_pretrained", lambda *_, **__: Nothing())
    words = ["evaluate_tasks", "--model", "m", "--out", str(tmp_path), "--count", "1", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", [*words, "--count", "0"])
    with pytest.raises(SystemExit):
        evaluate_tasks.main()
    assert not (tmp_path / "figures.json").exists(), "what cannot be measured leaves nothing"
    monkeypatch.setattr(sys, "argv", [*words, "--seconds", "0"])
    assert evaluate_tasks.main() == STOPPED and not (tmp_path / "tasks.json").exists()
    monkeypatch.setattr(sys, "argv", words)
    assert evaluate_tasks.main() == 0
    found = json.loads((tmp_path / "tasks.json").read_text())
    joined = {"drift": 1.5, "seam": 1.25, "median_seam": 0.9, "elsewhere": 2.0, "median_step": 0.3}
    films = {
        "minute/overlap/0": joined,
        "minute/overlap/1": {**joined, "seam": 1.05, "median_step": 0.5, "drift": 1.75},
        "minute/overlap/2": {**joined, "seam": 1.75, "median_seam": 1.1, "median_step": 0.1},
        "minute/co_denoise/0": {"drift": 0.5, "median_step": 4.0},
    }
    text = tasks_text({**found, **evaluate_tasks.summary(films)})
    assert "| i2v | given frame back, dB | 1 | 99.00 | 99.00 | at least 30 |" in text
    assert "| overlap | 3 | 1.75 | 1.25 | 0.90 | 2.00 | 0.30 | 1.75 |" in text
    assert "| co_denoise | 1 | no joins | no joins | no joins | no joins | 4.00 | 0.50 |" in text
    assert tasks_text(None) == ""
