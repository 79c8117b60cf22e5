"""The extra targets of training: what they say is the world's truth, and they leave the transformer Wan's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from einops import rearrange

from model.training.hints import LOOKS, WINDOW, Hints, known, places, truth
from model.training.world import SPEED_PER_SECOND, Scene, coverage, on_screen, sample_scene
from model.transformer import Transformer, TransformerConfig

GRID = (5, 4, 6)  # 17 frames of 96x64


def tiny() -> Transformer:
    torch.manual_seed(0)
    config = TransformerConfig(
        num_attention_heads=2, attention_head_dim=24, in_channels=16, out_channels=16, text_dim=8, freq_dim=32,
        ffn_dim=64, num_layers=5,
    )  # fmt: skip
    return Transformer(config)


def scenes(count: int) -> list[Scene]:
    rng = np.random.default_rng(1)
    return [sample_scene(rng, 96, 64, 17, shares={"one": 1.0}) for _ in range(count)]


def test_places_run_from_edge_to_edge_in_the_order_of_the_tokens() -> None:
    found = places(GRID)
    assert found.shape == (*GRID, 3)
    assert found[0, 0, 0].tolist() == pytest.approx([-0.8, -0.75, -5 / 6])
    torch.testing.assert_close(found, -found.flip(0, 1, 2))
    assert (found.flatten(0, 2)[1] - found.flatten(0, 2)[0]).tolist() == pytest.approx([0, 0, 2 / 6])


def test_centres_are_those_of_the_frames_that_a_latent_stands_for() -> None:
    given = scenes(8)
    found = (known(given).centre + 1) * torch.tensor([48.0, 32.0])
    for scene, centre in zip(given, found.numpy(), strict=True):
        path = on_screen(scene)[0][0]
        expected = np.stack([path[0], *(path[first : first + 4].mean(axis=0) for first in (1, 5, 9, 13))])
        assert centre == pytest.approx(expected, abs=1e-3)
    cut = truth(known(given), (2, 4, 6), first=3).centre
    torch.testing.assert_close(cut, truth(known(given), GRID).centre[:, 3 * 24 :])


def test_velocities_are_in_top_speeds_and_point_as_the_shape_moves() -> None:
    given = scenes(64)
    found = known(given).velocity
    assert found.norm(dim=1).max() <= 1.0001 and found.norm(dim=1).max() > SPEED_PER_SECOND[0] / SPEED_PER_SECOND[1]
    for scene, velocity in zip(given, found, strict=True):
        assert np.sign(velocity.numpy()).tolist() == np.sign(scene.things[0].motion.velocity).tolist()


def test_outlines_are_the_coverage_of_the_frames_that_a_latent_stands_for() -> None:
    given = scenes(2)
    found = truth(known(given), GRID).outline.numpy()
    for scene, outline in zip(given, found, strict=True):
        drawn = rearrange(coverage(scene), "t (h p y) (w q x) -> t h w p q (y x)", h=4, w=6, y=2, x=2)
        spots = drawn.mean(axis=-1).reshape(17, 24, 64)
        assert outline[:24] == pytest.approx(spots[0], abs=1 / 255)
        assert outline[24:48] == pytest.approx(spots[1:5].mean(axis=0), abs=1 / 255)
    np.testing.assert_array_equal(truth(known(given), (2, 4, 6), first=3).outline.numpy(), found[:, 3 * 24 :])


def test_a_window_shows_its_part_of_the_truth() -> None:
    given, corners = scenes(2), torch.tensor([[1, 2], [0, 3]])
    whole, part = truth(known(given), GRID), truth(known(given), (5, 3, 3), windows=corners)
    drawn = rearrange(whole.outline, "b (t h w) c -> b t h w c", h=4, w=6)
    for index, (y, x) in enumerate(corners.tolist()):
        own = rearrange(part.outline[index], "(t h w) c -> t h w c", h=3, w=3)
        torch.testing.assert_close(own, drawn[index, :, y : y + 3, x : x + 3])
        # The same pixel, told in either's own measure.
        frame = (whole.centre[index, 0] + 1) / 2 * torch.tensor([96.0, 64.0])
        window = (part.centre[index, 0] + 1) / 2 * 48 + torch.tensor([16.0 * x, 16.0 * y])
        torch.testing.assert_close(window, frame)


def test_tokens_know_what_stands_on_their_side() -> None:
    rng = np.random.default_rng(4)
    given = [sample_scene(rng, 96, 64, 17, shares={"two": 1.0}) for _ in range(20)]
    shown = truth(known(given), GRID)
    told = rearrange(shown.looks, "b (t h w) c -> b t h w c", t=5, h=4, w=6)
    for scene, looks in zip(given, told, strict=True):
        by_side = sorted(scene.things, key=lambda thing: thing.motion.start[0])
        for side, thing in zip((looks[:, :, :3], looks[:, :, 3:]), by_side, strict=True):
            said = {word for word, value in zip(LOOKS, side[0, 0, 0].tolist(), strict=True) if value}
            assert said == {thing.kind, thing.color, thing.size}
            assert bool((side == side[0, 0, 0]).all())
    assert bool(shown.lasting.all())


def test_looks_that_do_not_last_are_not_asked_for() -> None:
    rng = np.random.default_rng(5)
    for family, lasts in (("one", True), ("count", True), ("turning", False), ("contact", False), ("occlusion", False)):
        given = [sample_scene(rng, 96, 64, 17, shares={family: 1.0}) for _ in range(5)]
        assert known(given).lasting.tolist() == [lasts] * 5, family


def test_a_window_holds_its_thing_whole_wherever_it_stands() -> None:
    rng = np.random.default_rng(3)
    for width, height in ((128, 128), (160, 96), (96, 160)):
        given = [sample_scene(rng, width, height, 1, shares={"one": 1.0}) for _ in range(100)]
        for scene, bounds in zip(given, known(given).window.tolist(), strict=True):
            (x, y), radius = on_screen(scene)[0][0, 0], scene.things[0].radius
            for top, left in bounds:
                assert 0 <= top <= height // 16 - WINDOW and 0 <= left <= width // 16 - WINDOW
                # The corner of the circumscribing disc's box, of which the thing leaves some pixels free.
                assert left * 16 <= x - radius + 1 and x + radius - 1 <= (left + WINDOW) * 16
                assert top * 16 <= y - radius + 1 and y + radius - 1 <= (top + WINDOW) * 16


def test_scenes_of_several_things_have_no_one_velocity_or_centre() -> None:
    transformer = tiny()
    hints = Hints(transformer)
    rng = np.random.default_rng(2)
    pair = [sample_scene(rng, 96, 64, 17, shares={"two": 1.0}) for _ in range(2)]
    transformer(torch.randn(2, 16, 5, 8, 12), torch.full((2,), 900.0), torch.randn(2, 4, 8))
    losses = hints.losses(torch.ones(2), torch.ones(2), truth(known(pair), GRID))
    assert losses["velocity"].item() == losses["centre"].item() == 0 < losses["outline"].item()


def test_hints_teach_the_blocks_and_leave_with_them() -> None:
    transformer = tiny()
    names = set(transformer.state_dict())
    hints = Hints(transformer)
    assert set(transformer.state_dict()) == names
    given, told = scenes(3), torch.tensor([1.0, 0.0, 0.0])
    rest = (torch.full((3,), 900.0), torch.randn(3, 4, 8))
    transformer(torch.randn(3, 16, 5, 8, 12, generator=torch.Generator().manual_seed(1)), *rest)
    losses = hints.losses(torch.ones(3), told, truth(known(given), GRID))
    assert set(losses) == {"place", "velocity", "looks", "centre", "outline"}
    sum(losses.values()).backward()
    taught = transformer.blocks[1].self_attention.to_q.weight.grad
    assert taught is not None and taught.abs().sum() > 0
    transformer(torch.randn(3, 16, 5, 8, 12, generator=torch.Generator().manual_seed(1)), *rest)
    untold = hints.losses(torch.zeros(3), torch.zeros(3), truth(known(given), GRID))
    assert untold["velocity"].item() == untold["looks"].item() == 0 < losses["looks"].item()
    assert untold["place"].item() == losses["place"].item()
