"""Cuts a job into shards: what one Prefect task run observes.

A shard holds takes of one priority and one shape. Shards are numbered in the order in which they are to start: higher
priority first, then the largest work, so that no long take is left for the end. The takes already done do not change
the cut, so that the plan of a job is the same on every start.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

MAX_SHARDS = 5_000
FEW_TAKES, MANY_TAKES = 4, 512


class Takes(NamedTuple):
    """What the cut needs of each take, each (n,)."""

    priority: np.ndarray
    shape: np.ndarray
    cost: np.ndarray


class Cut(NamedTuple):
    """A job in shards.

    Attributes:
        shard: of each take, (n,) int32.
        order: takes, sorted by shard and then by their place in the catalog, (n,).
        starts: where each shard begins in `order`, (shards + 1,).
        mixed: whether a shard may hold several shapes, because there are more shapes than shards may be.
    """

    shard: np.ndarray
    order: np.ndarray
    starts: np.ndarray
    mixed: bool


def pack_shape(
    width: np.ndarray, height: np.ndarray, frames: np.ndarray, steps: np.ndarray, guided: np.ndarray
) -> np.ndarray:
    """One int64 for a shape: sizes below 2^15, frames below 2^18, steps below 2^11."""
    packed = width.astype(np.int64)
    for values, bits in ((height, 15), (frames, 18), (steps, 11), (guided, 1)):
        packed = packed << bits | values.astype(np.int64)
    return packed


def takes_per_shard(takes: int) -> int:
    """A few in a small job, 512 in a large one: about as many takes in a shard as there are shards."""
    return min(max(math.isqrt(max(takes - 1, 0)) + 1, FEW_TAKES), MANY_TAKES)


def cut(takes: Takes, shard_takes: int | None = None) -> Cut:
    """The shards of a job; more than `shard_takes` in one only where there would be more than 5,000 otherwise."""
    count = len(takes.priority)
    order = np.lexsort((takes.shape, -takes.cost, -takes.priority.astype(np.int64)))
    if not count:
        return Cut(np.empty(0, np.int32), order, np.zeros(1, np.int64), False)
    change = np.ones(count, bool)
    for values in takes:
        ordered = values[order]
        change[1:] &= ordered[1:] == ordered[:-1]
    change[1:] = ~change[1:]
    mixed = int(change.sum()) > MAX_SHARDS
    if mixed:
        change[1:] = False
    first = np.nonzero(change)[0]
    sizes = np.diff(np.append(first, count))
    size = shard_takes or takes_per_shard(count)
    while int((-(-sizes // size)).sum()) > MAX_SHARDS:
        size += max(size // 8, 1)
    pieces = -(-sizes // size)
    group = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(count) - first[group]
    before = np.cumsum(pieces) - pieces
    # Even pieces: 9 takes in shards of 8 are 5 and 4, not 8 and 1.
    ordered_shard = before[group] + within * pieces[group] // sizes[group]
    shard = np.empty(count, np.int32)
    shard[order] = ordered_shard
    starts = np.searchsorted(ordered_shard, np.arange(int(pieces.sum()) + 1))
    return Cut(shard, order, starts, mixed)
