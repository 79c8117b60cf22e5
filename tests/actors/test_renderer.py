"""The renderer of a rank: a take that finds no room leaves nothing behind for the next one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.gangs.renderer import PipelineRenderer
from actors.job import InputRules, RenderSetup
from model.errors import ModelError
from model.facts import read_facts
from tests.model.folders import build_folder


def no_stage(stage: str, step: int, steps: int) -> None:
    """Nobody looks."""


def order(**more: Any) -> dict[str, Any]:
    size = {"width": 32, "height": 32, "frames": 5, "fps": 8.0}
    return {
        "id": 0, "attempt": 1, "show": "default", "shot_id": "a", "take": 1, "task": "t2v", "prompt": "a red circle",
        "seed": 1, "steps": 2, "guidance_scale": 3.0, "precision": None, "low_memory": False, **size,
        **{f"render_{name}": value for name, value in size.items()}, **more,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_folder(tmp_path / "model")


@pytest.fixture
def renderer(folder: Path) -> PipelineRenderer:
    made = PipelineRenderer(
        RenderSetup(0, 1, "cpu", 1, str(folder), None, read_facts(folder)["precision"], 30.0, {})
    )  # fmt: skip
    made.load()
    made.join(None)
    return made


def rendered(renderer: PipelineRenderer, take: dict[str, Any]) -> Any:
    renderer.prepare(take, InputRules(), no_stage)
    return renderer.render(take, no_stage)


def test_weights_that_find_no_room_are_loaded_by_the_next_take(renderer: PipelineRenderer, folder: Path) -> None:
    usual = rendered(renderer, order())
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    away = weights.rename(weights.with_suffix(".away"))
    with pytest.raises(ModelError):
        renderer.prepare(order(precision="float32"), InputRules(), no_stage)
    away.rename(weights)
    assert (rendered(renderer, order()) == usual).all()


def test_less_memory_makes_the_same_film(renderer: PipelineRenderer) -> None:
    assert (rendered(renderer, order(low_memory=True)) == rendered(renderer, order())).all()
