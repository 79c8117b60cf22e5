"""Ring attention: each rank keeps its queries while keys and values travel round the ranks (arXiv 2310.01889).

True point-to-point: at any time a rank holds its own keys and values and at most two other shards', never all of them.
Each shard's partial result comes with its log-sum-exp, and the partial results are merged in fp32. Sending one shard
overlaps with attending to the one before. The travelling buffers are as long as the longest shard; what lies behind a
shorter one's end is left from an earlier shard, and `kv_len` keeps it out.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from model.attention import Attended, attend_with_lse, merge
from model.parallel.plan import Shards
from model.parallel.wire import Wire


def ring_attention(wire: Wire, q: Tensor, k: Tensor, v: Tensor, shards: Shards) -> Tensor:
    """Attention of the local queries over every rank's keys and values.

    Args:
        q, k, v: (batch, local tokens, heads, head width); the local tokens are shards.sizes[wire.rank].
        shards: how many tokens each rank of `wire` holds. A rank may hold none.

    Returns:
        (batch, local tokens, heads, head width), of q's dtype.
    """
    # tokens first, so that the valid part of a shard is one contiguous piece
    held = torch.stack([rearrange(x, "b s h d -> s b h d") for x in (k, v)], dim=1).contiguous()
    spare = [held.new_empty(max(shards.sizes), *held.shape[1:]) for _ in range(min(2, wire.size - 1))]
    total: Attended | None = None
    for step in range(wire.size):
        length = shards.sizes[(wire.rank - step) % wire.size]  # of the shard held now
        arriving = shards.sizes[(wire.rank - step - 1) % wire.size]  # of the one that comes next
        works, buffer = [], held
        if step + 1 < wire.size:
            buffer = spare[step % len(spare)]
            works = wire.shift(held[:length], buffer[:arriving])
        if q.numel() and length:
            key, value = rearrange(held, "s kv b h d -> kv b s h d")
            partial = attend_with_lse(q, key, value, kv_len=length)
            total = partial if total is None else merge(total, partial)
        wire.finish(works)
        held = buffer
    return torch.empty_like(q) if total is None else total.out.to(q.dtype)
