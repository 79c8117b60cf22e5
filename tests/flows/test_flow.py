"""Jobs end to end, but for the pictures: a real Prefect server, Ray, store and encoder, and a renderer that obeys
prompts.
"""

from __future__ import annotations

import io
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.artifacts import slug
from infra.store import open_store
from infra.store.commits import read_commits
from infra.store.jobs import read_manifest
from infra.store.lease import read_lease
from tests.flows.api import Prefect, eventually, table
from tests.flows.fake_job import (
    JOB,
    Ended,
    fake_settings,
    finish,
    planned_job,
    run_here,
    start,
    start_module,
    store_of,
    write_catalog,
)
from tests.flows.gate import Gate
from tests.processes import assert_gone, descendants, living

KEY = slug(JOB)
GONE_S = 30.0
PATIENCE_S = 180.0
"""On a machine with other work Ray alone may take a minute to start."""
FailedJob = tuple[Path, Ended, Ended]


@pytest.fixture
def prefect(prefect_server: str) -> Prefect:
    return Prefect(prefect_server)


def shots(count: int, *words: str) -> list[dict[str, Any]]:
    return [{"shot_id": f"s{i}", "prompt": " ".join(words) or "plain"} for i in range(count)]


def committed(folder: Path) -> list[dict[str, Any]]:
    """Commits in the folder's store; fails on an unreadable one."""
    found = list(read_commits(open_store(folder / "store")))
    assert all(entry.fault is None for entry in found)
    return [entry.commit for entry in found if entry.commit]


