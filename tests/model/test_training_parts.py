"""What training is fed: masks of given tokens, latents with their scenes, weights to go on from."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from model.facts import DEFAULT_FOLDER
from model.training import captions
from model.training.clips import Clips
from model.training.crops import Crops, as_video, foreground
from model.training.given import ONE_GIVING, draw_given, draw_masks, keys_given, things_given
from model.training.graphs import Graphed
from model.training.known import WINDOW
from model.training.latents import CLIP, REWORDINGS, SLOW, STILL, Drawn, Kind, Parts, read_part, write_part
from model.training.release import AVERAGED, average
from model.training.shares import as_share, part_of_one
from model.training.text import build_tokenizer
from model.training.transformer import (
    FlowObjective,
    TextAndTransformer,
    begin_from,
    flow_loss,
    hidden_matrices,
    sample_times,
)
from model.training.world import Scene, draw


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


def test_large_batches_mix_masks() -> None:
    rng, grid = np.random.default_rng(2), (5, 4, 6)
    many, few = torch.zeros(3 * ONE_GIVING + 1, 120, 4), torch.zeros(2, 120, 4)
    drawn = [draw_masks(rng, grid, many) for _ in range(30)]
    mixed = [mask for mask in drawn if mask is not None]
    assert mixed and all(mask.shape == (3 * ONE_GIVING + 1, 5, 4, 6) for mask in mixed)
    assert any(not torch.equal(mask[0], mask[ONE_GIVING]) for mask in mixed)
    assert all(torch.equal(mask[0], mask[ONE_GIVING - 1]) for mask in mixed)
    assert any(draw_masks(rng, grid, few) is None for _ in range(30))


def test_things_are_given_where_they_are_or_all_but_them() -> None:
    rng, grid = np.random.default_rng(3), (2, 2, 3)
    outline = torch.zeros(1, 12, 4)
    outline[0, 1], outline[0, 6, 0] = 1.0, 0.5  # one token whole; an eighth of another
    seen = {tuple(things_given(rng, outline, grid).flatten().nonzero().flatten().tolist()) for _ in range(50)}
    others = tuple(sorted({*range(12)} - {1}))
    assert seen == {(1, 6), (1,), others, tuple(sorted({*others} - {6}))}
    two = torch.cat([outline, outline.flip(1)])
    drawn = [mask for mask in (draw_masks(rng, grid, two) for _ in range(99)) if mask is not None]
    own = [mask for mask in drawn if not torch.equal(mask[0], mask[1])]
    assert 0 < len(own) < len(drawn) / 2, "a batch in a while, and then each clip its own"


def make_drawn(folder: Path, kind: Kind, number: int, width: int = 64, height: int = 64, frames: int = 1) -> Drawn:
    one = kind._replace(shapes=((width, height, frames, 1.0),), part=6)
    return Parts(folder, one, 6 * (number + 1), [number])[0]


def make_part(folder: Path, kind: Kind, number: int, width: int = 64, height: int = 64, frames: int = 1) -> Drawn:
    """A part whose latents are the number of their clip; returns what it was made from."""
    drawn = make_drawn(folder, kind, number, width, height, frames)
    values = torch.arange(6.0).reshape(6, 1, 1, 1, 1)
    write_part(drawn, values.expand(6, 16, (frames - 1) // 4 + 1, height // 8, width // 8).contiguous())
    return drawn


def test_a_part_gives_back_what_is_known_of_its_clips(tmp_path: Path) -> None:
    drawn = make_part(tmp_path, CLIP, 0, frames=17)
    part = read_part(tmp_path / "part-00000.safetensors")
    assert part.latents.shape == (6, 16, 5, 8, 8) and part.latents.dtype == torch.bfloat16
    assert part.captions == drawn.captions and len(part.captions) == 6 * (1 + REWORDINGS)
    assert part.captions[:: 1 + REWORDINGS] == [captions.dense(scene) for scene in drawn.scenes]
    for kept, own in zip(part.known, drawn.known, strict=True):
        torch.testing.assert_close(kept, own)
    assert torch.equal(drawn.clips, torch.from_numpy(np.stack([draw(scene) for scene in drawn.scenes])))
    assert not len(Parts(tmp_path, CLIP, 6, [0])), "a part that is there is not made again"


def test_a_part_that_says_less_of_its_clips_is_named(tmp_path: Path) -> None:
    path = tmp_path / "part-00000.safetensors"
    make_part(tmp_path, CLIP, 0, frames=17)
    less = {name: value for name, value in load_file(path).items() if name not in ("tone", "ground")}
    save_file(less, path)
    with pytest.raises(
        ValueError, match=r"part-00000.safetensors does not say ground, tone of .* make the latents again"
    ):
        read_part(path)


def test_a_part_follows_from_its_number_and_shows_what_was_asked_for(tmp_path: Path) -> None:
    assert make_drawn(tmp_path, STILL, 3).scenes == make_drawn(tmp_path, STILL, 3).scenes
    assert make_drawn(tmp_path, STILL, 3).scenes != make_drawn(tmp_path, STILL, 4).scenes
    kind = STILL._replace(shapes=((64, 64, 1, 1.0),), part=20)
    pairs = Parts(tmp_path, kind, 20, [0], {"two": 1.0})[0]
    assert pairs.known.things.tolist() == [2] * 20
    assert as_share("two=3") == ("two", 3.0)
    for wrong in ("two", "two=", "two=-1", "two=nan", "two=inf", "three=1"):
        with pytest.raises(argparse.ArgumentTypeError, match="FAMILY=SHARE"):
            as_share(wrong)
    plain, dressed = (Parts(tmp_path, kind, 20, [0], {"one": 1.0}, share)[0].scenes for share in (0.0, 1.0))
    assert {(scene.texture, scene.style) for scene in plain} == {("plain", "flat")}
    assert not any(scene.texture == "plain" or scene.style == "flat" for scene in dressed)
    assert part_of_one("0.5") == 0.5
    for wrong in ("-0.1", "1.1", "nan", "half"):
        with pytest.raises(argparse.ArgumentTypeError, match="from 0 to 1"):
            part_of_one(wrong)


def test_batches_of_every_kind_give_a_loss_that_reaches_all_weights(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    make_part(tmp_path, CLIP, 0, frames=17)
    make_part(tmp_path, CLIP, 1, frames=9)
    make_part(tmp_path, STILL, 0, 128, 128)
    make_part(tmp_path, SLOW, 0, frames=13)
    tokenizer = build_tokenizer()
    clips = Clips(tmp_path, tokenizer)
    assert clips.refresh() == 24 and clips.refresh() == 24
    model = TextAndTransformer(tokenizer)
    objective = Graphed(lambda: FlowObjective(model), "cpu")
    for step in range(12):
        loss, figures = flow_loss(model, objective, clips, (step,), tokens=400, still_share=0.5)
        assert torch.isfinite(loss) and 0.5 < float(figures["flow"]) < 40
        loss.backward()
    assert all(value.grad is not None for name, value in model.transformer.named_parameters() if "image" not in name)
    again, _ = flow_loss(model, objective, clips, (11,), tokens=400, still_share=0.5)
    assert float(again.detach()) == float(loss.detach()), "all that is random follows from the seed"


def test_batches_are_stills_or_clips_as_asked_where_both_are_there(tmp_path: Path) -> None:
    make_part(tmp_path, CLIP, 0, frames=17)
    clips, rng = Clips(tmp_path, build_tokenizer()), np.random.default_rng(0)
    clips.refresh()
    assert {clips.sample(rng, 640, still=True).clean.shape[2] for _ in range(40)} == {5, 3}, "no stills: clips, or cuts"
    make_part(tmp_path, STILL, 0)
    clips.refresh()
    for _ in range(10):
        batch = clips.sample(rng, 640, still=True)
        assert batch.clean.shape == (640 // 16, 16, 1, 8, 8) and not batch.told.any() and batch.named.any()
        batch = clips.sample(rng, 640)
        count, _, frames, _, _ = batch.clean.shape
        assert frames in (5, 3) and batch.truth.centre.shape == (count, frames * 16, 2)


def test_slow_clips_are_slow_and_seen_in_windows_few_of_which_begin_them(tmp_path: Path) -> None:
    drawn = make_part(tmp_path, SLOW, 0, frames=37)
    usual = make_drawn(tmp_path, CLIP, 0, frames=33)

    def paces(scenes: list[Scene]) -> list[float]:
        motions = [thing.motion for scene in scenes for thing in scene.things]
        return [float(np.hypot(*motion.velocity)) for motion in motions if motion.kind == "straight"]

    assert 0 < max(paces(drawn.scenes)) < min(paces(usual.scenes))
    assert {scene.fps for scene in drawn.scenes} == {8.0}, "what is known of their pace is in the usual measure"
    clips, rng = Clips(tmp_path, build_tokenizer()), np.random.default_rng(0)
    clips.refresh()
    lengths, begun = set(), 0
    for _ in range(40):
        batch = clips.sample_slow(rng, 640)
        frames = batch.clean.shape[2]
        lengths.add(frames)
        which = batch.clean[:, 0, 0, 0, 0].long()
        shown = batch.truth.looks.unflatten(1, (frames, 16))[:, :, -1]
        own = drawn.known.looks[which, :, 1] / 255
        starts = [first for first in range(11 - frames) if bool((own[:, first : first + frames] == shown).all())]
        assert starts
        begun += starts == [0]
    assert lengths == {9, 5, 3}
    assert 0 < begun < 20


def test_of_slow_clips_the_ends_are_given_and_often_keys_between_them() -> None:
    masks = [keys_given(np.random.default_rng(seed), 2, (9, 4, 4)) for seed in range(60)]
    assert all(bool((mask == mask[:1, :, :1, :1]).all()) for mask in masks), "frames are given whole, and to all alike"
    given = {tuple(torch.nonzero(mask[0, :, 0, 0]).flatten().tolist()) for mask in masks}
    assert given == {(0, 8), (0, 2, 4, 6, 8), (0, 3, 6, 8), (0, 4, 8)}


def test_a_batch_knows_of_each_clip_what_is_true_of_it(tmp_path: Path) -> None:
    drawn = make_part(tmp_path, CLIP, 0, frames=17)
    tokenizer, rng = build_tokenizer(), np.random.default_rng(0)
    clips = Clips(tmp_path, tokenizer)
    clips.refresh()
    told: list[float] = []
    for _ in range(20):
        batch = clips.sample(rng, 640)
        which = batch.clean[:, 0, 0, 0, 0].long()
        frames = batch.clean.shape[2]
        shown = batch.truth.looks.unflatten(1, (frames, 16))[:, :, -1]  # of the last token, which is on the right
        own = drawn.known.looks[which, :, 1] / 255
        begins = [bool((own[:, first : first + frames] == shown).all()) for first in range(6 - frames)]
        assert any(begins) if frames < 5 else begins == [True]
        told += batch.told.tolist()
        for index, words, says in zip(which.tolist(), batch.words, batch.told.tolist(), strict=True):
            own = drawn.captions[index * (1 + REWORDINGS) : (index + 1) * (1 + REWORDINGS)]
            allowed = [tokenizer(text).input_ids for text in own] if says else [tokenizer("").input_ids]
            assert [word for word in words.tolist() if word] in allowed
    assert 0.75 < np.mean(told) < 0.97


def test_windows_are_of_stills_with_one_thing(tmp_path: Path) -> None:
    drawn = [make_part(tmp_path, STILL, number, 128, 128) for number in range(4)]
    clips, rng = Clips(tmp_path, build_tokenizer()), np.random.default_rng(0)
    clips.refresh()
    single = sum(len(scene.things) == 1 for one in drawn for scene in one.scenes)
    assert 0 < single < 24, "this world has both"
    batches = [clips.sample(rng, 400, still=True) for _ in range(40)]
    windows = [batch for batch in batches if batch.clean.shape[-1] == 2 * WINDOW]
    assert 0 < len(windows) < 40
    for batch in windows:
        assert batch.clean.shape == (400 // WINDOW**2, 16, 1, 2 * WINDOW, 2 * WINDOW)
        assert bool((batch.truth.outline.amax(dim=(1, 2)) > 0.9).all()), "the thing is in it"


def test_autoencoders_learn_from_crops_of_things() -> None:
    clips, masks = Crops(0)[5]
    assert clips.dtype == masks.dtype == torch.uint8 and clips.shape[:-1] == masks.shape
    assert torch.equal(Crops(0)[5][0], clips) and len(Crops(0, scale=3)[5][0]) == 3 * len(clips)
    assert Crops(9)[5][0].shape[1] == 1, "the first are stills"
    weight = foreground(masks)
    assert weight.shape == (len(clips), 1, *clips.shape[1:4]) and 0 <= float(weight.min()) <= float(weight.max()) <= 1
    assert bool((weight[:, 0] >= masks / 255).all()) and float(as_video(clips).abs().max()) <= 1


def test_what_blocks_compute_with_is_trained_as_matrices() -> None:
    model = TextAndTransformer(build_tokenizer())
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
    model = TextAndTransformer(tokenizer)
    begin_from(model, DEFAULT_FOLDER)
    before = AutoTokenizer.from_pretrained(DEFAULT_FOLDER / "tokenizer")
    from safetensors.torch import load_file

    kept = load_file(DEFAULT_FOLDER / "text_encoder/model.safetensors")["shared.weight"].float()
    now = model.text_encoder.state_dict()["shared.weight"]
    for word in ("red", "triangle", "left"):
        torch.testing.assert_close(now[tokenizer.get_vocab()[word]], kept[before.get_vocab()[word]])


def test_released_weights_can_be_the_mean_of_two(tmp_path: Path) -> None:
    for name in AVERAGED:
        for folder, value in (("new", 1.0), ("old", 3.0)):
            (tmp_path / folder / name).parent.mkdir(parents=True)
            save_file(
                {"w": torch.full((2, 3), value, dtype=torch.bfloat16)}, tmp_path / folder / name, {"format": "pt"}
            )
    average(tmp_path / "new", tmp_path / "old")
    for name in AVERAGED:
        with safe_open(tmp_path / "new" / name, "pt") as file:
            assert file.metadata() == {"format": "pt"}
            assert torch.equal(file.get_tensor("w"), torch.full((2, 3), 2.0, dtype=torch.bfloat16))
    save_file({"w": torch.zeros(2, 4)}, tmp_path / "old" / AVERAGED[1])
    with pytest.raises(ValueError, match="neither went on from the other"):
        average(tmp_path / "new", tmp_path / "old")
