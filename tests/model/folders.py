"""Tiny random pipeline folders as diffusers writes them, in the three forms that Wan's checkpoints have."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

Kind = Literal["ti2v", "t2v", "i2v"]
WORDS = ["red", "blue", "green", "circle", "square", "moves", "left", "right", "on", "a", "black", "background", "."]
TEXT_WIDTH = 16
IMAGE_WIDTH = 8


def build_folder(
    path: Path,
    kind: Kind = "ti2v",
    *,
    scheduler: Literal["unipc", "euler"] = "unipc",
    experts: int = 1,
    boundary_ratio: float = 0.8,
    heads: int = 2,
    layers: int = 2,
    seed: int = 0,
) -> Path:
    """Writes a random pipeline folder and gives its path.

    Args:
        path: the folder to make.
        kind: "ti2v" (per-token time steps, autoencoder of patch size 2), "t2v" (16 channels) or "i2v" (36, and CLIP).
        scheduler: UniPC with shift 3, or Euler with shift 5.
        experts: 1, or 2 with a `transformer_2` below `boundary_ratio`.
        heads, layers: of the transformers.
        seed: of the weights.
    """
    from diffusers import WanImageToVideoPipeline, WanPipeline

    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    parts: dict[str, Any] = {
        "tokenizer": tokenizer,
        "text_encoder": build_text_encoder(len(tokenizer)),
        "vae": build_autoencoder(kind),
        "scheduler": build_scheduler(scheduler),
        "transformer": build_transformer(kind, heads=heads, layers=layers),
        "transformer_2": build_transformer(kind, heads=heads, layers=layers) if experts == 2 else None,
        "boundary_ratio": boundary_ratio if experts == 2 else None,
        "expand_timesteps": kind == "ti2v",
    }
    if kind == "i2v":
        processor, encoder = build_image_encoder()
        pipeline: Any = WanImageToVideoPipeline(**parts, image_processor=processor, image_encoder=encoder)
    else:
        pipeline = WanPipeline(**parts)
    pipeline.save_pretrained(path, safe_serialization=True)
    return path


def build_tokenizer() -> Any:
    """Whole words with `</s>` at the end."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: index for index, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def build_text_encoder(words: int) -> Any:
    """A random UMT5 encoder of two layers."""
    from transformers import UMT5Config, UMT5EncoderModel

    config = UMT5Config(
        vocab_size=words, d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=2, dropout_rate=0.0,
        feed_forward_proj="gated-gelu", pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    encoder = UMT5EncoderModel(config).eval()
    with torch.no_grad():
        encoder.shared.weight.normal_()
    return encoder


def build_autoencoder(kind: Kind) -> Any:
    """A random Wan autoencoder: the shipped model's shape for "ti2v", Wan 2.1's for the others."""
    from diffusers import AutoencoderKLWan

    shape: dict[str, Any] = {"base_dim": 4, "num_res_blocks": 1, "z_dim": 16}
    if kind == "ti2v":
        shape |= {"in_channels": 12, "out_channels": 12, "patch_size": 2, "dim_mult": [1, 2, 4]}
        shape |= {"temperal_downsample": [True, True]}
    else:
        shape |= {"dim_mult": [1, 1, 1, 1], "temperal_downsample": [False, True, True]}
    shape |= {"latents_mean": [0.02 * (i - 8) for i in range(16)], "latents_std": [0.5 + 0.05 * i for i in range(16)]}
    return AutoencoderKLWan(**shape).eval()


def build_transformer(kind: Kind, *, heads: int = 2, layers: int = 2) -> Any:
    """A random diffusers transformer whose norms and tables are random too, or errors in them would hide."""
    from diffusers import WanTransformer3DModel

    image = {"image_dim": IMAGE_WIDTH, "added_kv_proj_dim": heads * 12} if kind == "i2v" else {}
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=heads, attention_head_dim=12, in_channels=36 if kind == "i2v" else 16,
        out_channels=16, text_dim=TEXT_WIDTH, freq_dim=256, ffn_dim=32, num_layers=layers, **image,
    )  # fmt: skip
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                value.uniform_(0.7, 1.3)
            elif name.endswith("scale_shift_table"):
                value.normal_(0.0, 0.3)
        model.proj_out.weight.mul_(3.0)
    return model.eval()


def build_scheduler(name: Literal["unipc", "euler"]) -> Any:
    """The two schedulers that Wan folders come with."""
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    if name == "euler":
        return FlowMatchEulerDiscreteScheduler(shift=5.0)
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, num_train_timesteps=1000
    )


def build_image_encoder() -> tuple[Any, Any]:
    """A CLIP image processor and a random vision model of 17 tokens."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=IMAGE_WIDTH, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=32,
        patch_size=8,
    )  # fmt: skip
    size = {"height": 32, "width": 32}
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size)
    return processor, CLIPVisionModel(config).eval()
