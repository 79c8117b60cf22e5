"""Verbs that look at a store: status, jobs, logs, verify, cancel, retry without rendering. No farm runs here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.planned import Planned
from flows.report import STATES, ExitCode
from flows.verbs.cancel import cancel_path, cancel_requested
from flows.verbs.ledger import Ledger
from infra.media import encode_film
from infra.store import layout, open_store
from infra.store.jobs import current_round
from infra.store.lease import Lease, Owner
from tests.flows.command_samples import (
    GPU_KEYS,
    JSON_KEYS,
    TAKES_KEYS,
    commit,
    json_model,
    plan_into,
    quarantine,
    run,
    shots,
    write_catalog,
)

HOLDER = """
import signal, sys, time
from infra.store import open_store
from infra.store.lease import Lease
store, job_id = open_store(sys.argv[1]), sys.argv[2]
lease = Lease.acquire(store, job_id)
asked = []
if sys.argv[3] == "obeys":
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("held", flush=True)
while not asked:
    time.sleep(0.05)
lease.release("cancelled", 130)
"""


@dataclass(frozen=True)
class Job:
    """Six takes planned: two rendered, one found in the store before, one quarantined, two pending."""

    planned: Planned
    out: Path
    rows: list[dict[str, Any]]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    model = json_model(tmp_path / "model")
    catalog = write_catalog(tmp_path / "shots.parquet", shots(3, takes=2))
    earlier = plan_into(tmp_path / "out", catalog, model, job="earlier")
    rows = earlier.plan.takes.to_pylist()
    commit(earlier, rows[0], tmp_path, gpu_s=4.0)
    lease = Lease.acquire(earlier.store, "earlier")
    assert isinstance(lease, Lease)
    lease.release("done", 0)
    planned = plan_into(tmp_path / "out", catalog, model)
    commit(planned, rows[1], tmp_path, gpu_s=2.0)
    commit(planned, rows[2], tmp_path, gpu_s=3.0)
    quarantine(planned.store, planned.job_id, rows[3])
    return Job(planned, tmp_path / "out", rows)


def release(job: Job, state: Any, exit_code: int, **note: Any) -> None:
    lease = Lease.acquire(job.planned.store, job.planned.job_id, note=note)
    assert isinstance(lease, Lease)
    lease.release(state, exit_code)


@pytest.fixture
def holder(job: Job) -> Iterator[Any]:
    """Starts a process that owns the job's lease."""
    processes = []

    def start(behaviour: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, str(job.out), job.planned.job_id, behaviour]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait(10)
        process.stdout.close()


def test_status_has_exactly_the_keys_of_the_design(job: Job, capsys: Any) -> None:
    ran = run(capsys, "status", job.out, "--json")
    assert ran.code == 0 and ran.err == ""
    result = ran.json
    assert list(result) == JSON_KEYS
    assert list(result["takes"]) == TAKES_KEYS and list(result["gpu_s"]) == GPU_KEYS
    assert result["job_id"] == job.planned.job_id  # the newest
    counts = {"total": 6, "committed": 3, "rendered": 2, "cached": 1, "quarantined": 1, "pending": 2}
    assert result["takes"] == counts
    assert result["gpu_s"] == {"rendered": 5.0, "failed": 0.5, "duplicate": 0.0, "cached": 4.0}
    assert result["rows"] == {"total": 3, "refused": []}
    assert (result["state"], result["exit"], result["board"]) == ("pending", None, None)


def test_status_names_the_board_the_failures_and_the_books(job: Job, capsys: Any) -> None:
    release(job, "stopped", 3, gpu_s={"failed": 9.0, "duplicate": 1.5}, run_page="http://127.0.0.1:4200/v2/runs/x")
    job.planned.store.write(layout.board_path(job.planned.job_id), b"<html>")
    ran = run(capsys, "status", job.out, "--json")
    assert (ran.code, ran.json["state"], ran.json["exit"]) == (0, "stopped", 3)
    assert ran.json["gpu_s"]["failed"] == 9.0 and ran.json["gpu_s"]["duplicate"] == 1.5
    assert ran.json["board"] == f"file://{job.out}/jobs/{job.planned.job_id}/board.html"
    human = run(capsys, "status", job.out).out
    for told in ("3 of 6 committed", "no such file: cat.png", "http://127.0.0.1:4200/v2/runs/x", "board.html", "retry"):
        assert told in human, told


