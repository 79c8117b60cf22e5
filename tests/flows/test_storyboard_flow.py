"""The storyboard as one flow run: paused while people decide, and what *Resume* on its page means."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.server import Api, prefect_settings
from infra.store import open_store
from tests.flows.api import Prefect, eventually
from tests.flows.command_samples import json_model, shots, write_catalog
from tests.post.farm import InstantFarm
from tests.post.test_storyboards import approve

PATIENCE_S = 60.0


@pytest.fixture
def prefect(prefect_server: str) -> Prefect:
    return Prefect(prefect_server)


def started(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> tuple[InstantFarm, Callable[[], Any]]:
    """A storyboard of two shots in a thread; returns its farm, and what waits for its final state."""
    from prefect.states import Completed

    from flows.storyboard import storyboard

    farm, states = InstantFarm(tmp_path), []

    async def render_here(planned: Any, settings: Any, options: Any) -> Any:
        farm(planned, settings)
        return Completed()

    monkeypatch.setattr("flows.served.render_here", render_here)
    catalog, model = write_catalog(tmp_path / "film.parquet", shots(2)), json_model(tmp_path / "model")
    store = open_store(tmp_path / "out").url

    def main() -> None:
        with prefect_settings(Api(url, url, "configured")):
            run = storyboard(str(catalog), store, model=str(model), look_s=0.2, return_state=True)
            states.append(asyncio.run(run))

    thread = threading.Thread(target=main)
    thread.start()

    def ended() -> Any:
        thread.join(PATIENCE_S)
        return states[0]

    return farm, ended


def test_the_run_waits_for_people_and_goes_on(
    tmp_path: Path, prefect: Prefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm, ended = started(tmp_path, prefect.url, monkeypatch)
    store = open_store(tmp_path / "out").url

    def paused() -> Any:
        return [run for run in prefect.runs(store) if run["state_name"] == "AwaitingApproval"]

    (run,) = eventually(paused, PATIENCE_S)
    assert run["state_type"] == "PAUSED" and farm.rendered == [("s0.still", 1), ("s1.still", 1)]
    approve(tmp_path / "out", "s0.still")
    approve(tmp_path / "out", "s1.still")
    assert ended().name == "Completed" and farm.rendered[2:] == [("s0", 1), ("s1", 1)]
    assert [one["state_name"] for one in prefect.runs(store)] == ["Completed"]


def test_resume_on_its_page_ends_the_waiting(tmp_path: Path, prefect: Prefect, monkeypatch: pytest.MonkeyPatch) -> None:
    farm, ended = started(tmp_path, prefect.url, monkeypatch)
    store = open_store(tmp_path / "out").url
    (run,) = eventually(lambda: [r for r in prefect.runs(store) if r["state_type"] == "PAUSED"], PATIENCE_S)
    approve(tmp_path / "out", "s1.still")
    prefect.ask(f"flow_runs/{run['id']}/resume")
    assert ended().name == "CompletedWithFailures" and farm.rendered[2:] == [("s1", 1)]
