"""What a job leaves in the store, and who may overwrite what."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from infra.store import Store, jobs, layout, open_store
from infra.store.errors import Damaged, NotFound, PlanDiffers, Superseded
from infra.store.tables import first_difference
from infra.store.verify import audit


def plan(**changes: list[Any]) -> pa.Table:
    columns: dict[str, list[Any]] = {
        "show": ["s", "s", "s"],
        "shot_id": ["a", "a", "b"],
        "take": [1, 2, 1],
        "revision": ["00000001", "00000001", None],
        "spec_key": ["1" * 64, "2" * 64, None],
        "prompt": ["x", "x", None],
        "deliver": [["mp4"], ["mp4"], ["mp4", "hls"]],
        "tags": [{"k": "v"}, None, {}],
        "shard": [0, 0, 1],
        "cost_gpu_s": [1.0, 1.0, 2.0],
        "cached": [False, False, False],
    }
    return pa.table(columns | changes)


def test_a_plan_is_put_once(store: Store) -> None:
    with pytest.raises(NotFound):
        jobs.read_plan(store, "job")
    assert jobs.put_plan(store, "job", plan()).equals(plan())
    before = store.stat(layout.plan_path("job"))
    again = plan().take([2, 0, 1]).set_column(10, "cached", [[True, True, False]])
    again = again.set_column(9, "cost_gpu_s", [[9.0, 9.0, 9.0]]).set_column(8, "shard", [[5, 5, 5]])
    assert jobs.put_plan(store, "job", again).equals(plan()), "the plan that stands counts"
    assert store.stat(layout.plan_path("job")) == before
    assert jobs.read_plan(store, "job").equals(plan())
    assert jobs.list_jobs(store) == ["job"]


def test_a_key_that_could_not_be_resolved_then_or_now_is_no_difference(store: Store) -> None:
    jobs.put_plan(store, "job", plan())
    jobs.put_plan(store, "job", plan(spec_key=["1" * 64, "2" * 64, "3" * 64], revision=["00000001"] * 2 + ["00000002"]))
    jobs.put_plan(store, "job", plan(spec_key=["1" * 64, None, None]))


def test_a_column_without_a_value_is_as_good_as_none(store: Store) -> None:
    jobs.put_plan(store, "job", plan(parent=pa.nulls(3, pa.string())))
    jobs.put_plan(store, "job", plan())  # as a version that does not know the column plans it
    jobs.put_plan(store, "job", plan(locale=pa.nulls(3)))
    with pytest.raises(PlanDiffers, match="column locale is in only one of them"):
        jobs.put_plan(store, "job", plan(locale=[None, None, "de"]))


@pytest.mark.parametrize(
    "own",
    [
        pa.array([1.5, float("nan"), None]),
        pa.nulls(3),
        pa.array([1.5, float("nan"), None], pa.float16()),
        pa.array([b"0" * 16, b"1" * 16, None], pa.uuid()),
        pa.array(["{}", "[]", None], pa.json_()),
        pa.array([[float("nan")], [], None], pa.list_(pa.float64())),
    ],
    ids=lambda own: str(own.type),
)
def test_the_same_plan_is_the_same_whatever_columns_it_is_handed(own: pa.Array) -> None:
    assert first_difference(plan(own=own), plan(own=own)) is None
    if own.null_count < 3:
        said = first_difference(plan(own=own), plan(own=own.take(pa.array([1, 0, 2]))))
        assert said is not None and said.startswith("own of s/a/1: ")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (plan(spec_key=["1" * 64, "9" * 64, None]), "spec_key of s/a/2: '22"),
        (plan(prompt=["x", "x", "new"]), "prompt of s/b/1: None there, 'new' here"),
        (plan(deliver=[["mp4"], ["mp4"], ["mp4"]]), "deliver of s/b/1"),
        (plan(take=[1, 2, 2]), "take of s/b/1"),
        (plan().slice(0, 2), "3 takes there, 2 here"),
        (plan().drop_columns(["prompt"]), "column prompt is in only one of them"),
        (plan(prompt=[1, 2, 3]), "prompt"),
    ],
)
def test_another_plan_is_refused(store: Store, other: pa.Table, says: str) -> None:
    jobs.put_plan(store, "job", plan())
    with pytest.raises(PlanDiffers, match=says):
        jobs.put_plan(store, "job", other)
    assert jobs.read_plan(store, "job").equals(plan())


def test_many_put_plans_and_all_agree_on_one(store: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        plans = [plan(cost_gpu_s=[float(i)] * 3) for i in range(4)]
        stands = list(pool.map(lambda table: jobs.put_plan(store, "job", table), plans))
    assert all(one.equals(stands[0]) for one in stands)


def test_a_large_plan_is_compared_by_columns(store: Store) -> None:
    import time

    rows = 200_000
    big = pa.table(
        {"show": ["s"] * rows, "shot_id": [f"{i:07d}" for i in range(rows)], "take": [1] * rows, "prompt": ["p"] * rows}
    )
    jobs.put_plan(store, "job", big)
    started = time.monotonic()
    jobs.put_plan(store, "job", big.take(list(range(rows))[::-1]))
    assert time.monotonic() - started < 20


def record(shot: str, take: int = 1, round: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "show": "s",
        "shot_id": shot,
        "take": take,
        "round": round,
        "error_class": "input",
        "message": "gone",
    } | more


def test_rounds_of_quarantine(store: Store) -> None:
    assert jobs.current_round(store, "job") == 1
    assert jobs.record_quarantine(store, "job", record("b"))
    assert jobs.record_quarantine(store, "job", record("a", 2, attempts=[1, 2], gpu_s=1.5))
    assert not jobs.record_quarantine(store, "job", record("a", 2, message="second thought")), "the first stays"
    assert jobs.quarantined(store, "job") == {("s", "a", 2), ("s", "b", 1)}
    assert [found["message"] for found in jobs.list_quarantine(store, "job")] == ["gone", "gone"]
    assert [found["shot_id"] for found in jobs.list_quarantine(store, "job")] == ["a", "b"]

    assert jobs.open_round(store, "job", by="retry") == 2
    assert jobs.quarantined(store, "job") == set(), "all are pending again"
    assert jobs.list_quarantine(store, "job") == []
    jobs.record_quarantine(store, "job", record("b", round=2))
    assert jobs.quarantined(store, "job") == {("s", "b", 1)}
    assert jobs.quarantined(store, "job", round=1) == {("s", "a", 2), ("s", "b", 1)}

    table = jobs.compact_quarantine(store, "job")
    assert table.select(["round", "shot_id", "take"]).to_pylist() == [
        {"round": 1, "shot_id": "a", "take": 2},
        {"round": 1, "shot_id": "b", "take": 1},
        {"round": 2, "shot_id": "b", "take": 1},
    ]
    assert table["attempts"].to_pylist() == ["[1, 2]", None, None]
    assert store.stat(layout.quarantine_table_path("job")) is not None


def test_rounds_opened_at_once_are_one_round(store: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        rounds = set(pool.map(lambda _: jobs.open_round(store, "job"), range(4)))
    assert jobs.current_round(store, "job") == max(rounds) <= 4


BAD_RECORDS: list[bytes | dict[str, Any]] = [
    b"", b"{", b"[]", b"null", b"[" * 200_000, b'{"show": "s"}', {"round": "1"}, {"round": 7}, {"round": True},
    {"take": "x"}, {"show": ["s"]}, {"gpu_s": "much"}, {"gpu_s": float("inf")}, {"gpu_s": -5}, {"message": 3},
    {"spec_key": [1]}, {"error_class": {}}, {"attempt": 10**12},
]  # fmt: skip


def test_a_quarantine_record_that_cannot_be_read_gives_its_take_up_and_says_so(tmp_path: Path) -> None:
    store = open_store(tmp_path / "out")
    path = layout.quarantine_path("job", "s", "a", 1, 1)
    jobs.put_plan(store, "job", plan())
    jobs.record_quarantine(store, "job", record("b", gpu_s=1.5, attempt=3))
    for bad in BAD_RECORDS:
        store.write(path, bad if isinstance(bad, bytes) else json.dumps(record("a") | bad).encode())
        assert jobs.quarantined(store, "job") == {("s", "a", 1), ("s", "b", 1)}
        first, second = jobs.list_quarantine(store, "job")
        assert {name: first[name] for name in ("show", "shot_id", "take", "round")} == {
            "show": "s", "shot_id": "a", "take": 1, "round": 1,
        }, bad  # fmt: skip
        assert "cannot be read" in first["message"] and "gpu_s" not in first
        assert second["gpu_s"] == 1.5
        assert [(fault.kind, fault.path) for fault in audit(store).faults] == [("quarantine-unreadable", path)], bad
        assert jobs.compact_quarantine(store, "job").num_rows == 2


def test_shards(store: Store) -> None:
    jobs.write_shard(store, "job", 3, pa.table({"spec_key": ["1" * 64]}))
    assert jobs.read_shard(store, "job", 3)["spec_key"].to_pylist() == ["1" * 64]


def test_a_manifest_is_rewritten_by_the_newest_owner_only(store: Store) -> None:
    with pytest.raises(NotFound):
        jobs.read_manifest(store, "job")
    jobs.write_manifest(store, "job", pa.table({"state": ["pending"]}), epoch=1)
    jobs.write_manifest(store, "job", pa.table({"state": ["running"]}), epoch=1)
    jobs.write_manifest(store, "job", pa.table({"state": ["committed"]}), epoch=2)
    with pytest.raises(Superseded, match="epoch 2"):
        jobs.write_manifest(store, "job", pa.table({"state": ["stale"]}), epoch=1)
    assert jobs.read_manifest(store, "job")["state"].to_pylist() == ["committed"]


def test_manifests_written_at_once_leave_one_of_them(store: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: jobs.write_manifest(store, "job", pa.table({"n": [i] * 100})), range(4)))
    assert len(set(jobs.read_manifest(store, "job")["n"].to_pylist())) == 1


def test_what_is_no_parquet_is_said(store: Store) -> None:
    for path in (layout.plan_path("job"), layout.manifest_path("job")):
        store.write(path, b"PAR1 not really")
    for call in (jobs.read_plan, jobs.read_manifest):
        with pytest.raises(Damaged):
            call(store, "job")
    with pytest.raises(Damaged):
        jobs.put_plan(store, "job", plan())


def test_a_job_without_a_plan_is_none(store: Store) -> None:
    store.write(layout.lease_path("half"), b"{}")
    jobs.put_plan(store, "whole", plan())
    assert jobs.list_jobs(store) == ["whole"]


def test_a_plan_is_compared_without_being_put(store: Store) -> None:
    jobs.check_plan(store, "job", plan())
    assert list(store.list()) == []
    jobs.put_plan(store, "job", plan())
    jobs.check_plan(store, "job", plan())
    with pytest.raises(PlanDiffers, match="2 here"):
        jobs.check_plan(store, "job", plan().slice(1))


def test_folders_that_others_made_are_no_jobs(store: Store) -> None:
    jobs.put_plan(store, "job", plan())
    store.write("jobs/.ipynb_checkpoints/plan.parquet", b"x")
    store.write("jobs/copy of job/plan.parquet", b"x")
    assert jobs.list_jobs(store) == ["job"]
    assert audit(store, strict=True) == (0, [], [], [])
