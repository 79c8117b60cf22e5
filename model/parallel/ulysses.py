"""Ulysses: around attention, ranks trade "my tokens, all heads" for "all tokens, my heads" (arXiv 2309.14509).

Tokens and heads may both be uneven over the ranks; a rank may hold none of either. q, k and v go in one exchange.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from model.parallel.plan import Shards
from model.parallel.wire import Wire


def heads_here(wire: Wire, q: Tensor, k: Tensor, v: Tensor, tokens: Shards) -> tuple[Tensor, Tensor, Tensor]:
    """(batch, local tokens, heads, head width) each -> (batch, all tokens, local heads, head width) each.

    Args:
        tokens: how the tokens lie on the ranks of `wire`.
    """
    if wire.size == 1:
        return q, k, v
    batch, _, heads, width = q.shape
    shards = Shards.even(heads, wire.size)
    packed = torch.stack([rearrange(x, "b s h d -> h b s d") for x in (q, k, v)], dim=1)  # one copy
    received = wire.all_to_all(
        packed, shards.sizes, [(shards.sizes[wire.rank], 3, batch, count, width) for count in tokens.sizes]
    )
    query, key, value = rearrange(torch.cat(received, dim=3), "h qkv b s d -> qkv b s h d")
    return query, key, value


def tokens_here(wire: Wire, out: Tensor, tokens: Shards, heads: int) -> Tensor:
    """The way back: (batch, all tokens, local heads, head width) -> (batch, local tokens, heads, head width)."""
    if wire.size == 1:
        return out
    batch, _, _, width = out.shape
    shards = Shards.even(heads, wire.size)
    received = wire.all_to_all(
        rearrange(out, "b s h d -> s b h d"),
        tokens.sizes,
        [(tokens.sizes[wire.rank], batch, count, width) for count in shards.sizes],
    )
    return rearrange(torch.cat(received, dim=2), "s b h d -> b s h d")
