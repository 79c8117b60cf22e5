"""The transformer's parallel plan: what is cut over the ranks of a sequence group, and what is not.

| tensor | over the ranks |
|---|---|
| tokens (hidden states) | cut on the token axis, before the patch embedding |
| RoPE positions | the same tokens: each rank makes the tables of its own positions only |
| per-token time steps (batch, tokens) | cut on the token axis |
| time steps (batch,), text, image tokens, multiplicities | replicated |
| cross-attention, feed-forward, norms | local: they never look at another video token |
| RMSNorm of q and k | local, on the full width, before any exchange |
| self-attention | the only exchange inside a block |
| output tokens | gathered on every rank, after the output projection |

Shards are contiguous and uneven by at most one token, the longer ones first; with fewer tokens than ranks the last
shards are empty. Nothing is padded to be attended to, so any number of tokens gives the one-rank result.

`Transformer.forward` is written against `TokenPlan`; `WholePlan` is the plan of one rank, and
`model.parallel.sequence.SequenceGroup.plan` makes the plan of several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from model.attention import attend


def split_evenly(total: int, parts: int) -> tuple[int, ...]:
    """`parts` sizes that sum to `total`, differ by at most one, and never rise: 7 over 3 is (3, 2, 2)."""
    each, longer = divmod(total, parts)
    return tuple(each + 1 if part < longer else each for part in range(parts))


@dataclass(frozen=True)
class Shards:
    """How `total` things lie on ranks 0, 1, ..: sizes[i] of them on rank i, contiguous and in order."""

    sizes: tuple[int, ...]

    @classmethod
    def even(cls, total: int, parts: int) -> Shards:
        return cls(split_evenly(total, parts))

    @property
    def total(self) -> int:
        return sum(self.sizes)

    def span(self, rank: int) -> slice:
        """Where rank's part lies in the whole."""
        start = sum(self.sizes[:rank])
        return slice(start, start + self.sizes[rank])


class TokenPlan(Protocol):
    """One forward's tokens, as one rank sees them."""

    @property
    def span(self) -> slice:
        """Which of the clip's tokens are here."""
        ...

    def cut(self, whole: Tensor, dim: int = 1) -> Tensor:
        """This rank's part of a tensor that holds all tokens on `dim`."""
        ...

    def self_attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of this rank's queries over ALL tokens; (batch, local tokens, heads, head width) in and out."""
        ...

    def gather(self, part: Tensor) -> Tensor:
        """(batch, local tokens, width) on each rank -> (batch, tokens, width) on every rank."""
        ...


@dataclass(frozen=True)
class WholePlan:
    """The plan of one rank: everything is here."""

    tokens: int

    @property
    def span(self) -> slice:
        return slice(0, self.tokens)

    def cut(self, whole: Tensor, dim: int = 1) -> Tensor:
        return whole

    def self_attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(q, k, v)

    def gather(self, part: Tensor) -> Tensor:
        return part
