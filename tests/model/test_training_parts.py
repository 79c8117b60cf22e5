"""What training is fed: masks of given tokens, latents with their scenes, weights to go on from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from model.facts import DEFAULT_FOLDER
from model.training.given import draw_given
from model.training.latents import read_part
from model.training.text import build_tokenizer
from model.training.transformer import (
    MOST,
    TOKENS,
    WINDOW,
    Latents,
    TextAndTransformer,
    begin_from,
    corner,
    flow_loss,
    hidden_matrices,
    sample_times,
)
from model.training.world import Scene, on_screen, sample_scene, to_json


def test_every_task_has_its_mask_and_half_of_the_clips_have_none() -> None:
    rng = np.random.default_rng(0)
    masks = [draw_given(rng, (5, 4, 6)) for _ in range(2000)]
    given = [mask for mask in masks if mask is not None]
    assert 0.4 < len(given) / len(masks) < 0.5
    assert all(set(mask.unique().tolist()) == {0.0, 1.0} for mask in given)

    def whole(mask: torch.Tensor) -> list[bool]:
        return [bool(frame.all()) for frame in mask]

    def some(mask: torch.Tensor) -> list[bool]:
        return [bool(frame.any()) for frame in mask]

    seen = {tuple(whole(mask)) for mask in given if whole(mask) == some(mask)}
    assert {(True, False, False, False, False), (True, False, False, False, True)} <= seen  # i2v, flf2v
    assert {(True, True, False, False, False), (False, False, False, True, True)} <= seen  # extend, extend_back
    partial = [mask for mask in given if not any(whole(mask))]
    assert any((mask[0] != mask[-1]).any() for mask in partial), "regions move"


def test_a_still_is_given_in_part_or_not_at_all() -> None:
    rng = np.random.default_rng(1)
    masks = [draw_given(rng, (1, 4, 4)) for _ in range(200)]
    assert any(mask is None for mask in masks) and any(mask is not None for mask in masks)


def make_scenes(number: int, frames: int = 1) -> list[Scene]:
    rng = np.random.default_rng(number)
    return [sample_scene(rng, 64, 64, frames) for _ in range(6)]


def make_part(folder: Path, number: int, frames: int) -> None:
    scenes = make_scenes(number, frames)
    latents = torch.randn(6, 16, (frames - 1) // 4 + 1, 8, 8).to(torch.bfloat16)
    told = "\n".join(to_json(scene) for scene in scenes)
    save_file({"latents": latents}, folder / f"part-{number:05d}.safetensors", metadata={"scenes": told})


def test_a_part_gives_back_the_scenes_that_its_latents_show(tmp_path: Path) -> None:
    make_part(tmp_path, 0, 17)
    latents, scenes = read_part(tmp_path / "part-00000.safetensors")
    assert scenes == make_scenes(0, 17)
    assert latents.shape == (6, 16, 5, 8, 8)


def test_batches_of_every_kind_give_a_loss_that_reaches_all_weights(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    make_part(tmp_path, 0, 17)
    make_part(tmp_path, 1, 9)
    make_part(tmp_path, 2, 1)
    clips, tokenizer = Latents(tmp_path), build_tokenizer()
    assert clips.refresh() == 18 and clips.refresh() == 18
    model = TextAndTransformer(len(tokenizer))
    for step in range(12):
        loss, figures = flow_loss(model, tokenizer, clips, (step,), still_share=0.5)
        assert torch.isfinite(loss) and 0.5 < figures["flow"] < 20
        loss.backward()
    assert all(value.grad is not None for name, value in model.transformer.named_parameters() if "image" not in name)


def test_batches_of_stills_are_stills_whether_any_were_encoded_or_not(tmp_path: Path) -> None:
    make_part(tmp_path, 0, 17)
    clips, rng = Latents(tmp_path), np.random.default_rng(0)
    clips.refresh()
    assert clips.sample(rng, still=True)[0].shape[2] == 1, "the clips' first frames"
    make_part(tmp_path, 1, 1)
    clips.refresh()
    still = make_scenes(1)
    for _ in range(10):
        latents, scenes, _ = clips.sample(rng, still=True)
        assert latents.shape[1:] == (16, 1, 8, 8) and len(latents) == MOST and all(scene in still for scene in scenes)
        assert clips.sample(rng)[0].shape[2] == 5


def test_a_window_holds_its_thing_whole_wherever_it_stands() -> None:
    rng = np.random.default_rng(3)
    for width, height in ((128, 128), (160, 96), (96, 160)):
        for _ in range(100):
            scene = sample_scene(rng, width, height, 1, shares={"one": 1.0})
            top, left = corner(scene, rng)
            assert 0 <= top <= height // 16 - WINDOW and 0 <= left <= width // 16 - WINDOW
            (x, y), radius = on_screen(scene)[0][0, 0], scene.things[0].radius
            # The corner of the circumscribing disc's box, of which the thing leaves some pixels free.
            assert left * 16 <= x - radius + 1 and x + radius - 1 <= (left + WINDOW) * 16
            assert top * 16 <= y - radius + 1 and y + radius - 1 <= (top + WINDOW) * 16


def test_batches_of_windows_are_of_scenes_with_one_thing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng, 128, 128, 1) for _ in range(40)]
    told = "\n".join(to_json(scene) for scene in scenes)
    latents = torch.arange(40.0).reshape(40, 1, 1, 1, 1).expand(40, 16, 1, 16, 16).to(torch.bfloat16).contiguous()
    save_file({"latents": latents}, tmp_path / "still-00000.safetensors", metadata={"scenes": told})
    clips = Latents(tmp_path)
    clips.refresh()
    parts, shown, corners = clips.sample(rng, still=True, window=True)
    assert corners is not None and parts.shape == (MOST, 16, 1, 2 * WINDOW, 2 * WINDOW)
    assert TOKENS // WINDOW**2 >= MOST and len(corners) == len(shown) == MOST
    assert all(len(scene.things) == 1 for scene in shown)
    assert all(scenes[int(part[0, 0, 0, 0])] == scene for part, scene in zip(parts, shown, strict=True))


def test_what_blocks_compute_with_is_trained_as_matrices() -> None:
    model = TextAndTransformer(len(build_tokenizer()))
    named = dict(model.named_parameters())
    found = hidden_matrices(model)
    assert all(named[name].ndim == 2 for name in found)
    assert sum(named[name].numel() for name in found) > 0.7 * sum(value.numel() for value in named.values())
    assert not any("embed" in name or "text_encoder" in name for name in found)


def test_most_noise_levels_lie_where_outlines_are_settled() -> None:
    sigma = sample_times(torch.Generator().manual_seed(0), 20_000)
    assert float(sigma.min()) >= 0 and float(sigma.max()) <= 1
    between = ((sigma > 0.6) & (sigma < 0.9)).float().mean()
    assert 0.48 < between < 0.56, "of a uniform draw with this shift, 0.41"
    assert 0.07 < (sigma > 0.95).float().mean() < 0.10, "what settles places is not left out"


def test_words_keep_what_they_mean_when_training_goes_on() -> None:
    from transformers import AutoTokenizer

    tokenizer = build_tokenizer()
    model = TextAndTransformer(len(tokenizer))
    begin_from(model, DEFAULT_FOLDER)
    before = AutoTokenizer.from_pretrained(DEFAULT_FOLDER / "tokenizer")
    from safetensors.torch import load_file

    kept = load_file(DEFAULT_FOLDER / "text_encoder/model.safetensors")["shared.weight"].float()
    now = model.text_encoder.state_dict()["shared.weight"]
    for word in ("red", "triangle", "left"):
        torch.testing.assert_close(now[tokenizer.get_vocab()[word]], kept[before.get_vocab()[word]])
