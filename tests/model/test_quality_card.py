"""Evaluation goes on where it stopped and measures what is there; the card is made of its files alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from model.errors import InputError
from model.quality import asked_of, read
from model.quality.tally import summarise
from model.training import card, evaluate, evaluate_tasks
from model.training.card_tables import short_text
from model.training.run import STOPPED
from model.training.world import draw, held_out, sample_scene

FACTS: dict[str, Any] = {
    "name": "shapes", "parameters": 4.2e6, "layers": 6, "model_width": 192, "width": 64, "height": 64, "frames": 17,
    "fps": 8, "notes": "Small.", "digest": "0", "steps": 20, "guidance_scale": 3.0,
}  # fmt: skip


class Drawn:
    """In place of a pipeline: draws what the prompt's scene asks for, but for takes of the first seeds."""

    def __init__(self) -> None:
        self.rendered: list[int] = []

    def grid_of(self, width: int, height: int, frames: int) -> None:
        if width % 16 or height % 16:
            raise InputError(f"{width}x{height} is not on the model's grid")

    def __call__(self, *, prompt: str, seed: int, width: int, height: int, frames: int, **_: Any) -> np.ndarray:
        self.rendered.append(seed)
        clip = draw(evaluate.prompt_scene(seed % 10**6, (width, height, frames)))
        return clip[::-1].copy() if seed < 10**6 else clip


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    made = Drawn()
    monkeypatch.setattr(evaluate.Pipeline, "from_pretrained", lambda *_, **__: made)
    monkeypatch.setattr(evaluate, "read_facts", lambda _: FACTS)
    return made


def run(monkeypatch: pytest.MonkeyPatch, out: Path, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["evaluate", "--model", "m", "--out", str(out), "--threads", "1", *words])
    return evaluate.main()


def test_prompts_are_the_same_everywhere_and_a_third_is_held_out() -> None:
    scenes = [evaluate.prompt_scene(number, (64, 64, 9)) for number in range(12)]
    assert scenes == [evaluate.prompt_scene(number, (64, 64, 9)) for number in range(12)]
    assert [held_out(scene) for scene in scenes] == [number % 3 == 2 for number in range(12)]


def test_an_evaluation_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, drawn: Drawn) -> None:
    words = ("--count", "6", "--best-of", "2", "--best-prompts", "3")
    assert run(monkeypatch, tmp_path, *words, "--seconds", "0") == STOPPED
    assert not drawn.rendered and json.loads((tmp_path / "obedience.json").read_text())["clips"] == 0
    assert run(monkeypatch, tmp_path, *words) == 0
    assert sorted(drawn.rendered) == [0, 1, 2, 3, 4, 5, 10**6, 10**6 + 1, 10**6 + 2]
    assert run(monkeypatch, tmp_path, *words) == 0
    assert len(drawn.rendered) == 9, "nothing is rendered twice"
    found = json.loads((tmp_path / "obedience.json").read_text())
    assert (found["clips"], found["obedience"]["all"]["n"], found["held_out"]["all"]["n"]) == (6, 4, 2)
    assert found["obedience"]["background"]["score"] == 1
    assert found["best_of"]["prompts"] == 3
    best = found["best_of"]["measures_passed"]
    assert best["best"]["score"] >= best["one_take"]["score"] and best["best"]["score"] > 0.98
    assert (tmp_path / "sheet.png").exists()
    with pytest.raises(SystemExit, match="other settings"):
        run(monkeypatch, tmp_path, *words, "--steps", "3")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--count", "0"), "from 1 on"),
        (("--steps", "0"), "from 1 on"),
        (("--best-of", "0"), "from 1 on"),
        (("--size", "10x10x3"), "10x10 is not on the model's grid"),
    ],
)
def test_settings_that_cannot_be_end_the_evaluation_and_bind_nothing(
    words: tuple[str, ...],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    drawn: Drawn,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, tmp_path, *words)
    assert ended.value.code == 2 and says in capsys.readouterr().err
    assert not (tmp_path / "obedience.json").exists()
    assert run(monkeypatch, tmp_path, "--count", "1", "--seconds", "0") == STOPPED, "another try is no other setting"


