"""Keys of a long clip stand still: each is one picture for as long as its group of frames lasts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model import Condition, Pipeline
from model.conditions.build import Given
from model.conditions.spans import Clip
from model.denoising import Denoiser
from model.long import Long, denoise_long, plan_pieces
from model.long.held import held
from model.training.world import draw, sample_scene
from tests.model.folders import build_folder


def test_a_held_latent_shows_the_picture_in_its_middle() -> None:
    torch.set_num_threads(1)
    pipeline = Pipeline.from_pretrained("default")
    film = draw(sample_scene(np.random.default_rng(4), 128, 128, 9, shares={"physics": 1.0}))
    window = pipeline.encode(film)
    assert window.shape == (1, 16, 3, 16, 16)
    stands = held(pipeline, window, [0, 2])
    assert torch.equal(stands[:, :, 0], window[:, :, 0]), "one picture stands as it is"
    before = pipeline.decode(window)
    picture = pipeline.encode(before[7:8].astype(np.uint8))
    shown = pipeline.decode(torch.cat([picture, stands[:, :, 1:]], dim=2))[1:].astype(int)

    def steps(frames: Any) -> float:
        return float(np.abs(np.diff(frames.astype(int), axis=0)).mean())

    assert steps(shown) < 0.2 * steps(before[5:])
    distances = [np.abs(shown - before[5 + place]).mean() for place in range(4)]
    assert int(np.argmin(distances)) == 2, "of the group's four frames, the one after its middle"


@pytest.mark.parametrize("given", [False, True])
def test_keys_are_held_but_for_what_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool) -> None:
    pipeline = Pipeline.from_pretrained(build_folder(tmp_path, "ti2v"), autoencoder_dtype="float32")
    take: dict[str, Any] = {"width": 32, "height": 32, "frames": 45, "seed": 3, "steps": 2}
    if given:
        picture = np.full((32, 32, 3), 90, np.uint8)
        told = pipeline.condition("flf2v", Given(image=picture, last=picture[None]), Clip(32, 32, 45, 45, 4))
        assert told is not None
        take["condition"] = told.condition
    known: list[Tensor | None] = []
    made: list[Tensor] = []
    real = Denoiser.run

    def run(self: Denoiser, noise: Tensor, condition: Condition | None, **options: Any) -> Tensor:
        known.append(None if condition is None else condition.latents)
        made.append(real(self, noise, condition, **options))
        return made[-1]

    monkeypatch.setattr(Denoiser, "run", run)
    assert denoise_long(pipeline, "a red circle .", Long("hierarchical", 17), **take) is not None
    plan = plan_pieces("hierarchical", 12, 5)
    assert [piece.id for piece in plan.pieces[:5]] == ["keys", "gap-00000", "gap-00003", "gap-00006", "gap-00008"]
    keys, first, last = made[0], known[1], known[4]
    assert first is not None and last is not None
    assert torch.equal(first[:, :, -1:], held(pipeline, keys, [1])), "a gap is told of the key as it is held"
    assert not torch.equal(first[:, :, -1], keys[:, :, 1])
    assert torch.equal(first[:, :, 0], keys[:, :, 0])
    assert torch.equal(last[:, :, -1:], keys[:, :, -1:] if given else held(pipeline, keys, [4]))
