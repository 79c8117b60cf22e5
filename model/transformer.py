"""Wan's diffusion transformer (arXiv 2503.20314), with the numbers of diffusers' `WanTransformer3DModel`.

Shape suffixes of names: b batch, s video tokens, x text or image tokens, d width. Some parts compute in fp32 whatever
dtype their weights are held in: rotary positions, time embedding, norms of whole tokens and modulation, which are
those that diffusers keeps in fp32. How tokens are spread over ranks is the plan's business (`model.parallel.plan`), and
foreign key names are the adapter's (`model.state_dict_adapter`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from model.attention import attend
from model.embeddings import ImageEmbedding, PatchEmbedding, TextEmbedding, TimeEmbedding, TimeRows, layer_norm
from model.parallel.plan import TokenPlan, WholePlan
from model.rope import Rotation, rotate, rotation
from model.transformer_config import TEXT_TOKENS, TransformerConfig

__all__ = ["Transformer", "TransformerConfig"]


class TokenGroup(Protocol):
    """Ranks that share a forward's tokens: model.parallel.SequenceGroup."""

    def plan(self, tokens: int) -> TokenPlan: ...


class RMSNorm(nn.RMSNorm):
    """Over the last axis, in x's dtype (autocast hands over bf16 where the weights are fp32)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class SelfAttention(nn.Module):
    """Every video token looks at every other; q and k are normed over the whole width, then turned."""

    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(width, width) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(width, eps), RMSNorm(width, eps)

    def forward(self, x_bsd: Tensor, turn: Rotation, plan: TokenPlan) -> Tensor:
        q, k, v = self.norm_q(self.to_q(x_bsd)), self.norm_k(self.to_k(x_bsd)), self.to_v(x_bsd)
        q, k, v = (rearrange(y, "b s (h e) -> b s h e", h=self.heads) for y in (q, k, v))
        out = plan.self_attention(rotate(q, turn), rotate(k, turn), v)
        return self.to_out(rearrange(out, "b s h e -> b s (h e)"))


class CrossAttention(nn.Module):
    """Video tokens look at text, and, in models that have them, at image tokens: two softmaxes, summed."""

    def __init__(self, width: int, heads: int, eps: float, image: bool) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(width, width) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(width, eps), RMSNorm(width, eps)
        self.image_k, self.image_v = (nn.Linear(width, width) if image else None for _ in range(2))
        self.image_norm_k = RMSNorm(width, eps) if image else None

    def forward(self, x_bsd: Tensor, text_bxd: Tensor, text_bias_bx: Tensor | None, image_bxd: Tensor | None) -> Tensor:
        q = self._split(self.norm_q(self.to_q(x_bsd)))
        k, v = self._split(self.norm_k(self.to_k(text_bxd))), self._split(self.to_v(text_bxd))
        out = attend(q, k, v, bias=text_bias_bx)
        if image_bxd is not None and self.image_k and self.image_v and self.image_norm_k:
            k, v = self._split(self.image_norm_k(self.image_k(image_bxd))), self._split(self.image_v(image_bxd))
            out = out + attend(q, k, v)
        return self.to_out(rearrange(out, "b s h e -> b s (h e)"))

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b s (h e) -> b s h e", h=self.heads)


class FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x_bsd: Tensor) -> Tensor:
        return self.out(F.gelu(self.hidden(x_bsd), approximate="tanh"))


class Block(nn.Module):
    """Self-attention, cross-attention, feed-forward; the first and the last modulated by the time step."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width, heads, self.eps = config.width, config.num_attention_heads, config.eps
        self.self_attention = SelfAttention(width, heads, self.eps)
        self.cross_attention_norm = nn.LayerNorm(width, self.eps) if config.cross_attn_norm else None
        self.cross_attention = CrossAttention(width, heads, self.eps, image=config.added_kv_proj_dim is not None)
        self.feed_forward = FeedForward(width, config.ffn_dim)
        self.modulation = nn.Parameter(torch.empty(1, 6, width))

    def forward(
        self,
        x_bsd: Tensor,
        time: TimeRows,
        text_bxd: Tensor,
        text_bias_bx: Tensor | None,
        image_bxd: Tensor | None,
        turn: Rotation,
        plan: TokenPlan,
    ) -> Tensor:
        rows = (self.modulation.float() + time.projected.float()).unbind(1)
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (time.spread(row) for row in rows)

        h = (layer_norm(x_bsd, self.eps) * (1 + scale) + shift).to(x_bsd.dtype)
        x_bsd = (x_bsd.float() + self.self_attention(h, turn, plan) * gate).to(x_bsd.dtype)

        h = x_bsd
        if self.cross_attention_norm is not None:
            h = layer_norm(x_bsd, self.eps, self.cross_attention_norm).to(x_bsd.dtype)
        x_bsd = x_bsd + self.cross_attention(h, text_bxd, text_bias_bx, image_bxd)

        h = (layer_norm(x_bsd, self.eps) * (1 + ffn_scale) + ffn_shift).to(x_bsd.dtype)
        return (x_bsd.float() + self.feed_forward(h).float() * ffn_gate).to(x_bsd.dtype)