@pytest.mark.parametrize(
    ("lease_state", "exit_code", "state", "told"),
    [
        ("done", 1, "pending", None),
        ("failed", 4, "failed", 4),
        ("cancelled", 130, "cancelled", 130),
        ("failed", 2, "refused", 2),
    ],
)
def test_state_follows_the_lease(
    job: Job, lease_state: Any, exit_code: int, state: str, told: int | None, capsys: Any
) -> None:
    release(job, lease_state, exit_code)
    result = run(capsys, "status", job.out, "--job", job.planned.job_id, "--json").json
    assert (result["state"], result["exit"]) == (state, told)


def test_commands_to_copy_name_a_store_with_spaces_as_a_shell_reads_it(job: Job, capsys: Any) -> None:
    spaced = job.out.rename(job.out.with_name("my films"))
    assert f"rushes retry '{spaced}' --job" in run(capsys, "status", spaced).out
    assert f"rushes logs '{spaced}' --all" in run(capsys, "logs", spaced).err


def test_job_whose_owner_was_killed_is_interrupted(job: Job, holder: Any, capsys: Any) -> None:
    process = holder("obeys")
    running = run(capsys, "status", job.out, "--json").json
    assert (running["state"], running["exit"]) == ("running", None)
    process.kill()
    process.wait(10)
    assert run(capsys, "status", job.out, "--json").json["state"] == "interrupted"


def test_another_job_can_be_asked_for(job: Job, capsys: Any) -> None:
    result = run(capsys, "status", job.out, "--job", "earlier", "--json").json
    assert result["job_id"] == "earlier"
    # The other job's commits are of the same takes: whoever rendered them, they are there.
    assert result["takes"]["committed"] == 3 and result["takes"]["cached"] == 0
    missing = run(capsys, "status", job.out, "--job", "nope", "--json")
    assert missing.code == 2 and "earlier" in missing.json["error"]


def test_status_counts_takes_whose_key_was_found_late(tmp_path: Path, capsys: Any) -> None:
    """An image that could not be read when the plan was made has a key in the manifest only."""
    import pyarrow as pa

    from infra.store.jobs import write_manifest

    rows = [{"shot_id": "a", "prompt": "x", "task": "i2v", "image_uri": "late.png"}]
    catalog = write_catalog(tmp_path / "c.parquet", rows)
    planned = plan_into(tmp_path / "out", catalog, json_model(tmp_path / "model"))
    [row] = planned.plan.takes.to_pylist()
    assert row["spec_key"] is None
    found = row | {"spec_key": "ab" * 32, "picture_key": "cd" * 32}
    commit(planned, found, tmp_path, gpu_s=1.5)
    assert run(capsys, "status", tmp_path / "out", "--json").json["takes"]["committed"] == 0
    columns = {name: [found[name]] for name in ("show", "shot_id", "take", "spec_key")}
    write_manifest(planned.store, planned.job_id, pa.table({**columns, "state": ["committed"], "gpu_s": [1.5]}))
    result = run(capsys, "status", tmp_path / "out", "--json").json
    assert result["takes"]["committed"] == 1 and result["gpu_s"]["rendered"] == 1.5


def test_jobs_lists_all_newest_last(job: Job, capsys: Any) -> None:
    release(job, "cancelled", 130)
    ran = run(capsys, "jobs", job.out, "--json")
    assert ran.code == 0
    assert [entry["job_id"] for entry in ran.json["jobs"]] == ["earlier", job.planned.job_id]
    assert [entry["state"] for entry in ran.json["jobs"]] == ["pending", "cancelled"]
    assert ran.json["jobs"][1]["takes"]["pending"] == 2
    assert job.planned.job_id in run(capsys, "jobs", job.out).out


def test_a_damaged_job_hides_no_other(job: Job, capsys: Any) -> None:
    job.planned.store.write(layout.plan_path("earlier"), b"PAR1")
    ran = run(capsys, "jobs", job.out, "--json")
    assert ran.code == 0 and "earlier cannot be read" in ran.err
    damaged, other = ran.json["jobs"]
    assert (damaged["job_id"], damaged["state"], damaged["exit"]) == ("earlier", "damaged", None)
    assert other["job_id"] == job.planned.job_id and set(other) == set(damaged) - {"error"}
    assert "damaged" in run(capsys, "jobs", job.out).out


