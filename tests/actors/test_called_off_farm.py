"""Pause, stragglers and nodes that are to go, on a real cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray._raylet import GcsClient  # as `ray drain-node` itself does it

from actors.client import Connection, render_job
from actors.dispatch.dispatcher import dispatcher_name
from actors.dispatch.journal import SEQUENCES_PER_LIFE
from actors.gangs.draining import draining_nodes
from actors.job import NAMESPACE
from infra.store import open_store
from infra.store.lease import Lease
from tests.actors.farm import assert_whole, commits, eventually, job, kinds, shot, workers

SPOT_NOTICE = 2
"""DRAIN_NODE_REASON_PREEMPTION: cannot be refused."""


def gangs_of_job(farm: Connection) -> list[dict[str, Any]]:
    """Those lent to the test's job; warm ones of an earlier job may stand beside them."""
    return [gang for gang in farm.describe()["gangs"] if gang["job"] == "job"]


def test_a_straggler_gets_a_copy_and_the_first_commit_wins(farm: Connection, tmp_path: Path) -> None:
    """One take hangs the first time. Nothing would notice for a minute; the copy is there in seconds."""
    limits = {"step_timeout_s": 120.0, "straggler_s": 1.5}
    shots = [shot(0, f"hang-once={tmp_path / 'hung'}"), *(shot(n, "sleep=0.2") for n in range(1, 5))]
    running = farm.submit(job(tmp_path, shots, gangs_max=2, limits=limits))
    try:
        events: list[Mapping[str, Any]] = []
        status = running.wait(on_events=events.extend, poll_s=0.1)
    finally:
        running.close()
    assert (status["state"], status["takes"]["committed"]) == ("done", 5)
    assert_whole(running.spec, 5)
    late = [event["shot_id"] for event in events if event["kind"] == "straggler"]
    assert "s000" in late
    (off,) = [event for event in events if event["kind"] == "called_off" and event.get("shot_id") == "s000"]
    assert off["duplicate"]
    assert off["gpu_s"] > 1.5
    assert status["gpu_s"]["duplicate"] >= off["gpu_s"]
    assert status["gpu_s"]["failed"] == 0.0
    (hung,) = [commit for commit in commits(running.spec) if commit["shot_id"] == "s000"]
    assert hung["attempt"] == 2
    assert "gang_lost" not in kinds(events), "nobody's fault"


def test_a_paused_job_holds_nothing_and_goes_on_when_it_is_resumed(farm: Connection, tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(n, "sleep=0.6") for n in range(8)], gangs_max=2)
    running = farm.submit(spec)
    try:
        eventually(lambda: commits(spec))
        own = {pid for gang in gangs_of_job(farm) for _, pid in gang["processes"]}
        assert own
        running.pause("for a test")
        eventually(lambda: (running.status()["pause"] or {}).get("drained"))
        eventually(lambda: not workers("Finisher"))
        assert not gangs_of_job(farm)
        assert not {process.pid for process in workers("Rank")} & own, "its gangs are ended, not kept warm"
        held = running.status()
        assert (held["state"], held["pause"]["reason"], held["gangs"]) == ("running", "for a test", 0)
        done = held["takes"]["committed"]
        assert (held["takes"]["running"], held["takes"]["pending"]) == (0, 8 - done)
        assert held["gpu_s"]["failed"] == 0.0, "takes at work were rendered"
        ray.kill(ray.get_actor(dispatcher_name("job"), namespace=NAMESPACE))  # what is paused stays so
        eventually(lambda: {"loaded", "paused"} <= set(kinds(running.events(SEQUENCES_PER_LIFE))))
        eventually(lambda: (running.status()["pause"] or {}).get("drained"))
        assert len(commits(spec)) == done
        running.resume()
        status = running.wait(poll_s=0.1)
    finally:
        running.close()
    assert status["state"] == "done"
    assert status["takes"]["committed"] + status["takes"]["cached"] == 8
    assert status["gpu_s"]["failed"] == status["gpu_s"]["duplicate"] == 0.0
    assert_whole(spec, 8)


