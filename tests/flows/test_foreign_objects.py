"""What others put into a store, or a disk spoilt: it is told of the job that it is in, and stops no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flows.pausing import pause_path, read_pause
from flows.verbs.cancel import cancel_path, cancel_requested
from tests.flows.command_samples import commit, json_model, plan_into, quarantine, run, shots, write_catalog


def test_jobs_tells_each_jobs_own_trouble(tmp_path: Path, capsys: Any) -> None:
    model, catalog, out = (
        json_model(tmp_path / "model"),
        write_catalog(tmp_path / "c.parquet", shots(2)),
        tmp_path / "out",
    )
    for job in ("good", "lease", "plan"):
        planned = plan_into(out, catalog, model, job=job)
    first, second = planned.plan.takes.to_pylist()
    commit(planned, first, tmp_path)
    quarantine(planned.store, "good", second)
    (record,) = (out / "jobs/good/quarantine").rglob("*.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "gpu_s": float("inf"), "round": "1"}))
    (out / "jobs/lease/lease.json").write_bytes(b"[" * 200_000)
    pq.write_table(pa.table({"a": [1]}), out / "jobs/plan/plan.parquet")
    for folder in ("jobs/zz/plan.parquet", "jobs/good/lease.json"):
        (out / folder / "x").mkdir(parents=True)

    ran = run(capsys, "jobs", out, "--json")
    assert ran.code == 0
    rows = {row["job_id"]: row for row in ran.json["jobs"]}
    states = {name: row["state"] for name, row in rows.items()}
    assert states == {"good": "finished", "lease": "damaged", "plan": "damaged"}
    assert "lease.json" in rows["lease"]["error"] and "no column" in rows["plan"]["error"]
    assert (rows["good"]["takes"]["committed"], rows["good"]["takes"]["quarantined"]) == (1, 1)

    ran = run(capsys, "status", out, "--job", "good", "--json")
    assert ran.code == 0 and ran.json["takes"]["quarantined"] == 1 and ran.json["gpu_s"]["failed"] == 0
    assert "cannot be read" in run(capsys, "status", out, "--job", "good").out
    for verb in (("retry", "--job", "good", "--no-render"), ("cancel", "--job", "good")):
        assert run(capsys, verb[0], out, *verb[1:], "--json").code == 0
    ran = run(capsys, "status", out, "--job", "plan", "--json")
    assert ran.code == 2 and "no column" in ran.err


def test_requests_by_hand_that_nobody_can_read_count(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "c.parquet", shots(1))
    store = plan_into(tmp_path / "out", catalog, json_model(tmp_path / "model"), job="j").store
    assert read_pause(store, "j") is None and not cancel_requested(store, "j", 1)
    for content in (b"", b"[" * 200_000, b'{"epoch": 1e999, "who": NaN}', b"[]"):
        store.write(pause_path("j"), content)
        store.write(cancel_path("j"), content)
        pause = read_pause(store, "j")
        assert pause is not None and pause.who == "somebody"
        assert cancel_requested(store, "j", 1)
    store.write(cancel_path("j"), b'{"epoch": 1}')
    assert cancel_requested(store, "j", 1) and not cancel_requested(store, "j", 2)
