"""Takes that are added to a job while it runs are rendered without a restart."""

from __future__ import annotations

from pathlib import Path

from actors.client import Connection, render_job
from flows.retakes import queue_retakes
from infra.store import open_store
from infra.store.decisions import TakeName
from infra.store.jobs import read_plan
from tests.actors.farm import FACTS, assert_whole, job, kinds, shot


def test_a_live_job_takes_in_a_retake(farm: Connection, tmp_path: Path) -> None:
    gate = tmp_path / "gate"  # the last take waits for it, so that the job still runs when it is added to
    shots = [*(shot(n) for n in range(5)), shot(5, f"until-file={gate}")]
    spec = job(tmp_path, shots, limits={"cancel_poll_s": 0.2, "step_timeout_s": 60.0})
    store = open_store(spec.store_url)
    events: list[dict[str, object]] = []
    queued: list[int] = []

    def watch(new: list[dict[str, object]]) -> None:
        events.extend(new)
        if "committed" in kinds(new) and not queued:  # somebody has seen the first film, and wants another
            queued.extend(queue_retakes(store, "job", TakeName.of(read_plan(store, "job").to_pylist()[0]), FACTS))
        if "added" in kinds(new):
            gate.touch()

    status = render_job(farm, spec, on_events=watch, poll_s=0.1)
    assert queued == [2]
    assert "added" in kinds(events)
    assert (status["state"], status["takes"]["committed"], status["takes"]["total"]) == ("done", 7, 7)
    assert_whole(spec, 7)
