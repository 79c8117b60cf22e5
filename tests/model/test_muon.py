"""Matrices trained together get the updates that torch's own Muon gives each."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model.training.muon import BatchedMuon, orthogonal

SHAPES = ((8, 8), (16, 8), (8, 8), (8, 16))


def test_updates_are_those_of_torch() -> None:
    torch.manual_seed(0)
    own = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    theirs = [nn.Parameter(value.detach().clone()) for value in own]
    ours = BatchedMuon(own, lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    torchs = torch.optim.Muon(theirs, lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for step in range(5):
        for one, other in zip(own, theirs, strict=True):
            one.grad = torch.randn_like(one) if step != 2 else None
            other.grad = None if one.grad is None else one.grad.clone()
        ours.step()
        torchs.step()
    for one, other in zip(own, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=0)
        torch.testing.assert_close(ours.state[one]["momentum_buffer"], torchs.state[other]["momentum_buffer"])


@pytest.mark.parametrize("shape", [(3, 12, 12), (2, 24, 12), (2, 12, 24)])
def test_singular_values_come_near_one(shape: tuple[int, ...]) -> None:
    group = BatchedMuon([nn.Parameter(torch.zeros(2, 2))], lr=1.0).param_groups[0]
    values = torch.linalg.svdvals(
        orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(1)), group).float()
    )
    assert float(values.min()) > 0.5 and float(values.max()) < 1.3


def test_a_closure_is_refused() -> None:
    with pytest.raises(ValueError, match="no closure"):
        BatchedMuon([nn.Parameter(torch.zeros(2, 2))], lr=1.0).step(lambda: 0.0)
