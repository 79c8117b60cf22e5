"""Stopping, and surviving the death of whoever is in charge: nothing is left over, nothing is done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import ray

from actors.client import Connection, render_job
from actors.dispatch.dispatcher import dispatcher_name
from actors.job import NAMESPACE
from infra.store import StoreOptions
from tests.actors.farm import assert_whole, commits, eventually, job, kinds, shot, workers
from tests.processes import assert_gone, descendants, living

ROOT = Path(__file__).parents[2]


def test_stop_leaves_neither_gang_nor_finisher(farm: Connection, tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(n, "sleep=1") for n in range(20)], gang=2, limits={"stop_s": 9.0})
    running = farm.submit(spec)
    eventually(lambda: commits(spec) and running.status()["running"])
    ranks, finishers = workers("Rank"), workers("Finisher")
    assert finishers
    began = time.monotonic()
    running.stop("enough")
    assert time.monotonic() - began < 12
    status = running.status()
    assert (status["state"], status["error"]) == ("stopped", "enough")
    assert not farm.describe()["jobs"]["job"]["gangs"]
    assert not any(gang["job"] == "job" for gang in farm.describe()["gangs"])
    gone = {process.pid for process in ranks} - {process.pid for process in workers("Rank")}
    assert len(gone) >= 2
    assert not {process.pid for process in finishers} & {process.pid for process in workers("Finisher")}
    takes = status["takes"]
    assert takes["running"] == 0
    assert takes["committed"] + takes["pending"] == 20
    running.close()
    assert not workers("Dispatcher")
    assert_whole(spec, takes["committed"])


def test_a_silent_owner_costs_its_job_the_gangs(farm: Connection, tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(n, "sleep=1") for n in range(200)], job_id="silent", limits={"heartbeat_lapse_s": 4.0})
    pool, token = farm.pool, spec.owner["token"]
    ray.get(pool.submit.remote(spec))

    def beat_until_it_renders() -> bool:
        assert ray.get(pool.heartbeat.remote("silent", token))
        return bool(commits(spec))

    eventually(beat_until_it_renders)
    assert not ray.get(pool.heartbeat.remote("silent", "another owner's token"))
    began = time.monotonic()
    assert any(gang["job"] == "silent" for gang in farm.describe()["gangs"])
    assert workers("Finisher", "Dispatcher")
    eventually(lambda: "silent" not in farm.describe()["jobs"])
    assert 3.0 < time.monotonic() - began < 4.0 + spec.farm.stop_s
    assert not any(gang["job"] == "silent" for gang in farm.describe()["gangs"])
    assert not workers("Finisher", "Dispatcher")
    assert not ray.get(pool.heartbeat.remote("silent", token))


def test_a_dispatcher_that_dies_is_replaced_and_goes_on_from_the_store(farm: Connection, tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(n, "sleep=0.4") for n in range(8)])
    running = farm.submit(spec)
    try:
        eventually(lambda: commits(spec))
        before, first = len(running.events()), running.status()["dispatcher"]
        ray.kill(ray.get_actor(dispatcher_name("job"), namespace=NAMESPACE))
        events: list[dict[str, object]] = []
        status = running.wait(on_events=events.extend, poll_s=0.1)
    finally:
        running.close()
    assert status["state"] == "done"
    assert first and status["dispatcher"] not in ("", first)
    assert status["takes"]["cached"] >= 1
    assert status["takes"]["cached"] + status["takes"]["committed"] == 8
    assert before
    assert "loaded" in kinds(events)
    assert_whole(spec, 8)


def test_a_finisher_that_dies_costs_one_attempt(farm: Connection, tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(n, "sleep=0.5") for n in range(6)])
    running = farm.submit(spec)
    try:
        finisher = eventually(lambda: workers("Finisher"))[0]
        finisher.send_signal(signal.SIGKILL)
        events: list[dict[str, object]] = []
        status = running.wait(on_events=events.extend, poll_s=0.1)
    finally:
        running.close()
    assert (status["state"], status["takes"]["committed"]) == ("done", 6)
    assert_whole(spec, 6)


def test_a_pool_that_dies_is_made_again_and_the_job_goes_on(farm: Connection, tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(n, "sleep=0.4") for n in range(6)])
    running = farm.submit(spec)
    try:
        eventually(lambda: commits(spec))
        ray.kill(farm.pool)
        status = running.wait(poll_s=0.2)
    finally:
        running.close()
    assert status["state"] == "done"
    assert status["takes"]["cached"] + status["takes"]["committed"] == 6
    assert_whole(spec, 6)


def test_another_owner_takes_a_job_over_only_with_a_higher_epoch(farm: Connection, tmp_path: Path) -> None:
    from dataclasses import replace

    import pytest

    from actors.pool import JobRefused

    spec = job(tmp_path, [shot(n, "sleep=0.4") for n in range(4)])
    first = farm.submit(spec)
    try:
        other = {**spec.owner, "token": "another"}
        with pytest.raises(JobRefused, match="epoch 1"):
            farm.submit(replace(spec, owner=other))
        second = farm.submit(replace(spec, owner=other, epoch=2))
        first.stop("its lease is lost")  # it was taken over, and stops what it takes for its own
        first.close()
        assert second.wait(poll_s=0.1)["state"] == "done"
        second.close()
    finally:
        first.close()
    assert_whole(spec, 4)
    assert {commit["epoch"] for commit in commits(spec)} <= {1, 2}


def test_secrets_stand_in_no_log_of_ray(farm: Connection, tmp_path: Path) -> None:
    words = "AKIAFORTESTSONLY", "do-not-print-this-secret"
    options = StoreOptions(access_key_id=words[0], secret_access_key=words[1])
    spec = job(tmp_path, [shot(0), shot(1, "raise=look-at-my-traceback")], store_options=options)
    status = render_job(farm, spec, poll_s=0.1)
    assert status["takes"]["committed"] == 1
    assert not any(word in repr(spec) for word in words)
    session = Path(ray._private.worker.global_worker.node.get_session_dir_path())
    logs = [path for path in session.rglob("*") if path.is_file() and path.stat().st_size < 50_000_000]
    assert len(logs) > 5
    for path in [*logs, *(path for path in (tmp_path / "store").rglob("*") if path.is_file())]:
        content = path.read_bytes()
        assert not any(word.encode() in content for word in words), path


def test_kill_9_of_the_owner_leaves_no_process(tmp_path: Path) -> None:
    """The embedded case: cluster and job belong to one process, which dies without a word."""
    script = tmp_path / "owner.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys, time
            sys.path.insert(0, {str(ROOT)!r})
            from pathlib import Path
            from actors.client import connect
            from tests.actors.farm import commits, job, shot
            spec = job(Path({str(tmp_path)!r}), [shot(n, "sleep=1") for n in range(30)])
            running = connect(num_cpus=2, auth="disabled").submit(spec)
            while not commits(spec):
                time.sleep(0.1)
            print("rendering", flush=True)
            time.sleep(600)
            """
        )
    )
    owner = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )
    assert owner.stdout is not None
    try:
        assert owner.stdout.readline().strip() == "rendering"
        children = descendants(owner.pid)
        assert any("Rank" in line for line in living(children)), living(children)
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()

    assert_gone(children, 30)