@pytest.fixture(scope="module")
def failed_job(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> FailedJob:
    """A job of 8 takes and a refused row: one take fails by itself, one dies with its gang once. Another process
    follows.
    """
    folder = tmp_path_factory.mktemp("failures")
    catalog = [
        *shots(5, "sleep=0.2"),
        {"shot_id": "bad", "prompt": "always-nan"},
        {"shot_id": "poor", "prompt": f"die-once={folder / 'died'}"},
        {"shot_id": "pair", "prompt": "plain", "takes": 1, "mood": "dusk | <b>"},
        {"shot_id": "odd", "prompt": "plain", "width": 33},
    ]
    write_catalog(folder, catalog)
    owner = start(folder, api=prefect_server)
    try:
        eventually(lambda: read_lease(open_store(folder / "store"), JOB), PATIENCE_S)
        follower = start(folder, api=prefect_server)
        try:
            return folder, finish(owner, PATIENCE_S), finish(follower, PATIENCE_S)
        finally:
            follower.kill()
    finally:
        owner.kill()


def test_a_job_with_failures_ends_in_1_and_counts_right(failed_job: FailedJob) -> None:
    folder, ended, _ = failed_job
    assert ended.code == 1
    report = ended.report
    assert report["state"] == "finished"
    assert report["takes"] == {
        "total": 8, "committed": 7, "rendered": 7, "cached": 0, "quarantined": 1, "pending": 0,
    }  # fmt: skip
    assert [row["column"] for row in report["rows"]["refused"]] == ["width"]
    assert report["gpu_s"]["rendered"] > 1.0
    assert report["gpu_s"]["failed"] > 0.0
    assert report["board"] == f"{store_of(folder)}/jobs/{JOB}/board.html"


def test_a_follower_ends_with_the_owners_exit_code_and_has_no_run(failed_job: FailedJob, prefect: Prefect) -> None:
    folder, owner, follower = failed_job
    assert "following it" in (folder / "log.1").read_text()
    assert follower.code == owner.code
    assert follower.report["takes"] == owner.report["takes"]
    assert follower.report["gpu_s"] == owner.report["gpu_s"]
    assert len(prefect.runs(store_of(folder))) == 1


def test_its_flow_run_is_completed_with_failures_and_says_which(failed_job: FailedJob, prefect: Prefect) -> None:
    (run,) = prefect.runs(store_of(failed_job[0]))
    assert run["name"] == f"{JOB} #1"
    assert (run["state_type"], run["state_name"]) == ("COMPLETED", "CompletedWithFailures")
    assert "7 of 8 takes committed, 1 quarantined: bad take 1 (nan), row 8 (refused)" in run["state"]["message"]
    assert set(run["parameters"]) == {"job_id", "store"}
    assert set(run["tags"]) == {"rushes", f"job:{JOB}"}
    log = eventually(lambda: (text := prefect.logs(run)) and "Finished in state" in text and text)
    assert "s0 take 1: committed shots/default/s0/" in log
    assert "bad take 1: quarantined, nan" in log
    assert "gang lost (poor take 1)" in log


def test_its_task_runs_are_shards_named_by_their_shots(failed_job: FailedJob, prefect: Prefect) -> None:
    (run,) = prefect.runs(store_of(failed_job[0]))
    runs = eventually(
        lambda: (found := prefect.task_runs(run)) and all(r["end_time"] for r in found) and found, within_s=15
    )
    names = [r["name"] for r in runs]
    assert names[0].startswith("000: s0 .. ")
    assert all(name.endswith(")") for name in names)
    assert sum(int(name.rsplit("(", 1)[1].rstrip(")")) for name in names) == 8
    states = {r["state_name"] for r in runs}
    assert states == {"Completed", "Quarantined"}
    assert [r["run_count"] for r in runs] == [1] * len(runs), "a shot's fault is never retried by Prefect"
    (red,) = [r for r in runs if r["state_type"] == "FAILED"]
    assert "1 quarantined" in red["state"]["message"]


def test_its_artifacts_say_how_far_what_it_cost_and_what_failed(failed_job: FailedJob, prefect: Prefect) -> None:
    folder, ended, _ = failed_job
    (run,) = prefect.runs(store_of(folder))
    artifacts = prefect.artifacts(run)
    assert set(artifacts) == {f"job-{KEY}", f"progress-{KEY}", f"failures-{KEY}", f"contact-sheet-{KEY}"}
    report = artifacts[f"job-{KEY}"]
    assert "7 of 8 takes committed · **1 quarantined**" in report["data"]
    assert f"| rendered | {ended.report['gpu_s']['rendered']:,.1f} |" in report["data"]
    assert "EUR" in report["data"]
    assert "| bad take 1 | nan |" in report["data"]
    assert report["data"].count("data:image/jpeg;base64,") == 7
    assert "```mermaid\nflowchart LR" in report["data"]
    assert f"{store_of(folder)}/jobs/{JOB}/board.html" in report["data"]
    assert "shots/default/s0/" in report["data"]
    assert float(artifacts[f"progress-{KEY}"]["data"]) == 100.0
    rows = table(artifacts[f"failures-{KEY}"])
    assert [(row["shot"], row["error"]) for row in rows] == [("bad take 1", "nan"), ("row 8", "refused")]
    assert rows[0]["attempts"] == 2
    assert rows[0]["replay"].startswith("rushes render ")
    assert rows[0]["log"].startswith("logs/default/bad/")
    assert "data:image/png;base64," in artifacts[f"contact-sheet-{KEY}"]["data"]
    # Within one click: the cards of the Artifacts page show these lines.
    assert artifacts[f"progress-{KEY}"]["description"].startswith("100 %: 7 of 8 committed, 1 quarantined")
    assert artifacts[f"job-{KEY}"]["description"].startswith("cost ")
    assert artifacts[f"failures-{KEY}"]["description"].startswith("bad take 1 (nan)")


def test_milestones_are_events_and_steps_are_not(failed_job: FailedJob, prefect: Prefect) -> None:
    def names() -> list[str]:
        return sorted(event["event"] for event in prefect.events(JOB))

    found = eventually(lambda: (n := names()) and "rushes.job.done" in n and n)
    assert found.count("rushes.take.quarantined") == 1
    assert set(found) == {"rushes.job.done", "rushes.shard.done", "rushes.take.quarantined"}


def test_manifest_and_board_are_views_of_the_store(failed_job: FailedJob) -> None:
    folder, _, _ = failed_job
    store = open_store(folder / "store")
    manifest = read_manifest(store, JOB)
    first = ["show", "shot_id", "revision", "take", "seed", "spec_key", "state", "width", "height", "frames", "fps"]
    last = ["media_path", "sha256", "bytes", "gpu_s", "attempt", "error_class"]
    last += ["quality", "quality_verdict", "quality_reasons", "quality_rank"]
    assert manifest.column_names[: len(first)] == first
    assert manifest.column_names[-len(last) :] == last
    own = manifest.column_names[len(first) : -len(last)]
    assert {"prompt", "task", "mood"} <= set(own)
    assert not {"cached", "shard", "tokens", "cost_gpu_s", "row", "picture_key"} & set(own)
    rows = {row["shot_id"]: row for row in manifest.to_pylist()}
    assert list(rows) == ["s0", "s1", "s2", "s3", "s4", "bad", "poor", "pair"], "in the catalog's order"
    assert {name: row["state"] for name, row in rows.items() if row["state"] != "committed"} == {"bad": "quarantined"}
    assert (rows["bad"]["error_class"], rows["bad"]["attempt"], rows["bad"]["media_path"]) == ("nan", 2, None)
    assert rows["poor"]["attempt"] == 2
    assert rows["pair"]["mood"] == "dusk | <b>"
    digest = store.digest(rows["s0"]["media_path"])
    assert (digest.sha256, digest.size) == (rows["s0"]["sha256"], rows["s0"]["bytes"])
    board = store.read(f"jobs/{JOB}/board.html").decode()
    assert "bad" in board
    assert store.read(f"jobs/{JOB}/contact-sheet.png").startswith(b"\x89PNG")
    assert store.stat(f"jobs/{JOB}/quarantine.parquet") is not None
    lease = read_lease(store, JOB)
    assert lease is not None
    assert (lease.state, lease.exit_code) == ("done", 1)
    assert lease.note["gpu_s"]["failed"] > 0


def test_again_needs_neither_prefect_nor_ray_and_mends_missing_views(failed_job: FailedJob) -> None:
    folder, _, _ = failed_job
    store = open_store(folder / "store")
    made = {commit["spec_key"]: commit for commit in committed(folder)}
    store.delete(f"jobs/{JOB}/board.html")
    began = time.monotonic()
    process = start(folder, api="http://127.0.0.1:9/api")
    ended = finish(process)
    assert ended.code == 1
    assert time.monotonic() - began < 15
    assert ended.report["takes"]["rendered"] == 0
    assert ended.report["takes"]["cached"] == 7
    assert ended.report["gpu_s"]["cached"] > 1.0
    assert store.stat(f"jobs/{JOB}/board.html") is not None
    assert {commit["spec_key"]: commit for commit in committed(folder)} == made


def test_again_brings_a_manifest_up_to_date_whose_owner_was_killed(failed_job: FailedJob) -> None:
    folder, _, _ = failed_job
    store = open_store(folder / "store")
    made = read_manifest(store, JOB)
    older = made.set_column(made.schema.get_field_index("state"), "state", pa.array(["pending"] * made.num_rows))
    sink = io.BytesIO()
    pq.write_table(older, sink)
    store.write(f"jobs/{JOB}/manifest.parquet", sink.getvalue())
    report = run_here(folder, api="http://127.0.0.1:9/api")
    assert (report.exit, report.takes.cached) == (1, 7)
    assert report.gpu_s.cached > 1.0
    assert read_manifest(store, JOB)["state"].to_pylist() == made["state"].to_pylist()


def test_cancel_in_prefect_stops_a_flow_that_was_started_directly(tmp_path: Path, prefect: Prefect) -> None:
    write_catalog(tmp_path, shots(6, "sleep=40"))
    process = start(tmp_path, api=prefect.url)
    try:
        run = eventually(lambda: next(iter(prefect.runs(store_of(tmp_path))), None), PATIENCE_S)
        eventually(lambda: "gang ready" in prefect.logs(run), PATIENCE_S)
        children = descendants(process.pid)
        assert any("rank" in line.lower() for line in living(children))
        began = time.monotonic()
        prefect.cancel(run)
        ended = finish(process, PATIENCE_S)
        seconds = time.monotonic() - began
    finally:
        process.kill()
    assert ended.code == 130
    assert ended.report["state"] == "cancelled"
    assert seconds < GONE_S
    assert_gone(children, 5)
    (run,) = prefect.runs(store_of(tmp_path))
    assert run["state_type"] == "CANCELLED"
    states = eventually(lambda: (r := prefect.task_runs(run)) and all(x["end_time"] for x in r) and r, 15)
    assert {state["state_type"] for state in states} == {"CANCELLED"}
    lease = read_lease(open_store(tmp_path / "store"), JOB)
    assert lease is not None
    assert (lease.state, lease.exit_code) == ("cancelled", 130)


def test_after_kill_nothing_is_left_and_the_next_run_renders_only_the_rest(tmp_path: Path, prefect: Prefect) -> None:
    """kill -9 of the process half-way; a follower was watching. It takes over, and Prefect's old run is closed."""
    write_catalog(tmp_path, shots(8, "sleep=1.5"))
    process = start(tmp_path, api=prefect.url)
    follower = None
    try:
        eventually(lambda: len(committed(tmp_path)) >= 2, PATIENCE_S)
        follower = start(tmp_path, api=prefect.url)
        followed_log = tmp_path / "log.1"
        eventually(lambda: "following it" in followed_log.read_text(), 20)
        children = descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        before = {commit["spec_key"]: commit for commit in committed(tmp_path)}
        process.wait()
        process.stdout.close()
        assert_gone(children, GONE_S)
        ended = finish(follower, PATIENCE_S)
    finally:
        process.kill()
        if follower is not None:
            follower.kill()
    assert ended.code == 0
    assert 2 <= len(before) < 8
    after = {commit["spec_key"]: commit for commit in committed(tmp_path)}
    assert len(after) == 8
    assert {key: after[key] for key in before} == before, "nothing finished is rendered twice"
    # A film that was being finished when the flow was killed may still be committed, and then counts.
    assert {commit["epoch"] for commit in after.values()} == {1, 2}
    late = sum(commit["epoch"] == 1 for commit in after.values()) - len(before)
    assert late in (0, 1, 2)
    assert ended.report["takes"]["cached"] + ended.report["takes"]["rendered"] == 8
    first, second = prefect.runs(store_of(tmp_path))
    assert (first["state_type"], second["state_type"]) == ("CRASHED", "COMPLETED")
    assert "took over" in first["state"]["message"]
    open_states = {"RUNNING", "PENDING"}
    assert eventually(lambda: not {r["state_type"] for r in prefect.task_runs(first)} & open_states, 10)
    assert second["name"] == f"{JOB} #2"


def test_a_signal_stops_an_embedded_run_and_its_server_remembers_it(tmp_path: Path) -> None:
    """No API anywhere: an embedded server on a home of its own. Ctrl-C, which the whole process group gets, stops the
    job; the home still has the run.
    """
    from flows.server import prefect_api

    home = tmp_path / "home"
    write_catalog(tmp_path, shots(4, "sleep=30"))
    process = start(tmp_path, home=home)
    try:
        eventually(lambda: "gang ready" in (tmp_path / "log.0").read_text(), PATIENCE_S)
        children = descendants(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        ended = finish(process, PATIENCE_S)
    finally:
        process.kill()
    assert ended.code == 130
    assert_gone(children, 10)
    with prefect_api(home) as resolve:
        (run,) = Prefect(resolve().url).runs(store_of(tmp_path))
    assert run["state_type"] == "CANCELLED"


def test_suspend_resume_and_cancel_in_the_dashboard_of_a_served_run(tmp_path: Path, prefect: Prefect) -> None:
    """`flow.serve()`: Prefect starts the process. Its button *Pause* suspends: the process ends, and *Resume* starts
    another; its cancel reaches the process as SIGTERM.
    """
    write_catalog(tmp_path, [{"shot_id": "first", "prompt": "plain"}, *shots(3, "sleep=40")])
    name = f"served-{tmp_path.name}"
    server = start_module(["tests.flows.served_job", str(tmp_path), name], tmp_path, PREFECT_API_URL=prefect.url)

    def own() -> dict[str, Any]:
        return next((r for r in prefect.runs(store_of(tmp_path)) if r["name"].startswith(JOB)), {})

    def at_work(after: int = 0) -> list[psutil.Process]:
        """What was started for the run, once a gang is ready; on a busy machine one may be lost and built anew."""
        eventually(lambda: own() and prefect.logs(own()).count("gang ready") > after, PATIENCE_S)
        return [child for child in descendants(server.pid) if child not in idle]

    try:
        deployment = eventually(lambda: prefect.deployment(name), PATIENCE_S)
        idle = descendants(server.pid)
        prefect.ask(f"deployments/{deployment['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})
        eventually(lambda: committed(tmp_path), PATIENCE_S)
        children = at_work()
        until = (datetime.now(UTC) + timedelta(seconds=300)).isoformat()
        suspended = {"type": "PAUSED", "name": "Suspended"}
        suspended["state_details"] = {"pause_timeout": until, "pause_reschedule": True}  # as the page's own request
        prefect.ask(f"flow_runs/{own()['id']}/set_state", {"state": suspended, "force": True})
        assert_gone(children, GONE_S)
        lease = read_lease(open_store(tmp_path / "store"), JOB)
        assert lease is not None
        assert (lease.epoch, lease.state, lease.exit_code) == (1, "cancelled", 130), "the job is free for anybody"
        assert own()["state_name"] == "Suspended"

        ready = prefect.logs(own()).count("gang ready")
        prefect.ask(f"flow_runs/{own()['id']}/resume")
        children = at_work(ready)
        assert "3 takes to render" in prefect.logs(own()), "and what is committed is not rendered again"
        assert own()["name"] == f"{JOB} #2"
        prefect.cancel(own())
        assert_gone(children, GONE_S)
        eventually(lambda: own()["state_type"] == "CANCELLED", GONE_S)
    finally:
        server.kill()
        server.communicate()
    assert len(prefect.runs(store_of(tmp_path))) == 1, "it is one run all the time"
    assert [(commit["shot_id"], commit["epoch"]) for commit in committed(tmp_path)] == [("first", 1)]
    lease = read_lease(open_store(tmp_path / "store"), JOB)
    assert lease is not None
    assert (lease.epoch, lease.state, lease.exit_code) == (2, "cancelled", 130)


def test_the_budget_ends_a_job_even_when_prefect_has_gone(tmp_path: Path, prefect: Prefect) -> None:
    """The way to the server is cut half-way: the view is gone, the job goes on, and ends by its budget with 3."""
    write_catalog(tmp_path, shots(8, "sleep=1"))
    address = urlsplit(prefect.url)
    with Gate(str(address.hostname), int(address.port or 0)) as gate:
        process = start(tmp_path, api=f"http://127.0.0.1:{gate.port}/api", budget=3.0)
        try:
            eventually(lambda: committed(tmp_path), PATIENCE_S)
            (run,) = prefect.runs(store_of(tmp_path))
            gate.shut()
            ended = finish(process, PATIENCE_S)
        finally:
            process.kill()
    assert ended.code == 3
    assert ended.report["state"] == "stopped"
    assert "budget" in ended.report["error"]
    assert 0 < ended.report["takes"]["pending"] < 8
    states = read_manifest(open_store(tmp_path / "store"), JOB)["state"].to_pylist()
    assert states.count("committed") == ended.report["takes"]["committed"]
    assert prefect.runs(store_of(tmp_path))[0]["state_type"] == run["state_type"] == "RUNNING"


def test_planning_again_while_nothing_was_rendered_is_the_same_job(tmp_path: Path) -> None:
    write_catalog(tmp_path, shots(2))
    settings = fake_settings()
    assert planned_job(tmp_path, settings).takes() == planned_job(tmp_path, settings).takes()
