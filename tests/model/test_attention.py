"""Attention kernels, log-sum-exp merging and rotary positions against float64 and diffusers."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model import attention
from model.attention import Attended, attend, attend_with_lse, merge
from model.rope import axis_widths, rotate, rotation


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def exact(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Softmax attention in float64: (b, s, h, d) and the log-sum-exp (b, s, h, 1)."""
    scores = torch.einsum("bqhd,bkhd->bhqk", q.double(), k.double()) / q.shape[-1] ** 0.5
    if bias is not None:
        scores = scores + bias.double()[:, None, None]
    out = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v.double())
    return out, scores.logsumexp(-1).transpose(1, 2)[..., None]


def qkv(queries: int = 7, keys: int = 11, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    return random(2, queries, 3, 8, seed=seed) * 3, random(2, keys, 3, 8, seed=seed + 1), random(2, keys, 3, 8, seed=9)


@pytest.mark.parametrize("at_once", [1 << 24, 100])
def test_kernels_agree_with_float64(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "SCORES_AT_ONCE", at_once)  # 100: one query at a time
    q, k, v = qkv()
    out, lse = exact(q, k, v)
    torch.testing.assert_close(attend(q, k, v).double(), out, atol=1e-6, rtol=1e-5)
    found = attend_with_lse(q, k, v)
    torch.testing.assert_close(found.out.double(), out, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.lse.double(), lse, atol=1e-6, rtol=1e-5)


def test_bias_counts_keys() -> None:
    q, k, v = qkv()
    times = torch.tensor([1.0, 0.0, 3.0, 1, 1, 1, 1, 2, 1, 1, 1]).expand(2, -1)
    out, _ = exact(q, k, v, times.log())
    torch.testing.assert_close(attend(q, k, v, bias=times.log()).double(), out, atol=1e-6, rtol=1e-5)
    repeated = times[0].long()
    torch.testing.assert_close(
        attend(q, k.repeat_interleave(repeated, 1), v.repeat_interleave(repeated, 1)).double(),
        out,
        atol=1e-6,
        rtol=1e-5,
    )


@settings(max_examples=25, deadline=None)
@given(valid=st.integers(0, 11), seed=st.integers(0, 5))
def test_what_lies_past_kv_len_never_enters(valid: int, seed: int) -> None:
    q, k, v = qkv(seed=seed)
    clean = attend_with_lse(q, k[:, :valid], v[:, :valid])
    for rubbish in (float("nan"), float("inf"), 1e30):
        k[:, valid:], v[:, valid:] = rubbish, rubbish
        found = attend_with_lse(q, k, v, kv_len=valid)
        assert torch.equal(found.out, clean.out)
        assert torch.equal(found.lse, clean.lse)
        if valid:
            assert torch.equal(attend(q, k, v, kv_len=valid), attend(q, k[:, :valid], v[:, :valid]))


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 11), min_size=1, max_size=4), seed=st.integers(0, 5))
def test_merging_any_parts_gives_the_whole(cuts: list[int], seed: int) -> None:
    q, k, v = qkv(seed=seed)
    out, lse = exact(q, k, v)
    edges = [0, *sorted(cuts), 11]  # parts may be empty, the first one too
    total: Attended | None = None
    for start, stop in pairwise(edges):
        part = attend_with_lse(q, k[:, start:stop], v[:, start:stop])
        total = part if total is None else merge(total, part)
    assert total is not None
    torch.testing.assert_close(total.out.double(), out, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(total.lse.double(), lse, atol=1e-6, rtol=1e-5)


def test_lse_is_fp32_for_bf16_inputs_and_merging_keeps_extreme_scores() -> None:
    q, k, v = (x.bfloat16() for x in qkv())
    found = attend_with_lse(q * 200, k, v)  # scores of several hundred: exp overflows unless it is shifted
    assert found.out.dtype == found.lse.dtype == torch.float32
    joined = merge(attend_with_lse(q * 200, k[:, :4], v[:, :4]), attend_with_lse(q * 200, k[:, 4:], v[:, 4:]))
    assert joined.out.isfinite().all()
    torch.testing.assert_close(joined.out, found.out, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("head_width", [12, 16, 48, 128])
def test_rotary_tables_are_theirs_and_made_for_any_span(head_width: int) -> None:
    from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

    assert sum(axis_widths(head_width)) == head_width
    cos, sin = WanRotaryPosEmbed(head_width, (1, 2, 2), 32)(torch.zeros(1, 4, 3, 10, 14))
    whole = rotation((3, 5, 7), head_width, slice(0, 105))
    assert torch.equal(whole.cos, cos[0, :, :, 0::2])
    assert torch.equal(whole.sin, sin[0, :, :, 1::2])
    for start, stop in ((0, 0), (17, 53), (104, 105)):
        part = rotation((3, 5, 7), head_width, slice(start, stop))
        assert torch.equal(part.cos, whole.cos[start:stop])
        assert torch.equal(part.sin, whole.sin[start:stop])


def test_rotation_keeps_lengths_and_depends_on_distance_alone() -> None:
    turn = rotation((1, 1, 9), 12, slice(0, 9))
    x, y = (random(1, 1, 2, 12, seed=seed).expand(1, 9, 2, 12) for seed in (1, 2))
    rx, ry = rotate(x, turn), rotate(y, turn)
    torch.testing.assert_close(rx.norm(dim=-1), x.norm(dim=-1))
    scores = torch.einsum("bqhd,bkhd->hqk", rx, ry)
    torch.testing.assert_close(scores[:, 2:, 2:], scores[:, :-2, :-2], atol=1e-5, rtol=1e-4)
