"""The same numbers as diffusers' WanTransformer3DModel on random tiny models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model.transformer import Transformer

TINY: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 16,
    "freq_dim": 256,
    "ffn_dim": 32,
    "num_layers": 2,
    "rope_max_seq_len": 32,
}
IMAGE = {"in_channels": 36, "out_channels": 16, "image_dim": 20, "added_kv_proj_dim": 24}


def theirs(seed: int = 0, **changes: Any) -> Any:
    """A random diffusers model in which no parameter is at a value that would hide an error."""
    from diffusers import WanTransformer3DModel

    torch.manual_seed(seed)
    model = WanTransformer3DModel(**{**TINY, **changes}).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "scale_shift_table" in name or "pos_embed" in name:
                parameter.normal_(1.0 if name.endswith("weight") else 0.0, 0.5)
    return model


def inputs(model: Any, grid: tuple[int, int, int], *, batch: int = 2, text: int = 11, per_token: bool = False) -> tuple:
    """Latents, time steps and text for a model of either kind."""
    generator = torch.Generator().manual_seed(7)
    t, h, w = grid
    latents = torch.randn(batch, model.config.in_channels, t, h, w, generator=generator)
    tokens = t * (h // 2) * (w // 2)
    shape = (batch, tokens) if per_token else (batch,)
    steps = torch.rand(shape, generator=generator) * 1000
    if per_token:
        steps[:, : tokens // t] = 0
    return latents, steps, torch.randn(batch, text, model.config.text_dim, generator=generator)


def error(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max())


def both(folder: Path, model: Any, *given: Tensor) -> tuple[Tensor, Tensor]:
    model.save_pretrained(folder)
    ours = Transformer.from_pretrained(folder)
    with torch.no_grad():
        return ours(*given), model(*given, return_dict=False)[0]


@pytest.mark.parametrize(
    ("changes", "grid", "per_token"),
    [
        ({}, (2, 8, 6), False),
        ({}, (3, 7, 9), False),  # odd height and width: what is left over is dropped
        ({}, (5, 5, 5), True),
        ({}, (1, 2, 2), True),
        ({"num_attention_heads": 3, "attention_head_dim": 16}, (2, 4, 6), True),
        ({"num_attention_heads": 5, "attention_head_dim": 10}, (3, 6, 4), False),
        ({"num_attention_heads": 12, "attention_head_dim": 6, "in_channels": 16, "out_channels": 16}, (2, 4, 4), False),
        ({"cross_attn_norm": False, "out_channels": None}, (2, 4, 4), False),
        ({"patch_size": (2, 2, 2)}, (5, 4, 4), False),
        ({"in_channels": 36, "out_channels": 16}, (2, 4, 4), False),  # I2V of Wan 2.2: no image tokens
    ],
)
def test_text_to_video(tmp_path: Path, changes: dict, grid: tuple[int, int, int], per_token: bool) -> None:
    model = theirs(**changes)
    ours, reference = both(tmp_path, model, *inputs(model, grid, per_token=per_token))
    assert error(ours, reference) <= 1e-5


@pytest.mark.parametrize("grid", [(2, 4, 6), (3, 5, 7)])
def test_image_tokens(tmp_path: Path, grid: tuple[int, int, int]) -> None:
    model = theirs(**IMAGE)
    image = torch.randn(2, 9, 20)
    ours, reference = both(tmp_path, model, *inputs(model, grid, text=512), image)
    assert error(ours, reference) <= 1e-5


def test_first_and_last_frame(tmp_path: Path) -> None:
    model = theirs(**IMAGE, pos_embed_seq_len=10)
    image = torch.randn(4, 5, 20)  # two images per clip
    ours, reference = both(tmp_path, model, *inputs(model, (2, 4, 6), text=512), image)
    assert error(ours, reference) <= 1e-5
    with pytest.raises(ValueError, match="two images per clip"):
        Transformer.from_pretrained(tmp_path)(*inputs(model, (2, 4, 6), text=512), image[:3])


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_bf16_is_as_close_to_fp32_as_theirs(tmp_path: Path, per_token: bool, stored: torch.dtype) -> None:
    from diffusers import WanTransformer3DModel

    model = theirs(num_attention_heads=4, attention_head_dim=32, ffn_dim=256, num_layers=4)
    if stored == torch.bfloat16:  # a folder stored wholly in bf16; the reference must hold the rounded weights too
        model = model.to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    given = inputs(model, (3, 8, 8), per_token=per_token)
    low = [given[0].bfloat16(), given[1], given[2].bfloat16()]
    high = [low[0].float(), low[1], low[2].float()]
    with torch.no_grad():
        exact = model.float()(*high, return_dict=False)[0]
        reference = WanTransformer3DModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)(*low, return_dict=False)
        cast = Transformer.from_pretrained(tmp_path, dtype=torch.bfloat16)(*low)
        as_stored = Transformer.from_pretrained(tmp_path)(*low) if stored == torch.bfloat16 else cast
    wanted = error(reference[0].float(), exact)
    assert 0 < wanted < 0.05
    assert error(cast.float(), exact) <= 1.25 * wanted
    assert torch.equal(as_stored, cast)
