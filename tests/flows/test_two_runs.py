"""Two flow runs of one job at the same time, as Prefect allows it, paused and resumed from both sides meanwhile."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.pausing import read_pause
from infra.store import open_store
from infra.store.commits import read_commits
from infra.store.lease import read_lease
from tests.flows.api import Prefect, eventually
from tests.flows.command_samples import run
from tests.flows.fake_job import JOB, start_module, store_of, write_catalog
from tests.processes import assert_gone, descendants, living

TAKES = 8
PATIENCE_S = 300.0


def ask(prefect: Prefect, path: str, body: dict[str, Any] | None = None) -> None:
    """Asks until the server has taken it: a busy one, whose database is locked, says 503 and is asked again."""

    def taken() -> bool:
        try:
            prefect.ask(path, body)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                raise
            return False
        return True

    eventually(taken)


@pytest.mark.timeout(900)
def test_one_set_of_commits_and_a_pause_from_either_side(tmp_path: Path, prefect_server: str, capsys: Any) -> None:
    prefect, store = Prefect(prefect_server), open_store(tmp_path / "store")
    shots = [{"shot_id": f"s{number}", "prompt": "sleep=1.2"} for number in range(TAKES)]
    write_catalog(tmp_path, shots)
    name = f"twice-{tmp_path.name}"
    # Ray's workers run at nice 15 otherwise, and on a busy machine this waits for whatever else runs there.
    environment = {"PREFECT_API_URL": prefect.url, "RAY_worker_niceness": "0"}
    server = start_module(["tests.flows.served_job", str(tmp_path), name], tmp_path, **environment)

    def deployed() -> dict[str, Any]:
        return prefect.deployment(name) or {}

    def runs() -> list[dict[str, Any]]:
        return prefect.runs(store_of(tmp_path))

    def said(words: str) -> bool:
        return words in (tmp_path / "log.0").read_text()

    def committed() -> list[dict[str, Any]]:
        return [entry.commit for entry in read_commits(store) if entry.commit]

    def status() -> str:
        return str(run(capsys, "status", tmp_path / "store", "--json").json["state"])

    def renderers() -> list[str]:
        return living(descendants(server.pid))

    def own() -> dict[str, Any]:
        return next(flow_run for flow_run in runs() if flow_run["name"] == f"{JOB} #1")

    try:
        deployment = eventually(deployed, PATIENCE_S)
        for _ in range(2):
            ask(prefect, f"deployments/{deployment['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})
        eventually(lambda: said("following it") and committed(), PATIENCE_S)

        ask(prefect, f"flow_runs/{own()['id']}/set_state", {"state": {"type": "PAUSED"}, "force": False})
        eventually(lambda: status() == "paused", PATIENCE_S)
        pause = read_pause(store, JOB)
        assert pause is not None
        assert pause.who == "Prefect"
        eventually(lambda: not any(kind in line for line in renderers() for kind in ("Rank", "Finisher")), 10)
        held = len(committed())
        assert held < TAKES

        assert run(capsys, "resume", tmp_path / "store", "--json").json["state"] == "running"
        eventually(lambda: own()["state_type"] == "RUNNING")
        eventually(lambda: len(committed()) > held, PATIENCE_S)

        assert run(capsys, "pause", tmp_path / "store", "--json").json["state"] == "paused"
        eventually(lambda: own()["state_type"] == "PAUSED")
        ask(prefect, f"flow_runs/{own()['id']}/resume")
        eventually(lambda: all(flow_run["state_type"] == "COMPLETED" for flow_run in runs()), PATIENCE_S)
        children = descendants(server.pid)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.communicate()
    assert_gone(children, 30)

    made = committed()
    assert len(made) == len({commit["shot_id"] for commit in made}) == TAKES
    assert {(commit["epoch"], commit["attempt"]) for commit in made} == {(1, 1)}, "one owner, nothing rendered again"
    lease = read_lease(store, JOB)
    assert lease is not None
    assert (lease.epoch, lease.state, lease.exit_code) == (1, "done", 0)
    assert lease.note["gpu_s"]["duplicate"] == lease.note["gpu_s"]["failed"] == 0.0
    assert read_pause(store, JOB) is None
    messages = [flow_run["state"]["message"] for flow_run in runs()]
    assert f"{TAKES} of {TAKES} takes committed, 0 quarantined" in messages
    assert "another run rendered this job and ended with 0" in messages


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_the_verbs_are_told_in_help(verb: str, capsys: Any) -> None:
    assert f"rushes {verb} [OPTIONS]" in run(capsys, verb, "--help").out