def test_a_stop_lets_a_take_at_work_be_rendered(farm: Connection, tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(n, "sleep=2") for n in range(5)], limits={"grace_s": 60.0, "stop_s": 60.0})
    running = farm.submit(spec)
    try:
        eventually(lambda: running.status()["running"])
        own = [process for gang in gangs_of_job(farm) for process in gang["processes"]]
        running.stop("enough")
        status, events = running.status(), running.events()
    finally:
        running.close()
    assert own
    assert (status["state"], status["error"]) == ("stopped", "enough")
    assert "called_off" not in kinds(events)
    assert status["gpu_s"]["failed"] == 0.0
    takes = status["takes"]
    assert 1 <= takes["committed"] == 5 - takes["pending"] < 5
    assert_whole(spec, takes["committed"])
    assert not gangs_of_job(farm)
    assert not {process.pid for process in workers("Rank")} & {pid for _, pid in own}


def test_an_owner_of_an_older_epoch_begins_no_take_any_more(farm: Connection, tmp_path: Path) -> None:
    """Two owners that both believe to have the job: only what is at work is rendered twice."""
    spec = job(tmp_path, [shot(n, "sleep=0.4") for n in range(8)])
    store, other = open_store(spec.store_url), {**spec.owner, "token": "another"}
    first = Lease.acquire(store, "job")
    assert isinstance(first, Lease)
    running = farm.submit(spec)
    try:
        eventually(lambda: commits(spec))
        first.release("failed", 4)  # as if it had lapsed: the farm of the first is not told
        second = Lease.acquire(store, "job")
        assert isinstance(second, Lease)
        before = len(commits(spec))
        status = running.wait(poll_s=0.1)
    finally:
        running.close()
    assert status["state"] == "failed"
    assert "another owner has taken the job over (epoch 2)" in status["error"]
    made = commits(spec)
    assert len(made) - before <= 3, "those at work, and those being finished"
    status = render_job(farm, replace(spec, epoch=2, owner=other), poll_s=0.1)
    assert (status["state"], status["takes"]["cached"]) == ("done", len(made))
    assert_whole(spec, 8)
    assert {commit["epoch"] for commit in commits(spec)} == {1, 2}


@contextmanager
def second_node(address: str, folder: Path) -> Iterator[str]:
    """Another node of the cluster on this machine, as a raylet of its own; gives its name."""
    before = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    command = [str(Path(sys.executable).with_name("ray")), "start", f"--address={address}", "--block", "--num-cpus=2"]
    with (folder / "node.log").open("wb") as log:
        node = subprocess.Popen(
            [*command, "--object-store-memory=100000000"], stdout=log, stderr=subprocess.STDOUT, env=os.environ
        )
    try:
        (name,) = eventually(lambda: {node["NodeID"] for node in ray.nodes() if node["Alive"]} - before)
        yield name
    finally:
        node.terminate()
        node.wait(timeout=60)
        eventually(lambda: name not in {node["NodeID"] for node in ray.nodes() if node["Alive"]})


def test_a_node_that_is_to_go_gives_its_takes_back_at_once(farm: Connection, tmp_path: Path) -> None:
    """A rank wants two cores, so that each node holds one gang. One take is long, and begins on the second node."""
    with second_node(farm.address, tmp_path) as there:
        limits = {"cpus_per_rank": 2.0, "straggler_s": 3600.0}
        shots = [shot(n, "sleep=4") for n in range(2)] + [shot(n, "sleep=0.2", priority=-1) for n in range(2, 6)]
        running = farm.submit(job(tmp_path, shots, gangs_max=2, limits=limits))
        try:
            eventually(lambda: len(running.status()["running"]) == 2)
            gang = next(g for g in farm.describe()["gangs"] if g["processes"][0][0] == there)
            GcsClient(address=farm.address).drain_node(there, SPOT_NOTICE, "a test's spot notice", 0)
            eventually(lambda: there in draining_nodes())
            eventually(lambda: gang["id"] not in {g["id"] for g in farm.describe()["gangs"]})
            events: list[Mapping[str, Any]] = []
            status = running.wait(on_events=events.extend, poll_s=0.1)
        finally:
            running.close()
        assert status["state"] == "done"
        assert_whole(running.spec, 6)
        off = [event for event in events if event["kind"] == "called_off" and event.get("shot_id")]
        assert [event["gang"] for event in off] == [gang["id"]]
        assert not off[0]["duplicate"]
        assert not [event for event in events if event["kind"] in ("gang_lost", "retry", "quarantined")]
        assert all(process[0] != there for g in farm.describe()["gangs"] for process in g["processes"])
