"""A text encoder can be taught what captions say from captions alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.training import captions
from model.training.caption_reader import MOMENTS, CaptionReader
from model.training.known import LOOKS, MOTION, known
from model.training.text import TEXT_WIDTH, build_text_encoder, build_tokenizer
from model.training.world import sample_scene


def batch(count: int, family: str, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng, 64, 64, 9, shares={family: 1.0}) for _ in range(count)]
    about = known(scenes)
    words = build_tokenizer()([captions.dense(scene) for scene in scenes], padding=True, return_tensors="pt").input_ids
    return words, about.looks.float() / 255, about.motion


@pytest.mark.parametrize("family", ["two", "turning"])
def test_whose_attributes_are_whose_is_learnt_from_captions(family: str) -> None:
    torch.manual_seed(0)
    encoder, reader = build_text_encoder(len(build_tokenizer())), CaptionReader(TEXT_WIDTH)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *reader.parameters()], lr=2e-3)
    found = []
    for step in range(60):
        words, looks, motion = batch(32, family, step)
        states = encoder(words, (words != 0).long()).last_hidden_state
        loss = reader.loss(states, words, torch.ones(32), looks, motion)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert np.mean(found[-5:]) < 0.4 * np.mean(found[:5])


def test_what_is_not_told_and_what_is_past_the_end_do_not_count() -> None:
    torch.manual_seed(0)
    reader = CaptionReader(16)
    states, words = torch.randn(2, 6, 16), torch.tensor([[5, 6, 7, 1, 0, 0], [5, 6, 1, 0, 0, 0]])
    looks, motion = torch.rand(2, MOMENTS, 2, len(LOOKS)), torch.rand(2, MOMENTS, 2, MOTION)
    told = reader.loss(states, words, torch.ones(2), looks, motion)
    other = torch.where((words != 0)[..., None], states, torch.randn(2, 6, 16))
    torch.testing.assert_close(reader.loss(other, words, torch.ones(2), looks, motion), told)
    untold = reader.loss(states, words, torch.zeros(2), looks, motion)
    assert untold < told
    torch.testing.assert_close(reader.loss(states, words, torch.zeros(2), looks, motion + 1), untold)
