"""The extra targets of training: what they say is the world's truth, and they leave the transformer Wan's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from einops import rearrange

from model.training.hints import Hints, places, truth
from model.training.known import known
from model.training.world import Scene, sample_scene
from model.transformer import Transformer, TransformerConfig

GRID = (5, 4, 6)  # 17 frames of 96x64


def tiny() -> Transformer:
    torch.manual_seed(0)
    config = TransformerConfig(
        num_attention_heads=2, attention_head_dim=24, in_channels=16, out_channels=16, text_dim=8, freq_dim=32,
        ffn_dim=64, num_layers=5,
    )  # fmt: skip
    return Transformer(config)


def drawn(family: str, count: int) -> list[Scene]:
    rng = np.random.default_rng(1)
    return [sample_scene(rng, 96, 64, 17, shares={family: 1.0}) for _ in range(count)]


def test_places_run_from_edge_to_edge_in_the_order_of_the_tokens() -> None:
    found = places(GRID)
    assert found.shape == (*GRID, 3)
    assert found[0, 0, 0].tolist() == pytest.approx([-0.8, -0.75, -5 / 6])
    torch.testing.assert_close(found, -found.flip(0, 1, 2))
    assert (found.flatten(0, 2)[1] - found.flatten(0, 2)[0]).tolist() == pytest.approx([0, 0, 2 / 6])


def test_a_window_shows_its_part_of_the_truth() -> None:
    given, corners = drawn("camera", 2), torch.tensor([[1, 2], [0, 3]])
    whole, part = truth(known(given), GRID), truth(known(given), (5, 3, 3), windows=corners)
    outline, tone = (rearrange(told, "b (t h w) c -> b t h w c", h=4, w=6) for told in (whole.outline, whole.tone))
    for index, (y, x) in enumerate(corners.tolist()):
        for own, all_of_it in ((part.outline, outline), (part.tone, tone)):
            own = rearrange(own[index], "(t h w) c -> t h w c", h=3, w=3)
            torch.testing.assert_close(own, all_of_it[index, :, y : y + 3, x : x + 3])
        # The same pixel, told in either's own measure.
        frame = (whole.centre[index, 0] + 1) / 2 * torch.tensor([96.0, 64.0])
        window = (part.centre[index, 0] + 1) / 2 * 48 + torch.tensor([16.0 * x, 16.0 * y])
        torch.testing.assert_close(window, frame)


def test_tokens_know_what_is_on_their_side_at_their_time() -> None:
    given = drawn("two", 20)
    about = known(given)
    shown = truth(about, GRID)
    for name in ("looks", "motion", "centre"):
        told = rearrange(getattr(shown, name), "b (t h w) c -> b t h w c", t=5, h=4, w=6)
        own = getattr(about, name).float() / (255 if name == "looks" else 1)
        for side, columns in enumerate((slice(0, 3), slice(3, 6))):
            part = told[:, :, :, columns]
            torch.testing.assert_close(part, own[:, :, side, None, None].expand_as(part))
    assert (about.looks[:, :, 0] != about.looks[:, :, 1]).any(dim=(1, 2)).all()
    cut = truth(about, (2, 4, 6), first=3)
    for name in ("looks", "motion", "centre", "ground", "outline", "tone"):
        torch.testing.assert_close(getattr(cut, name), getattr(shown, name)[:, 3 * 24 :])


def test_all_tokens_of_a_time_know_how_far_the_camera_has_come() -> None:
    about = known(drawn("camera", 8))
    told = rearrange(truth(about, GRID).ground, "b (t s) c -> b t s c", t=5)
    assert (about.ground.diff(dim=1) != 0).any(dim=(1, 2)).all()
    torch.testing.assert_close(told, about.ground[:, :, None].expand_as(told))


def test_in_a_window_the_side_is_that_of_the_frame() -> None:
    about = known(drawn("two", 4))
    shown = truth(about, (5, 4, 3), windows=torch.tensor([[0, 0], [0, 3], [0, 1], [0, 2]]))
    looks = rearrange(shown.looks, "b (t h w) c -> b t h w c", t=5, h=4, w=3)[:, 0, 0]
    left, right = (about.looks[:, 0, side].float() / 255 for side in (0, 1))
    wanted = [[left[0]] * 3, [right[1]] * 3, [left[2], left[2], right[2]], [left[3], right[3], right[3]]]
    torch.testing.assert_close(looks, torch.stack([torch.stack(row) for row in wanted]))


def test_hints_teach_the_blocks_and_leave_with_them() -> None:
    transformer = tiny()
    names = set(transformer.state_dict())
    hints = Hints(transformer)
    assert set(transformer.state_dict()) == names
    given, told = drawn("one", 3), torch.tensor([1.0, 0.0, 0.0])
    rest = (torch.full((3,), 900.0), torch.randn(3, 4, 8))
    transformer(torch.randn(3, 16, 5, 8, 12, generator=torch.Generator().manual_seed(1)), *rest)
    losses = hints.losses(torch.ones(3), told, truth(known(given), GRID))
    assert set(losses) == {"place", "motion", "looks", "centre", "ground", "outline", "tone"}
    sum(losses.values()).backward()
    taught = transformer.blocks[1].self_attention.to_q.weight.grad
    assert taught is not None and taught.abs().sum() > 0
    transformer(torch.randn(3, 16, 5, 8, 12, generator=torch.Generator().manual_seed(1)), *rest)
    untold = hints.losses(torch.zeros(3), torch.zeros(3), truth(known(given), GRID))
    assert untold["motion"].item() == untold["looks"].item() == 0 < losses["looks"].item()
    assert untold["place"].item() == losses["place"].item()
