"""Small JSON objects that somebody wrote by hand, or that a disk cut short: one error for all of them, and no crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from infra.store import Store, jobs, layout, open_store
from infra.store.additions import read_takes
from infra.store.commits import parse, publish, read_many
from infra.store.errors import CommitUnreadable, Damaged, StoreRefused
from infra.store.lease import Lease, read_lease
from infra.store.probe import read_format
from infra.store.strict import read_json, read_object
from infra.store.tables import TAKE_COLUMNS, to_parquet
from infra.store.verify import audit
from tests.infra.conftest import RecordOf

NOT_JSON = [b"", b'{"a": 1', b"\xff\xfe{}", b"[" * 200_000, b"1e999", b"[NaN]", b"-Infinity", b"9" * 5000, b"1" * 20]


@pytest.mark.parametrize("data", NOT_JSON, ids=lambda data: repr(data[:12]))
def test_what_is_no_json_is_one_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json(data)


def test_an_object_is_asked_for() -> None:
    assert read_object(b'{"a": [1, -2.5, null]}') == {"a": [1, -2.5, None]}
    for data in (b"[]", b"null", b'"x"', b"1"):
        with pytest.raises(ValueError, match="no object"):
            read_object(data)


IMPOSSIBLE: list[tuple[str, Any]] = [
    ("gpu_s", float("nan")), ("gpu_s", float("inf")), ("gpu_s", -1.0), ("gpu_s", 10**400), ("attempt", 10**12),
    ("attempt", -1), ("epoch", 2**63), ("gang", -1), ("notes", ["x"]), ("times", [1]), ("tools", "x"), ("format", 0),
    ("notes", {"quality": {"rank": float("inf")}}), ("seed", 2**63),
    ("media", {"width": 10**400}), ("media", {"fps": float("nan")}), ("media", {"bytes": -1}),
    ("media", {"bytes": 10**30}),
]  # fmt: skip


def test_a_commit_with_values_that_no_render_gives_is_unreadable(
    tmp_path: Path, film: Path, record_of: RecordOf
) -> None:
    store: Store = open_store(tmp_path / "out")
    store.probe()
    commit = publish(store, local=film, record=record_of()).commit
    key = commit["spec_key"]
    assert parse(key, json.dumps(commit).encode()) == commit
    assert parse(key, json.dumps(commit | {"seed": -(2**63)}).encode())["seed"] == -(2**63)
    for name, value in IMPOSSIBLE:
        changed = commit["media"] | value if name == "media" else value
        data = json.dumps(commit | {name: changed}).encode()
        with pytest.raises(CommitUnreadable):
            parse(key, data)
    store.write(layout.commit_path(key), json.dumps(commit | {"gpu_s": float("nan")}).encode())
    assert isinstance(read_many(store, [key])[key], CommitUnreadable)
    assert [fault.kind for fault in audit(store).faults] == ["commit-unreadable"]


@pytest.mark.parametrize("name", ["01", "007", "-1", "1_0", "\u0661", "9" * 40])
def test_a_name_that_no_function_of_ours_makes_is_no_objects(name: str) -> None:
    assert layout.parse_addition_path(f"jobs/j/additions/{name}.parquet") is None
    assert layout.parse_round_path(f"jobs/j/rounds/{name}.json") is None
    assert layout.parse_quarantine_path(f"jobs/j/quarantine/s/a/take-001.{name}.json") is None
    assert layout.parse_quarantine_path("jobs/j/quarantine/s/a/take-0001.1.json") is None


FOREIGN = [pa.table({"a": [1]}), pa.table({name: [1] for name in TAKE_COLUMNS})]


@pytest.mark.parametrize("table", FOREIGN, ids=["other columns", "other kinds"])
def test_a_table_of_others_is_no_plan_and_no_addition(tmp_path: Path, table: pa.Table) -> None:
    store = open_store(tmp_path / "out")
    store.probe()
    store.write(layout.plan_path("theirs"), to_parquet(table))
    row = {"show": "s", "shot_id": "a", "revision": "00000001", "take": 1, "spec_key": None, "cached": False}
    jobs.put_plan(store, "ours", pa.Table.from_pylist([row]))
    store.write(layout.addition_path("ours", 1), to_parquet(table))
    for job_id in ("theirs", "ours"):
        with pytest.raises(Damaged, match=f"jobs/{job_id}/.*column"):
            read_takes(store, job_id)
    assert [fault.kind for fault in audit(store).faults] == ["plan-unreadable"] * 2


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"format": 1.9, "conditional_put": "required"}', b"[]",
    b'{"format": true, "conditional_put": "required"}', b'{"format": 1e999, "conditional_put": "required"}'],
    ids=["deep", "a part", "a list", "true", "infinite"],
)  # fmt: skip
def test_a_format_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    store = open_store(tmp_path / "out")
    store.write("rushes.json", content)
    with pytest.raises(StoreRefused, match="not what rushes writes"):
        read_format(store)


def test_a_lease_of_an_epoch_that_is_none_is_damaged(tmp_path: Path) -> None:
    store = open_store(tmp_path / "out")
    Lease.acquire(store, "job")
    path = layout.lease_path("job")
    good = json.loads(store.read(path))
    for epoch in ("1", 1.9, True, -1):
        store.write(path, json.dumps(good | {"epoch": epoch}).encode())
        with pytest.raises(Damaged, match="epoch"):
            read_lease(store, "job")
