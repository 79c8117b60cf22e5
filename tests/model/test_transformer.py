"""The transformer as a module: counts, multiplicities, gradients, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from model.errors import ModelError
from model.state_dict_adapter import to_diffusers
from model.transformer import Transformer, TransformerConfig

SMALL: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 16,
    "ffn_dim": 32,
    "num_layers": 2,
    "rope_max_seq_len": 32,
}


def random_model(**changes: Any) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(**{**SMALL, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def given(model: Transformer, text: int = 6, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, model.config.in_channels, 2, 4, 6, generator=generator),
        torch.rand(batch, generator=generator) * 1000,
        torch.randn(batch, text, 16, generator=generator),
    )


WAN_1_3B: dict[str, Any] = {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}
WAN_5B: dict[str, Any] = {
    "num_attention_heads": 24,
    "ffn_dim": 14336,
    "num_layers": 30,
    "in_channels": 48,
    "out_channels": 48,
}


@pytest.mark.parametrize(
    ("sizes", "parameters"),
    [(WAN_1_3B, 1_418_996_800), ({}, 14_288_491_584), (WAN_5B, 4_999_787_712)],
    ids=["1.3B", "14B", "TI2V-5B"],
)
def test_real_sizes_have_the_published_number_of_parameters(sizes: dict, parameters: int) -> None:
    with torch.device("meta"):
        model = Transformer(TransformerConfig(**sizes))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_one_counted_pad_is_all_the_pads() -> None:
    model = random_model()
    latents, steps, text = given(model)
    pads = torch.zeros(2, 512, 16)
    pads[0, :6], pads[1, :4] = text[0], text[1, :4]  # six and four real tokens
    few = torch.cat([text, torch.zeros(2, 1, 16)], dim=1)
    few[1, 4:] = 0
    times = torch.tensor([[1.0] * 6 + [506.0], [1.0] * 4 + [1.0, 1.0, 506.0]])
    with torch.no_grad():
        whole, cheap = model(latents, steps, pads), model(latents, steps, few, encoder_multiplicity=times)
    assert (whole - cheap).abs().max() <= 1e-5 * whole.abs().max()
    with torch.no_grad():
        uncounted = model(latents, steps, few)
    assert (whole - uncounted).abs().max() > 1e-3 * whole.abs().max()


def test_a_token_counted_zero_times_is_not_there() -> None:
    model = random_model()
    latents, steps, text = given(model)
    times = torch.tensor([[1.0, 1, 1, 1, 0, 0]]).expand(2, -1)
    rubbish = text.clone()
    rubbish[:, 4:] = 1e3
    with torch.no_grad():
        found = model(latents, steps, rubbish, encoder_multiplicity=times)
        torch.testing.assert_close(found, model(latents, steps, text[:, :4]), atol=1e-5, rtol=1e-4)


def test_multiplicity_beside_image_tokens() -> None:
    model = random_model(image_dim=20, added_kv_proj_dim=24)
    latents, steps, text = given(model)
    image = torch.randn(2, 5, 20)
    pads = torch.cat([text, torch.zeros(2, 506, 16)], dim=1)
    times = torch.tensor([[1.0] * 6 + [506.0]]).expand(2, -1)
    with torch.no_grad():
        whole = model(latents, steps, pads, image)
        cheap = model(latents, steps, pads[:, :7], image, encoder_multiplicity=times)
    assert (whole - cheap).abs().max() <= 1e-5 * whole.abs().max()
    with pytest.raises(ValueError, match="splits the two at 512"):
        model(latents, steps, text, image)


@pytest.mark.parametrize("per_token", [False, True])
def test_gradients_are_those_of_diffusers(per_token: bool) -> None:
    from diffusers import WanTransformer3DModel

    model = random_model()
    reference = WanTransformer3DModel(**SMALL)
    reference.load_state_dict(to_diffusers(model.state_dict()))
    latents, steps, text = given(model)
    if per_token:
        steps = steps[:, None].repeat(1, 12)
        steps[:, :6] = 0
    weight = torch.randn(2, 4, 2, 4, 6)
    (model(latents, steps, text) * weight).sum().backward()
    (reference(latents, steps, text, return_dict=False)[0] * weight).sum().backward()
    ours = to_diffusers({name: parameter.grad for name, parameter in model.named_parameters()})
    assert all(gradient is not None for gradient in ours.values())
    for name, parameter in reference.named_parameters():
        scale = parameter.grad.abs().max()
        assert (ours[name] - parameter.grad).abs().max() <= 1e-4 * scale + 1e-6, name


def test_known_tokens_are_those_at_time_step_0() -> None:
    model = random_model()
    latents, steps, text = given(model)
    known = torch.zeros(2, 12)
    known[0, :6] = known[1, 4:7] = 1
    told = model(latents, steps, text, known=known)
    torch.testing.assert_close(told, model(latents, steps[:, None] * (1 - known), text))
    assert not torch.allclose(told, model(latents, steps, text))
    for wrong in (torch.zeros(2, 11), torch.zeros(1, 12)):
        with pytest.raises(ValueError, match="known tokens"):
            model(latents, steps, text, known=wrong)
    with pytest.raises(ValueError, match="known tokens"):
        model(latents, steps[:, None].repeat(1, 12), text, known=known)


def test_gradients_reach_text_and_latents_with_multiplicities() -> None:
    model = random_model()
    latents, steps, text = given(model)
    latents.requires_grad_(), text.requires_grad_()
    model(latents, steps, text, encoder_multiplicity=torch.full((2, 6), 2.0)).square().sum().backward()
    assert latents.grad is not None
    assert text.grad is not None
    assert latents.grad.abs().sum() > 0
    assert text.grad.abs().sum() > 0


def test_a_fresh_model_predicts_zero() -> None:
    model = Transformer(TransformerConfig(**SMALL))
    assert not model(*given(model)).any()


def test_autocast_keeps_the_residual_stream_in_fp32() -> None:
    model = random_model()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        wanted = model(*given(model))
        with torch.autocast("cpu", torch.bfloat16):
            found = model(*given(model))
    assert (found - wanted).abs().max() <= 0.03 * wanted.abs().max()


def test_refuses_what_it_cannot_take() -> None:
    model = random_model()
    latents, steps, text = given(model)
    with pytest.raises(ValueError, match=r"wanted \(batch, 4 channels"):
        model(latents[:, :3], steps, text)
    with pytest.raises(ValueError, match="smaller than one patch"):
        model(latents[..., :1], steps, text)
    with pytest.raises(ValueError, match="33 x 2 x 3 tokens: the model has 32"):
        model(latents[:, :, :1].repeat(1, 1, 33, 1, 1), steps, text)
    with pytest.raises(ValueError, match=r"wanted \(batch,\) or \(batch, 12 tokens\)"):
        model(latents, torch.zeros(2, 11), text)
    with pytest.raises(ValueError, match="without image_dim"):
        model(latents, steps, text, torch.zeros(2, 5, 20))
    with pytest.raises(ValueError, match=r"wanted \(batch, text\) = \(2, 6\)"):
        model(latents, steps, text, encoder_multiplicity=torch.ones(2, 5))


def test_config_reads_json_of_any_diffusers_version_and_refuses_what_cannot_be() -> None:
    config = TransformerConfig.from_dict({**SMALL, "_diffusers_version": "0.99", "new_key": 1, "patch_size": [1, 2, 2]})
    assert config == TransformerConfig(**SMALL)
    assert TransformerConfig.from_dict(config.to_dict()) == config
    assert hash(config) == hash(TransformerConfig(**SMALL))
    for raw, message in (
        ({"_class_name": "WanVACETransformer3DModel"}, "VACE"),
        ({"_class_name": "FluxTransformer2DModel"}, "FluxTransformer2DModel"),
        ({"attention_head_dim": 13}, "even"),
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"image_dim": 1280}, "added_kv_proj_dim"),
        ({"patch_size": [2, 2]}, "three sizes"),
    ):
        with pytest.raises(ModelError, match=message):
            TransformerConfig.from_dict(raw)


def test_model_needs_neither_diffusers_nor_accelerate() -> None:
    code = (
        "import sys; from model.parallel import Layout; assert 'torch' not in sys.modules; import model.transformer,"
        " model.transformer_files, model.parallel.group; bad = {'diffusers', 'accelerate', 'transformers'} &"
        " set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