def test_the_card_is_made_of_files() -> None:
    rng = np.random.default_rng(3)
    scenes = [sample_scene(rng, 64, 64, 9) for _ in range(4)]
    rows = summarise([read(draw(scene)) for scene in scenes], [asked_of(scene) for scene in scenes])
    evaluation = {
        "size": [64, 64, 17], "clips": 4, "of": 4, "steps": 20, "guidance_scale": 3.0, "obedience": rows,
        "held_out": rows,
        "faults": {"black": {"score": 1.0, "low": 0.9, "high": 1.0, "n": 4, "checker": rows["color"]["checker"]}},
        "best_of": {
            "takes": 8, "prompts": 5,
            **{
                name: {take: {"score": 0.5, "low": 0.4, "high": 0.6} for take in ("one_take", "best")}
                for name in ("measures_passed", "all")
            },
        },
    }  # fmt: skip
    curve = [{**evaluation, "label": "tiny", "parameters": 1e6, "seconds_per_clip": 1.25}]
    autoencoder = {
        "psnr": 33.04, "psnr_foreground": 28.5, "psnr_by_frame": [33.0, 32.5], "psnr_foreground_by_clip": [30.1, 26.9],
    }  # fmt: skip
    history = [{"part": "transformer", "steps": 11200, "hours": 4, "how": "sixteen clips a step"}]
    tasks = {"i2v": {"what": "given frame back, dB", "clips": 6, "median": 40.0, "worst": 31.0}}
    text = card.card(FACTS, evaluation, autoencoder, history=history, curve=curve, tasks=tasks)
    assert "Apache-2.0" in text
    assert "| background | 100% |" in text
    assert "| black | 100% |  | 90% to 100% | 4 |" in text
    assert "best of 8 takes" in text and "50% (40% to 60%)" in text
    assert "| tiny | 1.0 M |" in text
    assert "| transformer | 11,200 | 4 | sixteen clips a step |" in text
    assert "33.0 dB" in text and "33.0, 32.5" in text and "30.1, 26.9" in text
    assert "evaluate --model model/default --count 4 --best-of 8 --best-prompts 5 --out runs/evaluation\n" in text
    assert "evaluate_tasks --model model/default --count 6 --out runs/tasks\n" in text
    assert "Nothing that was measured is short of its goal." in text
    assert (
        "--evaluation runs/evaluation --tasks runs/tasks --history model/default/history.json --curve runs/tiny\n"
        in text
    )


@pytest.mark.parametrize("command", [evaluate, evaluate_tasks, card], ids=lambda command: command.__name__)
def test_a_model_that_is_not_there_is_a_line_and_no_traceback(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(tmp_path / "none"), *(("--evaluation",) if command is card else ("--out",)), str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["command", *words])
    with pytest.raises(SystemExit) as left:
        command.main()
    assert left.value.code == 2 and "none" in capsys.readouterr().err.splitlines()[-1]


def test_the_card_lists_what_is_short_of_its_goal_and_nothing_else() -> None:
    row = {"low": 0.5, "high": 1.0, "n": 10}
    evaluation = {
        "obedience": {
            "color": {**row, "score": 0.97}, "count": {**row, "score": 0.8}, "physics": {**row, "score": 0.1},
        },
        "held_out": {"order": {**row, "score": 0.7}},
    }  # fmt: skip
    tasks = {
        "i2v": {"what": "dB", "clips": 2, "median": 40.0, "worst": 29.0},
        "loop": {"what": "seam", "clips": 2, "median": 0.4, "worst": 0.9},
        "background": {"what": "IoU", "clips": 2, "median": 0.9, "worst": 0.8},
        "minute": {"overlap": {"seam": 1.6, "usual_seam": 1.25, "drift": 2.0}, "co_denoise": {"drift": 3.25}},
    }
    text = short_text(evaluation, {"psnr": 34.0, "psnr_foreground": 26.1}, tasks)
    assert text.splitlines() == [
        "- count: 80% of 85% (8 of 10 clips)",
        "- order, of held-out combinations: 70% of 75% (7 of 10 clips)",
        "- i2v, dB: 29.00 in the worst clip, 40.00 in the median, of 30",
        "- a minute, overlap: the widest seam is 1.60 median steps in the worst film, 1.25 in the median one, "
        "of at most 1.5",
        "- a minute, co_denoise: drift 3.2 of at most 3",
        "- autoencoder, on the things alone: 26.1 dB of 28 dB",
    ]
