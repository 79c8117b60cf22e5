"""A new background reaches up to the edge of what stays, and is looked at twice; other edits are looked at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import Pipeline
from model.conditions.given import Given
from model.conditions.surround import around, drawn_in, is_background
from model.conditions.takes import render
from model.training.task_measures import Tasks, source
from tests.model.folders import build_folder

SIZE: dict[str, Any] = {"width": 96, "height": 96, "frames": 5, "seed": 5, "guidance_scale": 3.0}


def spot(frames: int = 5) -> np.ndarray:
    """A square of 32 pixels in the middle of 96: where a thing stays."""
    stays = np.zeros((frames, 96, 96), bool)
    stays[:, 32:64, 32:64] = True
    return stays


def test_what_touches_the_border_is_the_background() -> None:
    stays = spot()
    assert is_background(stays)
    assert not is_background(~stays), "a thing is replaced before its background"
    assert not is_background(np.zeros_like(stays)), "nothing stays"
    split = np.zeros_like(stays)
    split[:, :, :10] = True
    assert not is_background(split), "a part of a picture moves beside one that does not"
    stands = spot()
    stands[:, 32:, 32:64] = True
    assert is_background(stands), "somebody who stands on the lower border"


def test_around_a_mask_is_what_is_near_it() -> None:
    one = np.zeros((2, 9, 9), bool)
    one[0, 4, 3] = True
    grown = around(one, 2)
    assert grown[0, 2:7, 1:6].all() and grown.sum() == 25


def test_what_the_model_made_too_much_of_is_gone() -> None:
    stays = spot(2)
    source = np.full((2, 96, 96, 3), 200, np.uint8)
    made = np.zeros((2, 96, 96, 3), np.uint8) + np.array([10, 20, 30], np.uint8)
    made[:, 26:70, 26:70] = 255
    made[:, 0, 0] = 99
    film = drawn_in(made, source, stays, 16)
    assert (film[stays] == 200).all()
    expected = np.broadcast_to(np.array([10, 20, 30]), film.shape).copy()
    expected[:, 0, 0] = 99
    assert (film[~stays] == expected[~stays]).all(), "far from what stays nothing is touched"


def test_a_frame_without_anything_beyond_reach_stays_as_it_was_made() -> None:
    made = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3)).astype(np.uint8)
    film = drawn_in(made, made, spot(1), 64)
    assert (film == made).all()


@pytest.mark.parametrize(
    ("mask", "steps", "strength", "looks"),
    [
        (~spot(), 5, None, [5, 2]),
        (spot(), 5, None, [5]),
        (~spot(), 2, None, [2]),
        (~spot(), 10, 0.3, [3]),
    ],
    ids=["background", "thing", "no step left", "little changed"],
)
@pytest.mark.parametrize("kind", ["ti2v", "t2v", "i2v"])
def test_a_new_background_is_looked_at_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, mask: Any, steps: int, strength: Any, looks: Any
) -> None:
    torch.set_num_threads(1)
    pipeline = Pipeline.from_pretrained(build_folder(tmp_path, kind), autoencoder_dtype="float32")
    walked: list[int] = []
    real = Pipeline.denoise

    def denoise(self: Pipeline, prompt: str, **settings: Any) -> Any:
        condition = settings["condition"]
        walked.append(int(min(settings["steps"] * condition.strength, settings["steps"])))
        return real(self, prompt, **settings)

    monkeypatch.setattr(Pipeline, "denoise", denoise)
    film = np.random.default_rng(1).integers(0, 256, (5, 96, 96, 3)).astype(np.uint8)
    told: list[str] = []
    frames = render(
        pipeline, "edit", "a red circle .", Given(video=film, mask=mask, strength=strength), steps=steps,
        on_stage=lambda stage, step, total: told.append(stage), **SIZE,
    )  # fmt: skip
    assert walked == looks
    assert ("surround" in told) == (len(looks) == 2)
    assert (frames[~mask] == film[~mask]).all(), "kept pixels are the source's"


def test_the_shipped_model_keeps_the_outline_of_a_subject() -> None:
    torch.set_num_threads(1)
    tasks = Tasks(Pipeline.from_pretrained("default"))
    assert tasks.background(source(11)) > 0.9, "0.69 with one look"
