"""How latents, time steps, text and image tokens enter the transformer."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def layer_norm(x: Tensor, eps: float, affine: nn.LayerNorm | None = None) -> Tensor:
    """LayerNorm over the last axis in fp32, whatever the dtype of x and of the weights; returns fp32."""
    weight, bias = (None, None) if affine is None else (affine.weight.float(), affine.bias.float())
    return F.layer_norm(x.float(), x.shape[-1:], weight, bias, eps)


class PatchEmbedding(nn.Conv3d):
    """A convolution whose kernel is its stride, as one matrix product over patches (quicker than conv3d on a CPU)."""

    def __init__(self, in_channels: int, width: int, patch: tuple[int, int, int]) -> None:
        super().__init__(in_channels, width, kernel_size=patch, stride=patch)

    def patches(self, latents: Tensor) -> Tensor:
        """(batch, channels, frames, height, width) -> (batch, tokens, channels in a patch).

        What is left over on an axis that the patch does not divide is not looked at, as in diffusers.
        """
        t, h, w = (size // p * p for size, p in zip(latents.shape[2:], self.kernel_size, strict=True))
        p, q, r = self.kernel_size
        return rearrange(latents[:, :, :t, :h, :w], "b c (t p) (h q) (w r) -> b (t h w) (c p q r)", p=p, q=q, r=r)

    def forward(self, patches: Tensor) -> Tensor:
        """(batch, tokens, channels in a patch) -> (batch, tokens, width)."""
        return F.linear(patches, rearrange(self.weight, "d c p q r -> d (c p q r)"), self.bias)


class TimeRows(NamedTuple):
    """The distinct time steps of a forward, embedded, and which of them each token has.

    A clip whose known tokens are at t = 0 has two distinct time steps and thousands of tokens, so rows are embedded and
    modulated once, and spread over the tokens last.

    Attributes:
        embedded: (rows, width), of the text's dtype.
        projected: (rows, 6, width).
        which: (batch, tokens) row of each token; None when row i is that of batch item i, for all its tokens.
        known: (batch, tokens, 1), 1 where a token has row 0 instead; then row i + 1 is that of batch item i.
    """

    embedded: Tensor
    projected: Tensor
    which: Tensor | None
    known: Tensor | None = None

    def spread(self, rows: Tensor) -> Tensor:
        """(rows, width) -> (batch, tokens or 1, width)."""
        if self.known is not None:
            clean, noisy = rows[:1, None], rows[1:, None]
            return noisy + self.known * (clean - noisy)
        if self.which is None:
            return rearrange(rows, "b d -> b 1 d")
        return F.embedding(self.which, rows)


class TimeEmbedding(nn.Module):
    """Time steps (on the scale 0..1000) -> embedding and the six modulations of a block."""

    def __init__(self, frequencies: int, width: int) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.hidden = nn.Linear(frequencies, width)
        self.out = nn.Linear(width, width)
        self.modulations = nn.Linear(width, 6 * width)

    def forward(self, timestep: Tensor, dtype: torch.dtype, known: Tensor | None = None) -> TimeRows:
        """The embedding is computed in fp32.

        timestep: (batch,), or (batch, tokens) of the tokens at hand.
        known: with time steps (batch,): (batch, tokens), 1 for tokens whose time step is 0.
        """
        which = None
        if known is not None:
            timestep, known = torch.cat([timestep.new_zeros(1), timestep]), known[..., None]
        if timestep.ndim == 2:
            timestep, which = torch.unique(timestep, return_inverse=True)
        with torch.autocast(timestep.device.type, enabled=False):
            hidden = F.silu(_linear_fp32(self.hidden, sinusoid(timestep, self.frequencies)))
            embedded = _linear_fp32(self.out, hidden).to(dtype)
        projected = rearrange(self.modulations(F.silu(embedded)), "b (six d) -> b six d", six=6)
        return TimeRows(embedded, projected, which, known)


def sinusoid(timestep: Tensor, width: int) -> Tensor:
    """(rows,) -> (rows, width) fp32: cosines, then sines, of frequencies 10^-4i/(width/2).

    The order of operations is diffusers': a phase near 1000 rad shows every rounding of the frequency.
    """
    half = width // 2
    exponent = -math.log(10_000) * torch.arange(half, dtype=torch.float32, device=timestep.device) / half
    phase = timestep[:, None].float() * torch.exp(exponent)[None]
    return torch.cat([phase.cos(), phase.sin()], dim=-1)


def _linear_fp32(layer: nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight.float(), layer.bias.float())


class TextEmbedding(nn.Module):
    """States of the text encoder (batch, text, text_dim) -> (batch, text, width)."""

    def __init__(self, text_dim: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(text_dim, width)
        self.out = nn.Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        return self.out(F.gelu(self.hidden(states), approximate="tanh"))


class ImageEmbedding(nn.Module):
    """CLIP tokens (images, tokens, image_dim) -> (batch, tokens, width).

    A first-last-frame model has a position embedding over both images' tokens: 2 * batch images come in, one after the
    other for each item, and their tokens come out side by side.
    """

    def __init__(self, image_dim: int, width: int, positions: int | None) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(image_dim)
        self.hidden = nn.Linear(image_dim, image_dim)
        self.out = nn.Linear(image_dim, width)
        self.norm_out = nn.LayerNorm(width)
        self.positions = None if positions is None else nn.Parameter(torch.zeros(1, positions, image_dim))

    def forward(self, tokens: Tensor) -> Tensor:
        if self.positions is not None:
            images, each, _ = tokens.shape
            if images % 2 or 2 * each != self.positions.shape[1]:
                raise ValueError(
                    f"image tokens {tuple(tokens.shape)}: this first-last-frame model wants two images per clip, one "
                    f"after the other, of {self.positions.shape[1] // 2} tokens each"
                )
            tokens = rearrange(tokens, "(b two) s d -> b (two s) d", two=2) + self.positions
        hidden = layer_norm(tokens, self.norm_in.eps, self.norm_in).to(tokens.dtype)
        hidden = self.out(F.gelu(self.hidden(hidden)))
        return layer_norm(hidden, self.norm_out.eps, self.norm_out).to(hidden.dtype)
