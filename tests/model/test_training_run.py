"""A training run goes on where it stopped, as if it had never stopped, and its checkpoints are small files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model.training.checkpoint import PART_BYTES, load_checkpoint, save_checkpoint
from model.training.curve import draw_curve, read_curve
from model.training.run import Run


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def train(folder: Path, *, steps: int, stop: int, matrices: Collection[str] = ()) -> nn.Module:
    module = net()
    run = Run(folder, module, steps=steps, peak=1e-2, matrices=matrices)

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        if step >= stop:
            raise KeyboardInterrupt
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        loss = (module(x) - x.sum(1, keepdim=True)).square().mean()
        return loss, {"error": float(loss.detach())}

    try:
        for _ in run.train(loss_of, every=2):
            if run.step % 4 == 0:
                run.save()
    except KeyboardInterrupt:
        assert stop < steps, "only where the test asks for it"
    return module


@pytest.mark.parametrize("matrices", [(), ("0.weight",)], ids=["adamw", "muon"])
def test_a_stopped_run_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path, matrices: tuple[str, ...]) -> None:
    whole = train(tmp_path / "whole", steps=20, stop=20, matrices=matrices)
    train(tmp_path / "broken", steps=20, stop=10, matrices=matrices)
    found = load_checkpoint(tmp_path / "broken")
    assert found is not None and found[0] == 8, "it was cut off after a checkpoint, and lost two steps"
    again = train(tmp_path / "broken", steps=20, stop=20, matrices=matrices)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert (tmp_path / "broken/loss.png").exists()


def test_checkpoints_are_files_of_bounded_size(tmp_path: Path) -> None:
    large = {f"weight/{index}": torch.randn(1_500_000) for index in range(5)}
    save_checkpoint(tmp_path, 1, 2, large)
    save_checkpoint(tmp_path, 2, 2, large)
    files = list(tmp_path.rglob("*.safetensors"))
    assert len(files) == 3 and max(file.stat().st_size for file in files) < 16_000_000 < 16 * PART_BYTES
    assert [path.name for path in tmp_path.glob("state-*")] == ["state-0000002"]
    found = load_checkpoint(tmp_path)
    assert found is not None and found[0] == 2
    assert all(torch.equal(found[1][name], value) for name, value in large.items())


def test_half_a_checkpoint_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, 1, 9, {"a": torch.ones(2)})
    (tmp_path / "state-0000005.partial").mkdir()
    (tmp_path / "state-0000005.partial/part-000.safetensors").write_bytes(b"cut off")
    found = load_checkpoint(tmp_path)
    assert found is not None and found[0] == 1
    save_checkpoint(tmp_path, 5, 9, {"a": torch.zeros(2)})
    found = load_checkpoint(tmp_path)
    assert found is not None and found[1]["a"].tolist() == [0, 0]


def test_a_curve_falls_from_left_to_right(tmp_path: Path) -> None:
    rows = "\n".join(f"{step},{10.0 / step},0.5" for step in range(1, 50))
    (tmp_path / "loss.csv").write_text("step,loss,seconds_per_step\n" + rows)
    page = draw_curve(read_curve(tmp_path / "loss.csv")).convert("RGB")
    ink = [(x, y) for x in range(41, 679) for y in range(41, 319) if page.getpixel((x, y)) == (31, 78, 160)]
    left = [y for x, y in ink if x < 60]
    right = [y for x, y in ink if x > 660]
    assert max(left) < min(right)
    with pytest.raises(ValueError, match="two rows"):
        draw_curve({"step": [1.0], "loss": [1.0]})
