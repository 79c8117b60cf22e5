"""The ranks that share the tokens of one forward: Ulysses inside, ring outside, both together or either alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.attention import attend
from model.parallel.plan import Shards
from model.parallel.ring import ring_attention
from model.parallel.ulysses import heads_here, tokens_here
from model.parallel.wire import Wire


@dataclass(frozen=True)
class SequenceGroup:
    """A ring of Ulysses rows: rank = ring place x ulysses size + ulysses place, and tokens lie in the order of ranks.

    Attributes:
        ulysses, ring: the two axes; either may be of one rank.
        everyone: all ranks of both axes, for gathering the output.
    """

    ulysses: Wire
    ring: Wire
    everyone: Wire

    @property
    def rank(self) -> int:
        return self.everyone.rank

    @property
    def size(self) -> int:
        return self.everyone.size

    def plan(self, tokens: int) -> SequencePlan:
        """The plan of one forward over that many tokens; the same on every rank."""
        return SequencePlan(self, Shards.even(tokens, self.size))

    @property
    def sent(self) -> Counter[str]:
        """Bytes that this rank has sent to the others so far, by verb."""
        distinct = {id(wire): wire for wire in (self.ulysses, self.ring, self.everyone)}
        total: Counter[str] = Counter()
        for wire in distinct.values():
            total.update(wire.sent)
        return total


@dataclass(frozen=True)
class SequencePlan:
    """One forward's tokens over a sequence group (see model.parallel.plan.TokenPlan). For inference only."""

    group: SequenceGroup
    shards: Shards

    @property
    def span(self) -> slice:
        return self.shards.span(self.group.rank)

    def cut(self, whole: Tensor, dim: int = 1) -> Tensor:
        return whole.narrow(dim, self.span.start, self.span.stop - self.span.start)

    def self_attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ulysses, ring = self.group.ulysses, self.group.ring
        row = Shards(self.shards.sizes[ring.rank * ulysses.size :][: ulysses.size])
        rows = Shards(tuple(sum(self.shards.sizes[r * ulysses.size :][: ulysses.size]) for r in range(ring.size)))
        query, key, value = heads_here(ulysses, q, k, v, row)
        if ring.size > 1:
            out = ring_attention(ring, query, key, value, rows)
        elif query.numel():
            out = attend(query, key, value)
        else:
            out = torch.empty_like(query)
        return tokens_here(ulysses, out, row, heads=q.shape[2])

    def gather(self, part: Tensor) -> Tensor:
        longest = max(self.shards.sizes)
        padded = F.pad(part, (0, 0, 0, longest - part.shape[1]))  # equal lengths for the wire; cut off on arrival
        pieces = self.group.everyone.all_gather(padded.contiguous())
        return torch.cat([piece[:, :size] for piece, size in zip(pieces, self.shards.sizes, strict=True)], dim=1)
