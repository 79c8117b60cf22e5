"""With less memory the same picture is made, and only the part at work stands on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from model.offload import Offload
from model.pipeline import Pipeline
from tests.model.folders import build_folder

TAKE: dict[str, Any] = {
    "prompt": "a red circle",
    "width": 32,
    "height": 32,
    "frames": 5,
    "seed": 3,
    "steps": 3,
    "guidance_scale": 4.0,
}


class Part:
    """Notes where it has been moved."""

    def __init__(self) -> None:
        self.moves: list[str] = []

    def to(self, device: torch.device) -> None:
        self.moves.append(str(device))


def test_parts_come_when_they_are_wanted_and_leave_before_others_come() -> None:
    first, second = Part(), Part()
    offload = Offload({"text": [first], "expert 0": [second], "image": []}, torch.device("meta"))
    offload.only("text", "no such part")
    assert (first.moves, second.moves, offload.here) == ([], ["cpu"], {"text"})
    offload.only("expert 0")
    assert (first.moves, second.moves) == (["cpu"], ["cpu", "meta"])
    offload.only("expert 0")
    offload.restore()
    assert (first.moves, second.moves) == (["cpu", "meta"], ["cpu", "meta"])


@pytest.mark.parametrize("experts", [1, 2])
def test_the_picture_is_the_same(tmp_path: Path, experts: int) -> None:
    pipeline = Pipeline.from_pretrained(build_folder(tmp_path / "folder", "t2v", experts=experts))
    usual = pipeline(**TAKE)
    seen: list[frozenset[str]] = []
    with pipeline.saving_memory() as offload:
        latents = pipeline.denoise(**TAKE, on_step=lambda *_: seen.append(offload.here))
        spared = pipeline.decode(latents)
        assert offload.here == {"autoencoder"}
    assert (usual == spared).all()
    assert all(len(here) == 1 for here in seen)
    assert frozenset.union(*seen) == {f"expert {number}" for number in range(len(pipeline.experts))}
    assert (pipeline(**TAKE) == usual).all()
