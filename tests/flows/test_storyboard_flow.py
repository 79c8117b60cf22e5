"""The storyboard as one flow run: paused while people decide, and what *Resume* on its page means."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prefect.states import Cancelling, Running

from flows.server import Api, prefect_settings
from flows.storyboard import _decided
from flows.storyboarding import Look
from infra.store import open_store
from infra.store.errors import StoreUnavailable
from infra.store.selection import Missing
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


def test_cancelled_on_its_page_it_makes_no_clips(
    tmp_path: Path, prefect: Prefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm, ended = started(tmp_path, prefect.url, monkeypatch)
    store = open_store(tmp_path / "out").url
    (run,) = eventually(lambda: [r for r in prefect.runs(store) if r["state_type"] == "PAUSED"], PATIENCE_S)
    prefect.ask(f"flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}, "force": True})
    approve(tmp_path / "out", "s1.still")
    assert ended().is_cancelled() and len(farm.rendered) == 2
    assert [one["state_type"] for one in prefect.runs(store)] == ["CANCELLED"]


class FlakyPrefect:
    """A client whose every other call of a kind fails, as in an outage."""

    def __init__(self, *later: Any) -> None:
        self.calls, self.state, self.later, self.told = Counter[str](), Running(), list(later), []

    async def __aenter__(self) -> FlakyPrefect:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def fail_in_turn(self, kind: str) -> None:
        self.calls[kind] += 1
        if self.calls[kind] % 2:
            raise httpx.ConnectError("Prefect is away")

    async def read_flow_run(self, run: object) -> SimpleNamespace:
        self.fail_in_turn("read")
        if self.told and self.later:
            self.state = self.later.pop(0)
        return SimpleNamespace(state=self.state)

    async def set_flow_run_state(self, run: object, state: Any, force: bool) -> None:
        self.fail_in_turn("set")
        self.state = state
        self.told.append(state.type.value)


@pytest.mark.parametrize("end", ["decided", "cancelled"])
def test_outages_are_waited_out(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = FlakyPrefect(*([Cancelling()] if end == "cancelled" else []))
    marks = 0

    def mark(*_: object) -> int:
        nonlocal marks
        marks += 1
        if marks % 2:
            raise StoreUnavailable("the store is away")
        return marks

    def look(*_: object) -> Look:
        waits = end == "cancelled" or "PAUSED" not in client.told
        return Look(waiting=[Missing("s", "a", "nobody has decided")] if waits else [])

    context = SimpleNamespace(flow_run=SimpleNamespace(id="run"))
    for name, value in {
        "get_client": lambda: client, "get_run_context": lambda: context, "mark": mark, "look": look,
        "retakes_of": lambda *_: 0,
    }.items():  # fmt: skip
        monkeypatch.setattr(f"flows.storyboard.{name}", value)
    planned, waiting = SimpleNamespace(store=None, job_id="stills"), SimpleNamespace(over=lambda _: False)
    found = asyncio.run(asyncio.wait_for(_decided(planned, waiting, 0, 0.0), PATIENCE_S))
    if end == "decided":
        assert found == Look() and client.told == ["PAUSED", "RUNNING"]
    else:
        assert not isinstance(found, Look) and found.is_cancelled() and client.told == ["PAUSED"]