class Transformer(nn.Module):
    """Predicts the velocity (noise - clean) of noisy video latents.

    Args:
        config: the sizes. A fresh model has Wan's initial weights; `from_pretrained` reads a folder.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        assert config.out_channels is not None
        width = config.width
        self.patch_embedding = PatchEmbedding(config.in_channels, width, config.patch_size)
        self.time_embedding = TimeEmbedding(config.freq_dim, width)
        self.text_embedding = TextEmbedding(config.text_dim, width)
        self.image_embedding = None
        if config.image_dim is not None:
            self.image_embedding = ImageEmbedding(config.image_dim, width, config.pos_embed_seq_len)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.output_modulation = nn.Parameter(torch.empty(1, 2, width))
        self.output = nn.Linear(width, config.out_channels * config.patch_volume)
        self.init_weights()

    def init_weights(self) -> None:
        """Wan's initial weights: Xavier for matrices, zero for biases and for the output, so a fresh model gives 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, PatchEmbedding):
                nn.init.xavier_uniform_(module.weight.flatten(1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for layer in (self.text_embedding, self.time_embedding):
            nn.init.normal_(layer.hidden.weight, std=0.02)
            nn.init.normal_(layer.out.weight, std=0.02)
        for name, table in self.named_parameters():
            if name.endswith("modulation"):
                nn.init.normal_(table, std=self.config.width**-0.5)
        nn.init.zeros_(self.output.weight)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of most weights, in which the model computes."""
        return self.patch_embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.patch_embedding.weight.device

    @classmethod
    def from_pretrained(
        cls,
        path_or_url: str | os.PathLike[str],
        *,
        dtype: torch.dtype | str | None = None,
        device: str | torch.device = "cpu",
        cache: Path | None = None,
    ) -> Transformer:
        """Reads a diffusers-format folder; see model.transformer_files.load for what is accepted and how dtypes go."""
        from model.transformer_files import load

        return load(path_or_url, dtype=dtype, device=device, cache=cache)

    def save_pretrained(self, folder: str | os.PathLike[str], dtype: torch.dtype | None = None) -> None:
        """Writes `config.json` and `diffusion_pytorch_model.safetensors` as diffusers reads them."""
        from model.transformer_files import save

        save(self, folder, dtype=dtype)

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        encoder_hidden_states_image: Tensor | None = None,
        *,
        group: TokenGroup | None = None,
        encoder_multiplicity: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """One prediction. All ranks of a group pass the same tensors and get the same result.

        Latents, text and image tokens of another dtype are cast to the model's.

        Args:
            hidden_states: latents (batch, channels, frames, height, width). What an odd height or width leaves over
                after whole patches is dropped and missing from the result, as in diffusers.
            timestep: (batch,), or (batch, tokens) with a time step for each token; on the scale 0..1000.
            encoder_hidden_states: text states (batch, text, text_dim).
            encoder_hidden_states_image: CLIP tokens (batch, tokens, image_dim), or (2 * batch, tokens, image_dim) for a
                first-last-frame model. With it, the text must be exactly 512 tokens unless a multiplicity is given.
            group: ranks that share the tokens (inference only), or None.
            encoder_multiplicity: (batch, text), how many times each text token counts in cross-attention, >= 0 and not
                all 0. Wan pads text to 512 with zero states that take part; one pad counted n times is the same.
            known: (batch, tokens), 1 where a token is given clean, beside time steps (batch,): those tokens have time
                step 0. The same as a time step for each token, without looking for the distinct ones among them.

        Returns:
            (batch, out channels, frames, height, width), of the model's dtype.
        """
        config = self.config
        hidden_states, encoder_hidden_states = hidden_states.to(self.dtype), encoder_hidden_states.to(self.dtype)
        if encoder_hidden_states_image is not None:
            encoder_hidden_states_image = encoder_hidden_states_image.to(self.dtype)
        grid = self._grid(hidden_states)
        plan: TokenPlan = WholePlan(grid[0] * grid[1] * grid[2]) if group is None else group.plan(_product(grid))
        self._check(timestep, grid, encoder_hidden_states, encoder_hidden_states_image, encoder_multiplicity)
        if timestep.ndim == 2:
            timestep = plan.cut(timestep)
        if known is not None:
            if timestep.ndim != 1 or known.shape != (len(timestep), _product(grid)):
                raise ValueError(
                    f"known tokens {tuple(known.shape)} beside time steps {tuple(timestep.shape)}: wanted "
                    f"({len(hidden_states)}, {_product(grid)}) beside ({len(hidden_states)},)"
                )
            known = plan.cut(known)

        # the residual stream keeps the weights' dtype also under autocast
        x_bsd = self.patch_embedding(plan.cut(self.patch_embedding.patches(hidden_states))).to(self.dtype)
        if group is not None and x_bsd.requires_grad:
            raise RuntimeError("a sequence-parallel forward has no gradients: call it under torch.no_grad()")
        time = self.time_embedding(timestep, encoder_hidden_states.dtype, known)
        text_bxd = self.text_embedding(encoder_hidden_states)
        text_bias_bx = None if encoder_multiplicity is None else torch.log(encoder_multiplicity.float())
        image_bxd = None
        if encoder_hidden_states_image is not None and self.image_embedding is not None:
            image_bxd = self.image_embedding(encoder_hidden_states_image)
        turn = rotation(grid, config.attention_head_dim, plan.span, device=x_bsd.device)

        for block in self.blocks:
            x_bsd = block(x_bsd, time, text_bxd, text_bias_bx, image_bxd, turn, plan)

        rows = (self.output_modulation.float() + time.embedded[:, None]).unbind(1)
        shift, scale = (time.spread(row) for row in rows)
        x_bsd = self.output((layer_norm(x_bsd, config.eps) * (1 + scale) + shift).to(x_bsd.dtype))
        (t, h, w), (p, q, r) = grid, config.patch_size
        return rearrange(
            plan.gather(x_bsd), "b (t h w) (p q r c) -> b c (t p) (h q) (w r)", t=t, h=h, w=w, p=p, q=q, r=r
        )

    def _grid(self, latents: Tensor) -> tuple[int, int, int]:
        """Tokens along t, h and w; raises ValueError for latents that this model cannot take."""
        config = self.config
        if latents.ndim != 5 or latents.shape[1] != config.in_channels:
            raise ValueError(
                f"latents {tuple(latents.shape)}: wanted (batch, {config.in_channels} channels, frames, height, width)"
            )
        t, h, w = (size // p for size, p in zip(latents.shape[2:], config.patch_size, strict=True))
        if min(t, h, w) < 1:
            raise ValueError(f"latents {tuple(latents.shape)} are smaller than one patch of {config.patch_size}")
        if max(t, h, w) > config.rope_max_seq_len:
            raise ValueError(
                f"latents {tuple(latents.shape)} are {t} x {h} x {w} tokens: the model has {config.rope_max_seq_len} "
                "positions on an axis (rope_max_seq_len)"
            )
        return t, h, w

    def _check(
        self,
        timestep: Tensor,
        grid: tuple[int, int, int],
        text: Tensor,
        image: Tensor | None,
        multiplicity: Tensor | None,
    ) -> None:
        if timestep.ndim not in (1, 2) or (timestep.ndim == 2 and timestep.shape[1] != _product(grid)):
            raise ValueError(f"time steps {tuple(timestep.shape)}: wanted (batch,) or (batch, {_product(grid)} tokens)")
        if image is not None and self.image_embedding is None:
            raise ValueError("image tokens were given to a model without image_dim")
        if multiplicity is not None:
            if multiplicity.shape != text.shape[:2]:
                raise ValueError(
                    f"encoder_multiplicity {tuple(multiplicity.shape)}: wanted (batch, text) = {tuple(text.shape[:2])}"
                )
        elif image is not None and text.shape[1] != TEXT_TOKENS:
            raise ValueError(
                f"text of {text.shape[1]} tokens beside image tokens: this family of checkpoints splits the two at "
                f"{TEXT_TOKENS} text tokens; pad to {TEXT_TOKENS} with zeros, or give encoder_multiplicity"
            )


def _product(grid: tuple[int, int, int]) -> int:
    return grid[0] * grid[1] * grid[2]
