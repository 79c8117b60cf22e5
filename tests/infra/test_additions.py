"""Additions to a job: more takes and other priorities, without the plan being rewritten."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from infra.store import Store, jobs, layout
from infra.store.additions import add, list_additions, read_takes
from infra.store.errors import Damaged, NotFound

SCHEMA = pa.schema(
    {
        "show": pa.string(),
        "shot_id": pa.string(),
        "revision": pa.string(),
        "take": pa.int32(),
        "priority": pa.int32(),
        "spec_key": pa.string(),
    }
)


def rows(*takes: tuple[str, int], priority: int = 0) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"show": "s", "shot_id": shot, "revision": "00000001", "take": take, "priority": priority}
            for shot, take in takes
        ],
        schema=SCHEMA,
    )


def next_take(takes: pa.Table) -> pa.Table:
    """One more take of shot a."""
    return rows(("a", pc.max(takes.filter(pc.equal(takes["shot_id"], "a"))["take"]).as_py() + 1))


def names(table: pa.Table) -> list[tuple[str, int]]:
    return list(zip(table["shot_id"].to_pylist(), table["take"].to_pylist(), strict=True))


def test_additions_come_after_the_plan(store: Store) -> None:
    with pytest.raises(NotFound):
        read_takes(store, "job")
    jobs.put_plan(store, "job", rows(("a", 1), ("b", 1)))
    assert add(store, "job", lambda takes: None) is None
    assert names(add(store, "job", next_take)) == [("a", 2)]
    assert names(add(store, "job", next_take)) == [("a", 3)]
    assert list_additions(store, "job") == [1, 2]
    assert names(read_takes(store, "job")) == [("a", 1), ("b", 1), ("a", 2), ("a", 3)]
    assert names(jobs.read_plan(store, "job")) == [("a", 1), ("b", 1)], "a plan is never rewritten"


def test_another_priority_keeps_the_take_in_its_place(store: Store) -> None:
    jobs.put_plan(store, "job", rows(("a", 1), ("b", 1)))
    add(store, "job", lambda takes: pa.concat_tables([rows(("b", 1), priority=7), rows(("c", 1), priority=3)]))
    takes = read_takes(store, "job")
    assert names(takes) == [("a", 1), ("b", 1), ("c", 1)]
    assert takes["priority"].to_pylist() == [0, 7, 3]


def test_many_add_at_once_and_no_take_is_named_twice(store: Store) -> None:
    jobs.put_plan(store, "job", rows(("a", 1)))
    together = threading.Barrier(6)

    def one(_: int) -> None:
        together.wait()
        add(store, "job", next_take)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(one, range(6)))
    assert names(read_takes(store, "job")) == [("a", number) for number in range(1, 8)]


def test_an_addition_with_an_id_is_made_once(store: Store) -> None:
    jobs.put_plan(store, "job", rows(("a", 1)))
    first, again = (add(store, "job", next_take, id="one") for _ in range(2))
    assert names(first) == names(again) == [("a", 2)]
    assert list_additions(store, "job") == [1]


def test_an_addition_that_is_no_table_is_told(store: Store) -> None:
    jobs.put_plan(store, "job", rows(("a", 1)))
    store.create(layout.addition_path("job", 1), b"nothing")
    store.create("jobs/job/additions/x.parquet", b"")  # of others
    with pytest.raises(Damaged, match=r"additions/1\.parquet"):
        read_takes(store, "job")


def test_columns_that_the_plan_lacks_are_left_out(store: Store) -> None:
    jobs.put_plan(store, "job", rows(("a", 1)))
    add(store, "job", lambda takes: rows(("a", 2)).append_column("more", pa.array(["x"])).drop_columns(["priority"]))
    takes = read_takes(store, "job")
    assert takes.schema.names == SCHEMA.names and takes["priority"].to_pylist() == [0, None]


def test_an_addition_may_change_priorities_alone(store: Store) -> None:
    jobs.put_plan(store, "job", rows(("a", 1), ("b", 1)))
    add(store, "job", lambda takes: rows(("a", 1), priority=4))
    takes = read_takes(store, "job")
    assert (names(takes), takes["priority"].to_pylist()) == ([("a", 1), ("b", 1)], [4, 0])
