"""Prompts become diffusers' states, and one counted zero stands for all the zeros that pad them."""

from __future__ import annotations

import html
from pathlib import Path

import pytest
import torch

from model.text import MAX_TOKENS, TextEncoder, clean, cleaner, compact, pad
from tests.model.folders import build_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return build_folder(tmp_path_factory.mktemp("text"), "ti2v")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> TextEncoder:
    return TextEncoder.from_pretrained(folder, tokenizer_class="PreTrainedTokenizerFast")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("  a red \n\t circle ", "a red circle"),
        ("fish &amp;amp; chips", "fish & chips"),
        ("&lt;b&gt;", "<b>"),
        ("a\u3000wide\u2028space", "a wide space"),
        ("schÃ¶n", "schön"),
        ("", ""),
    ],
)
def test_cleaning(text: str, wanted: str) -> None:
    assert clean(text) == wanted
    assert clean(html.escape(wanted)) == wanted


def test_cleaning_is_on_record() -> None:
    assert cleaner().startswith("ftfy 6")


@pytest.mark.parametrize("prompt", ["a red circle moves left .", "", " ".join(["red"] * 700)])
def test_states_are_diffusers_own(folder: Path, encoder: TextEncoder, prompt: str) -> None:
    from diffusers import WanPipeline

    wanted = WanPipeline.from_pretrained(folder)._get_t5_prompt_embeds(prompt, max_sequence_length=MAX_TOKENS)
    states = encoder.encode(prompt)
    # Theirs is computed with its padding and ours without: other sums of the same numbers.
    assert float((pad([states]) - wanted).abs().max() / wanted.abs().max()) <= 1e-4
    assert len(states) == min(len(prompt.split()) + 1, MAX_TOKENS)


def test_a_prompt_without_any_token(folder: Path) -> None:
    encoder = TextEncoder.from_pretrained(folder)
    encoder.tokenizer.backend_tokenizer.post_processor = None  # no closing token
    states = encoder.encode("")
    assert states.shape == (0, 16)
    batch, multiplicity = compact([states])
    assert batch.shape == (1, 1, 16)
    assert not batch.any()
    assert multiplicity.tolist() == [[512.0]]


def test_prompts_are_remembered_by_what_they_say(encoder: TextEncoder) -> None:
    assert encoder.encode("a blue  square") is encoder.encode(" a blue square ")
    assert encoder.encode("a blue square") is not encoder.encode("a green square")


def test_one_counted_zero_stands_for_all() -> None:
    rng = torch.Generator().manual_seed(0)
    states = [torch.randn(count, 8, generator=rng) for count in (5, 1, 16)]
    batch, multiplicity = compact(states, 16)
    assert batch.shape == (3, 17, 8)
    assert multiplicity.sum(1).tolist() == [16.0] * 3
    assert multiplicity[1, :4].tolist() == [1, 15, 0, 0]
    query = torch.randn(3, 4, 8, generator=rng)

    def attend(keys: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return torch.softmax(query @ keys.mT + bias[:, None], -1) @ keys

    full = attend(pad(states, 16), torch.zeros(3, 16))
    assert torch.allclose(attend(batch, multiplicity.log()), full, atol=1e-6)
