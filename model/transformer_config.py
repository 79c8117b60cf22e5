"""The sizes of a Wan transformer, as its `config.json` names them. Needs no torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.errors import ModelError

CLASS_NAME = "WanTransformer3DModel"
VACE_CLASS_NAME = "WanVACETransformer3DModel"
TEXT_TOKENS = 512
"""The length to which Wan pads its text, with zeros that take part in cross-attention."""


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes; names, meanings and defaults are those of diffusers' `WanTransformer3DModel`.

    Attributes:
        patch_size: latent frames, rows and columns in a token.
        num_attention_heads, attention_head_dim: their product is the model's width.
        in_channels: 16 or 48; 36 when mask and condition latents are concatenated (I2V, FLF2V).
        out_channels: None means in_channels.
        text_dim: width of the text encoder's states.
        freq_dim: values in the sinusoid of a time step; even.
        ffn_dim: hidden width of the feed-forward network.
        cross_attn_norm: whether an affine norm stands before cross-attention.
        qk_norm: accepted and not looked at: the norm is always RMSNorm over the whole width, as in diffusers.
        eps: of the norms inside the blocks and at the output.
        image_dim: width of CLIP image tokens; None for a model without them.
        added_kv_proj_dim: width of image tokens in cross-attention: the model's width, or None.
        rope_max_seq_len: the most positions on one axis of the token grid.
        pos_embed_seq_len: image tokens of both frames of a first-last-frame model (514); None otherwise.
    """

    patch_size: tuple[int, int, int] = (1, 2, 2)
    num_attention_heads: int = 40
    attention_head_dim: int = 128
    in_channels: int = 16
    out_channels: int | None = 16
    text_dim: int = 4096
    freq_dim: int = 256
    ffn_dim: int = 13824
    num_layers: int = 40
    cross_attn_norm: bool = True
    qk_norm: str | None = "rms_norm_across_heads"
    eps: float = 1e-6
    image_dim: int | None = None
    added_kv_proj_dim: int | None = None
    rope_max_seq_len: int = 1024
    pos_embed_seq_len: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch_size", tuple(self.patch_size))
        object.__setattr__(self, "out_channels", self.out_channels or self.in_channels)
        positive = ("num_attention_heads", "attention_head_dim", "in_channels", "text_dim", "freq_dim", "ffn_dim")
        for name in positive:
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ModelError(f"transformer config: {name}={getattr(self, name)!r} must be a positive whole number")
        if len(self.patch_size) != 3:
            raise ModelError(f"transformer config: patch_size={self.patch_size} must have three sizes")
        if self.attention_head_dim % 2 or self.attention_head_dim < 6:
            raise ModelError(
                f"transformer config: attention_head_dim={self.attention_head_dim} must be even and at least 6: "
                "rotary positions turn pairs of channels on three axes"
            )
        if self.freq_dim % 2:
            raise ModelError(f"transformer config: freq_dim={self.freq_dim} must be even")
        if (self.image_dim is None) != (self.added_kv_proj_dim is None):
            raise ModelError(
                f"transformer config: image_dim={self.image_dim} and added_kv_proj_dim={self.added_kv_proj_dim} "
                "must both be set (CLIP image tokens) or both be null"
            )
        if self.added_kv_proj_dim not in (None, self.width):
            raise ModelError(
                f"transformer config: added_kv_proj_dim={self.added_kv_proj_dim} must be the model's width {self.width}"
            )

    @property
    def width(self) -> int:
        """Channels of a token inside the model."""
        return self.num_attention_heads * self.attention_head_dim

    @property
    def patch_volume(self) -> int:
        """Latent positions in a token."""
        return math.prod(self.patch_size)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> TransformerConfig:
        """Reads the contents of a `config.json`; keys that are not known (`_diffusers_version`, ..) do not matter.

        Raises:
            ModelError: another class of model, or sizes that cannot be.
        """
        kind = raw.get("_class_name", CLASS_NAME)
        if kind == VACE_CLASS_NAME:
            raise ModelError(f"{VACE_CLASS_NAME} (VACE) is not supported yet; plain {CLASS_NAME} folders are")
        if kind != CLASS_NAME:
            raise ModelError(f"transformer config: found _class_name {kind!r}, wanted {CLASS_NAME!r}")
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in raw.items() if key in known})

    def to_dict(self) -> dict[str, Any]:
        """The contents of a `config.json` that diffusers reads."""
        return {"_class_name": CLASS_NAME, **dataclasses.asdict(self), "patch_size": list(self.patch_size)}