@pytest.mark.parametrize(
    ("old", "new", "state"),
    [
        (r'"renewed": [\d.]+', '"renewed": NaN', "damaged"),
        (r'"epoch": \d+', '"epoch": 1e999', "damaged"),
        (r'"note": \{[^}]*\}', '"note": {"gpu_s": [1], "pause": [1], "at_work": 7}', "running"),
    ],
)
def test_nonsense_in_a_lease_hides_no_other_job(job: Job, capsys: Any, old: str, new: str, state: str) -> None:
    store, path = job.planned.store, layout.lease_path("earlier")
    assert isinstance(Lease.acquire(store, "earlier"), Lease)
    text, changed = re.subn(old, new, store.read(path).decode())
    assert changed == 1
    store.write(path, text.encode())
    ran = run(capsys, "jobs", job.out, "--json")
    assert ran.code == 0 and {entry["job_id"]: entry["state"] for entry in ran.json["jobs"]}["earlier"] == state
    assert job.planned.job_id in {entry["job_id"] for entry in ran.json["jobs"]}
    assert (f"{path} cannot be read" in ran.err) == (state == "damaged")


def test_jobs_of_an_empty_store(tmp_path: Path, capsys: Any) -> None:
    open_store(tmp_path / "out").probe()
    ran = run(capsys, "jobs", tmp_path / "out", "--json")
    assert ran.code == 0 and ran.json["jobs"] == []
    assert run(capsys, "status", tmp_path / "out").code == 2


def test_logs_are_listed_and_printed(job: Job, capsys: Any) -> None:
    store, job_id = job.planned.store, job.planned.job_id
    row = job.rows[3]
    for attempt in (1, 2):
        path = layout.log_path(row["show"], row["shot_id"], row["revision"], row["take"], job_id, 1, attempt)
        store.write(path, f"attempt {attempt} failed \x1b[31mred".encode())
    store.write(layout.log_path("default", "other", "0a1b2c3d", 1, "earlier", 2, 1), b"fine\n")
    listed = run(capsys, "logs", job.out, "--json").json["logs"]
    assert [(one["shot_id"], one["attempt"]) for one in listed] == [("other", 1), (row["shot_id"], 2)]
    assert [one["attempt"] for one in run(capsys, "logs", job.out, "--all", "--json").json["logs"]] == [1, 1, 2]
    assert [one["job_id"] for one in run(capsys, "logs", job.out, "--job", "earlier", "--json").json["logs"]] == [
        "earlier"
    ]
    printed = run(capsys, "logs", job.out, "--shot", row["shot_id"])
    assert printed.code == 0 and printed.out == "attempt 2 failed \\x1b[31mred\n"
    first = run(capsys, "logs", job.out, "--shot", row["shot_id"], "--take", row["take"], "--attempt", 1, "--json").json
    assert first["logs"][0]["text"].startswith("attempt 1 failed")
    assert run(capsys, "logs", job.out, "--shot", "nobody").code == 2


def test_verify_finds_nothing_in_a_sound_store_and_each_fault_in_a_broken_one(tmp_path: Path, capsys: Any) -> None:
    model, catalog = json_model(tmp_path / "model"), write_catalog(tmp_path / "c.parquet", shots(2))
    planned = plan_into(tmp_path / "out", catalog, model)
    rows = planned.plan.takes.to_pylist()
    film = tmp_path / "film.mp4"
    shape = (rows[0]["frames"], rows[0]["height"], rows[0]["width"], 3)
    encode_film(np.random.default_rng(0).integers(0, 255, shape, np.uint8), film, fps=8)
    paths = [commit(planned, row, tmp_path, film=film.read_bytes()) for row in rows]
    sound = run(capsys, "verify", tmp_path / "out", "--json")
    assert sound.code == 0, sound
    assert sound.json == {"commits": 2, "faults": [], "orphans": []}
    (tmp_path / "out" / paths[0]).unlink()
    orphan = paths[1].replace(".take-001.", ".take-009.")
    planned.store.write(orphan, b"nobody names me")
    broken = run(capsys, "verify", tmp_path / "out", "--json")
    assert broken.code == 1
    assert list(broken.json) == ["commits", "faults", "orphans"] and broken.json["orphans"] == [orphan]
    [fault] = broken.json["faults"]
    assert list(fault) == ["kind", "path", "spec_key"]
    assert (fault["kind"], fault["path"], fault["spec_key"]) == ("media-missing", paths[0], rows[0]["spec_key"])
    human = run(capsys, "verify", tmp_path / "out")
    assert human.code == 1 and "media-missing" in human.out and "2 commits, 1 fault, 1 orphan" in human.out


def test_orphans_are_faults_when_strict(tmp_path: Path, capsys: Any) -> None:
    store = open_store(tmp_path / "out")
    store.probe()
    store.write("shots/default/a/0a1b2c3d.take-001.deadbeef.mp4", b"x")
    assert run(capsys, "verify", tmp_path / "out").code == 0
    strict = run(capsys, "verify", tmp_path / "out", "--strict", "--json")
    assert strict.code == 1 and [fault["kind"] for fault in strict.json["faults"]] == ["orphan"]


