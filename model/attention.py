"""Attention kernels over (batch, tokens, heads, head width) tensors.

`attend` is the everyday one: torch's scaled_dot_product_attention, which picks the fastest kernel of the device and has
gradients. `attend_with_lse` also gives the log-sum-exp of the scores, in fp32, with which `merge` joins the attention
over two disjoint sets of keys into the attention over both: what ring attention is made of.

`kv_len` is the number of keys that are valid; keys and values from there on are never read into the result, whatever
they hold.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

SCORES_AT_ONCE = 1 << 24
"""How many fp32 scores the portable kernel holds at a time (64 MiB)."""


class Attended(NamedTuple):
    """Attention over some keys, ready to be merged with attention over others.

    Attributes:
        out: (batch, queries, heads, head width) fp32.
        lse: (batch, queries, heads, 1) fp32, the natural log of the sum of exp(scores); -inf where there was no key.
    """

    out: Tensor
    lse: Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, *, kv_len: int | None = None, bias: Tensor | None = None) -> Tensor:
    """Softmax attention.

    Args:
        q: (batch, queries, heads, head width).
        k, v: (batch, keys, heads, head width).
        kv_len: how many keys are valid, from the front; None for all.
        bias: (batch, keys) added to the scores of every head and query; -inf keeps a key out.

    Returns:
        (batch, queries, heads, head width) of q's dtype.
    """
    k, v = k[:, :kv_len], v[:, :kv_len]
    mask = None
    if bias is not None:
        mask = rearrange(bias[:, :kv_len], "b s -> b 1 1 s").to(q.dtype)
    query, key, value = (rearrange(x, "b s h d -> b h s d") for x in (q, k, v))
    return rearrange(F.scaled_dot_product_attention(query, key, value, attn_mask=mask), "b h s d -> b s h d")


def attend_with_lse(q: Tensor, k: Tensor, v: Tensor, *, kv_len: int | None = None) -> Attended:
    """Softmax attention with the log-sum-exp of its scores; shapes as for `attend`.

    On a GPU in half precision it is torch's flash kernel (torch >= 2.10; this project has not run it yet),
    elsewhere plain torch, a block of queries at a time.
    """
    k, v = k[:, :kv_len], v[:, :kv_len]
    if k.shape[1] == 0:
        nothing = q.new_full((*q.shape[:3], 1), -torch.inf, dtype=torch.float32)
        return Attended(torch.zeros_like(q, dtype=torch.float32), nothing)
    if _flash_is_there(q):
        return _flash(q, k, v)
    return _portable(q, k, v)


def merge(a: Attended, b: Attended) -> Attended:
    """Attention over the keys of both, in fp32. No key may be in both."""
    lse = torch.logaddexp(a.lse, b.lse)
    reference = torch.where(torch.isneginf(lse), torch.zeros_like(lse), lse)  # no key at all: weights of 0, not NaN
    return Attended(a.out * torch.exp(a.lse - reference) + b.out * torch.exp(b.lse - reference), lse)


def _portable(q: Tensor, k: Tensor, v: Tensor) -> Attended:
    batch, _, heads, width = q.shape
    query = rearrange(q.float(), "b s h d -> b h s d") * width**-0.5
    key, value = (rearrange(x.float(), "b s h d -> b h s d") for x in (k, v))
    block = max(1, SCORES_AT_ONCE // max(1, batch * heads * k.shape[1]))
    outs, lses = [], []
    for part in query.split(block, dim=2):
        scores = part @ key.transpose(-1, -2)
        lse = torch.logsumexp(scores, dim=-1, keepdim=True)
        outs.append(torch.exp(scores - lse) @ value)
        lses.append(lse)
    out, lse = (rearrange(torch.cat(x, dim=2), "b h s d -> b s h d") for x in (outs, lses))
    return Attended(out, lse)


def _flash_is_there(q: Tensor) -> bool:
    if q.device.type != "cuda" or q.dtype not in (torch.float16, torch.bfloat16):
        return False
    if torch.cuda.get_device_capability(q.device) < (8, 0) or q.shape[-1] > 256 or q.shape[-1] % 8:
        return False
    try:
        import torch.nn.attention.varlen as _varlen  # noqa: F401  torch >= 2.10
    except ImportError:
        return False
    return True


def _flash(q: Tensor, k: Tensor, v: Tensor) -> Attended:
    from torch.nn.attention.varlen import AuxRequest, varlen_attn

    batch, queries, _, _ = q.shape
    keys = k.shape[1]
    query, key, value = (rearrange(x, "b s h d -> (b s) h d") for x in (q, k, v))
    ends_q = torch.arange(0, (batch + 1) * queries, queries, dtype=torch.int32, device=q.device)
    ends_k = torch.arange(0, (batch + 1) * keys, keys, dtype=torch.int32, device=q.device)
    out, lse = varlen_attn(query, key, value, ends_q, ends_k, queries, keys, return_aux=AuxRequest(lse=True))
    return Attended(
        rearrange(out.float(), "(b s) h d -> b s h d", b=batch),
        rearrange(lse.float(), "h (b s) -> b s h 1", b=batch),
    )
