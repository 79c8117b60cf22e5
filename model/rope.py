"""Rotary positions on three axes: latent frame, row and column of a token.

The channels of a head are shared out as (t, h, w): h and w get 2 * (head width // 6) each and t the rest (44, 42, 42 of
128). Pairs (2i, 2i + 1) turn together, theta is 10^4, positions count from 0 on each axis, and angles are computed in
float64, as in diffusers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

THETA = 10_000.0


class Rotation(NamedTuple):
    """Cosines and sines of each token's angles: both (tokens, 1, head width / 2), fp32."""

    cos: Tensor
    sin: Tensor


def axis_widths(head_width: int) -> tuple[int, int, int]:
    """Channels of a head that carry the position on the axes t, h and w."""
    side = 2 * (head_width // 6)
    return head_width - 2 * side, side, side


def rotation(
    grid: tuple[int, int, int], head_width: int, span: slice, *, device: torch.device | str = "cpu"
) -> Rotation:
    """The rotation of the tokens `span` of a clip, made for these tokens only.

    Args:
        grid: tokens along t, h and w; their order in the sequence is t, h, w with w the quickest.
        span: which tokens, as a slice with start and stop.
    """
    _, rows, columns = grid
    token = torch.arange(span.start, span.stop, device=device)
    places = (token // (rows * columns), token // columns % rows, token % columns)
    device = torch.device(device)
    tables = [_tables(count, width, device) for count, width in zip(grid, axis_widths(head_width), strict=True)]
    cos, sin = (
        torch.cat([table[place] for table, place in zip(kind, places, strict=True)], dim=-1)
        for kind in zip(*tables, strict=True)
    )
    return Rotation(rearrange(cos, "s f -> s 1 f"), rearrange(sin, "s f -> s 1 f"))


@lru_cache(maxsize=64)  # a copy to a GPU at every step would make the processor wait for it
def _tables(count: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (count, width / 2) fp32 of float64 angles, made on the CPU: not every device has float64."""
    frequencies = 1.0 / (THETA ** (torch.arange(0, width, 2, dtype=torch.float64) / width))
    angles = torch.outer(torch.arange(count, dtype=torch.float64), frequencies)
    return angles.cos().float().to(device), angles.sin().float().to(device)


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """(batch, tokens, heads, head width) turned in fp32, returned in x's dtype."""
    even, odd = rearrange(x, "b s h (f two) -> two b s h f", two=2)
    turned = [even * by.cos - odd * by.sin, even * by.sin + odd * by.cos]
    return rearrange(turned, "two b s h f -> b s h (f two)").to(x.dtype)