def test_cancel_of_a_job_that_does_not_run_is_no_error(job: Job, capsys: Any) -> None:
    release(job, "done", 1)
    ran = run(capsys, "cancel", job.out, "--json")
    assert ran.code == 0 and list(ran.json) == JSON_KEYS
    assert "not running" in ran.err
    assert job.planned.store.stat(cancel_path(job.planned.job_id)) is None


def test_cancel_ends_the_owner_on_this_host(job: Job, holder: Any, capsys: Any) -> None:
    process = holder("obeys")
    ran = run(capsys, "cancel", job.out, "--json")
    assert (ran.code, ran.json["state"], ran.json["exit"]) == (0, "cancelled", 130)
    assert process.wait(10) == 0
    assert cancel_requested(job.planned.store, job.planned.job_id, 1)
    assert not cancel_requested(job.planned.store, job.planned.job_id, 2), "a later run must not be stopped by it"


def test_cancel_says_when_the_owner_does_not_end(job: Job, holder: Any, capsys: Any) -> None:
    process = holder("deaf")
    ran = run(capsys, "cancel", job.out, "--wait", 0.5, "--json")
    assert ran.code == ExitCode.FAULT and str(process.pid) in ran.json["error"]


def test_cancel_from_another_host_leaves_a_request(job: Job, capsys: Any) -> None:
    here = Owner.this_process()
    there = Owner("elsewhere", "render-7", 1, here.start_time, "token")
    assert isinstance(Lease.acquire(job.planned.store, job.planned.job_id, there), Lease)
    ran = run(capsys, "cancel", job.out, "--wait", 0)
    assert ran.code == 0 and "render-7" in ran.err
    request = json.loads(job.planned.store.read(cancel_path(job.planned.job_id)))
    assert request["epoch"] == 1


def test_request_that_cannot_be_read_counts_as_one(job: Job) -> None:
    job.planned.store.write(cancel_path(job.planned.job_id), b"stop!")
    assert cancel_requested(job.planned.store, job.planned.job_id, 5)


def test_retry_can_only_open_the_round(job: Job, capsys: Any) -> None:
    release(job, "done", 1)
    ran = run(capsys, "retry", job.out, "--no-render", "--json")
    assert ran.code == 0 and current_round(job.planned.store, job.planned.job_id) == 2
    assert ran.json["takes"]["quarantined"] == 0 and ran.json["takes"]["pending"] == 3
    assert "1 take" in ran.err and "round 2" in ran.err
    again = run(capsys, "retry", job.out, "--no-render")
    assert again.code == 0 and "no quarantined takes" in again.err
    assert current_round(job.planned.store, job.planned.job_id) == 2


def test_retry_with_nothing_to_do_ends_with_the_exit_that_its_json_tells(tmp_path: Path, capsys: Any) -> None:
    """As `render` with nothing to render does: refused rows are 1, whatever ended the job's last run."""
    for name, more, ended, expected in (("good", [], 3, 0), ("bad", [{"shot_id": "bad/name", "prompt": "p"}], 0, 1)):
        catalog = write_catalog(tmp_path / f"{name}.jsonl", [*shots(1), *more])
        planned = plan_into(tmp_path / name, catalog, json_model(tmp_path / "model"))
        commit(planned, planned.plan.takes.to_pylist()[0], tmp_path)
        lease = Lease.acquire(planned.store, planned.job_id)
        assert isinstance(lease, Lease)
        lease.release("stopped", ended)
        ran = run(capsys, "retry", tmp_path / name, "--json")
        assert (ran.code, ran.json["exit"], ran.json["state"]) == (expected, expected, STATES[ExitCode(expected)])


def test_retry_of_a_running_job_is_refused(job: Job, holder: Any, capsys: Any) -> None:
    process = holder("obeys")
    ran = run(capsys, "retry", job.out, "--json")
    assert ran.code == 2 and str(process.pid) in ran.json["error"]


def test_failed_seconds_of_earlier_rounds_are_kept(job: Job) -> None:
    quarantine(job.planned.store, job.planned.job_id, job.rows[3], round=2, gpu_s=1.25)
    assert Ledger.read(job.planned.store, job.planned.job_id).gpu_seconds().failed == 1.75


def test_status_of_many_takes_is_quick(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "c.parquet", shots(50, takes=1000))
    planned = plan_into(tmp_path / "out", catalog, json_model(tmp_path / "model"))
    began = time.monotonic()
    counts = Ledger.read(planned.store, planned.job_id).counts()
    assert counts.pending == 50_000
    assert time.monotonic() - began < 5.0
