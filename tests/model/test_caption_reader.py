"""A text encoder can be taught what captions say from captions alone, and is no bag of words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from model.training import captions
from model.training.caption_reader import MOMENTS, CaptionReader, Captions, Role, Roles, learn_to_read
from model.training.known import LOOKS, MOTION, known
from model.training.text import TEXT_WIDTH, build_text_encoder, build_tokenizer
from model.training.world import KINDS, sample_scene

LEFT_RIGHT = "a red circle on the left and a blue square on the right"


def words_of(text: str) -> torch.Tensor:
    return build_tokenizer()(text, return_tensors="pt").input_ids


def batch(seed: int, shares: Mapping[str, float], count: int = 64) -> Captions:
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng, 64, 64, 9, shares=shares) for _ in range(count)]
    about = known(scenes)
    texts = [captions.varied(scene, rng) for scene in scenes]
    words = build_tokenizer()(texts, padding=True, return_tensors="pt").input_ids
    return Captions(words, torch.ones(count), about.looks.float() / 255, about.motion)


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        (LEFT_RIGHT, {"red": 1, "circle": 1, "blue": 2, "square": 2, "left": 0, "a": 0}),
        ("a tiny cyan circle moving up on the left and a big red bar on the right", {"tiny": 1, "up": 1, "big": 2}),
        ("a red circle turns blue and then turns green on a navy background", {"red": 1, "blue": 3, "green": 4}),
        ("a red circle moving left hits a white square which breaks", {"red": 1, "white": 2, "breaks": 3, "hits": 0}),
        ("three small blue squares moving up on a pink background", {"blue": 1, "squares": 1, "up": 1, "pink": 0}),
        ("a green circle moving down on the left and a red square on the right", {"green": 1, "down": 1, "red": 2}),
    ],
)
def test_words_have_the_role_that_their_sentence_gives_them(text: str, roles: dict[str, int]) -> None:
    tokenizer = build_tokenizer()
    found = Roles(tokenizer).of(words_of(text))[0].tolist()
    by_word: dict[str, int] = dict(zip(tokenizer.tokenize(text), found, strict=False))
    assert {word: by_word[word] for word in roles} == {word: Role(role) for word, role in roles.items()}


def state_of(encoder: Any, text: str, word: str) -> torch.Tensor:
    words = words_of(text)
    place = build_tokenizer().tokenize(text).index(word)
    with torch.no_grad():
        return encoder(words, torch.ones_like(words)).last_hidden_state[0, place]


def test_a_word_hears_its_neighbours_from_the_first() -> None:
    torch.manual_seed(0)
    encoder = build_text_encoder(len(build_tokenizer()))
    exchanged = LEFT_RIGHT.replace("red", "x").replace("blue", "red").replace("x", "blue")
    here, there = (state_of(encoder, text, "red") for text in (LEFT_RIGHT, exchanged))
    assert (here - there).norm() > 0.15 * here.norm()
    for block in encoder.encoder.block:  # what transformers gives it by itself
        torch.nn.init.normal_(block.layer[0].SelfAttention.relative_attention_bias.weight, std=TEXT_WIDTH**-0.5)
    here, there = (state_of(encoder, text, "red") for text in (LEFT_RIGHT, exchanged))
    assert (here - there).norm() < 0.05 * here.norm(), "a bag of words"


def test_the_sides_of_a_pair_are_learnt_from_captions_alone() -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    encoder, reader = build_text_encoder(len(tokenizer)), CaptionReader(TEXT_WIDTH, tokenizer)
    kept = [batch(seed, {"two": 1.0}) for seed in range(40)]
    losses = learn_to_read(encoder, reader, lambda step: kept[step % 40], steps=240, rate=2e-3)
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[50:60])
    words, _, looks, _ = batch(1000, {"two": 1.0})
    with torch.no_grad():
        states = encoder(words, (words != 0).long()).last_hidden_state
        said = reader.answers(states, words)[..., : len(KINDS)].argmax(-1)
    right = (said == looks[..., : len(KINDS)].argmax(-1)).float().mean()
    assert right > 0.9, "of guesses, two thirds"


def test_what_is_not_told_and_what_is_past_the_end_do_not_count() -> None:
    torch.manual_seed(0)
    reader = CaptionReader(16, build_tokenizer())
    states, words = torch.randn(2, 13, 16), words_of("a red circle and a blue square")
    words = torch.cat([torch.nn.functional.pad(row, (0, 13 - row.shape[1])) for row in (words, words[:, :5])])
    looks, motion = torch.rand(2, MOMENTS, 2, len(LOOKS)), torch.rand(2, MOMENTS, 2, MOTION)
    said = Captions(words, torch.ones(2), looks, motion)
    told = reader.loss(states, said)
    other = torch.where((words != 0)[..., None], states, torch.randn(2, 13, 16))
    torch.testing.assert_close(reader.loss(other, said), told)
    silent = said._replace(told=torch.zeros(2))
    untold = reader.loss(states, silent)
    assert untold < told
    torch.testing.assert_close(reader.loss(states, silent._replace(motion=motion + 1)), untold)
