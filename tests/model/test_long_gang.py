"""A long clip is the same whether one rank or two make it; a piece that is lost is made again by both, and alone."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from model.long import METHODS
from tests.model.gangs import run_ranks
from tests.model.long_rank import LAYOUTS, TIMEOUT_S


@dataclass(frozen=True)
class Rendered:
    latents: dict[str, Tensor]
    outcomes: list[dict[str, object]]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    out = tmp_path_factory.mktemp("long-gang")
    outcomes = run_ranks("tests.model.long_rank", 2, out, timeout_s=TIMEOUT_S)
    return Rendered(torch.load(out / "latents.pt", weights_only=True), outcomes)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", METHODS)
def test_one_clip_in_every_layout(rendered: Rendered, method: str, layout: str) -> None:
    alone, together = rendered.latents[f"{method} single"], rendered.latents[f"{method} {layout}"]
    assert alone.std() > 0.5
    assert (alone - together).abs().max() < 5e-5 * alone.abs().max()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", METHODS)
def test_what_was_kept_is_not_made_again(rendered: Rendered, method: str, layout: str) -> None:
    name = f"{method} {layout}"
    assert torch.equal(rendered.latents[name], rendered.latents[f"{name} again"])
    assert rendered.outcomes[0][name] == 1, "the lost piece alone"


def test_ranks_wait_for_the_keys_that_rank_0_holds(rendered: Rendered) -> None:
    assert torch.equal(rendered.latents["hierarchical slow"], rendered.latents["hierarchical cfg=2"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_ranks_leave_together(rendered: Rendered, layout: str) -> None:
    first, second = rendered.outcomes
    assert first[f"stopped {layout}"] == "PeerFailed: rank 1: StoppedError: after 6"
    assert second[f"stopped {layout}"] == "StoppedError: after 6"
