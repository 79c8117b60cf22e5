"""How a job is cut into shards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.sharding import MAX_SHARDS, Takes, cut, pack_shape, takes_per_shard


def job(count: int, shapes: int = 1, priorities: int = 1) -> Takes:
    index = np.arange(count)
    shape = index % shapes
    return Takes((index % priorities).astype(np.int32), shape.astype(np.int64), shape.astype(float))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 3)), max_size=60), st.none() | st.integers(1, 9))
def test_every_cut_keeps_the_rules(takes, size):
    priority = np.array([each[0] for each in takes], np.int32)
    shape = np.array([each[1] for each in takes], np.int64)
    cost = shape * 1.5
    pieces = cut(Takes(priority, shape, cost), size)
    count = len(pieces.starts) - 1
    assert sorted(pieces.order.tolist()) == list(range(len(takes)))
    assert set(pieces.shard.tolist()) == set(range(count))
    before = None
    for number in range(count):
        members = pieces.order[pieces.starts[number] : pieces.starts[number + 1]]
        assert (pieces.shard[members] == number).all()
        assert len(members) <= (size or takes_per_shard(len(takes)))
        assert len(set(zip(priority[members].tolist(), shape[members].tolist(), strict=True))) == 1
        assert (np.diff(members) > 0).all()
        rank = (-int(priority[members[0]]), -float(cost[members[0]]))
        assert before is None or before <= rank
        before = rank


@pytest.mark.parametrize(
    ("takes", "size"), [(1, 4), (10, 4), (100, 10), (10_000, 100), (262_144, 512), (10**6, 512), (10**7, 512)]
)
def test_a_few_in_a_small_job_and_512_in_a_large_one(takes, size):
    assert takes_per_shard(takes) == size


def test_pieces_of_a_shape_are_even():
    assert np.diff(cut(job(9), 8).starts).tolist() == [5, 4]
    assert np.diff(cut(job(10), 4).starts).tolist() == [4, 3, 3]


def test_never_more_than_5000_shards():
    for takes in (
        job(30_000),
        job(60_000, shapes=4999),
        job(20_000, shapes=6000),
        job(20_000, shapes=100, priorities=77),
    ):
        pieces = cut(takes, 1)
        assert len(pieces.starts) - 1 <= MAX_SHARDS
        assert np.diff(pieces.starts).min() >= 1
    assert cut(job(20_000, shapes=6000)).mixed
    assert not cut(job(20_000, shapes=600)).mixed


def test_shapes_are_told_apart_by_every_part():
    parts = [np.array([64, 96, 64, 64, 64, 64]), np.array([64, 64, 96, 64, 64, 64]), np.array([17, 17, 17, 21, 17, 17])]
    packed = pack_shape(*parts, np.array([30, 30, 30, 30, 31, 30]), np.array([0, 0, 0, 0, 0, 1]))
    assert len(set(packed.tolist())) == 6
    assert (pack_shape(*(np.array([8192]),) * 2, np.array([100_001]), np.array([1000]), np.array([True])) > 0).all()
