"""Pausing without a farm: the request in the store, who may ask for what, and the two verbs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Failed, Paused, Running, Scheduled, Suspended

from flows.live import LiveJob
from flows.pausing import (
    PrefectPause,
    StorePause,
    clear_pause,
    ends_process,
    pause_path,
    pause_state,
    put_pause,
    read_pause,
)
from flows.planned import Planned
from flows.tenure import Tenure
from flows.watch import _look_at_own_state
from infra.settings import Settings
from infra.store import Store, open_store
from infra.store.errors import StoreUnavailable
from infra.store.lease import Lease, read_lease
from tests.flows.api import eventually
from tests.flows.command_samples import json_model, plan_into, run, shots, write_catalog

DRAINED = {"reason": "paused by a test", "drained": True}
DRAINING = {"reason": "paused by a test", "drained": False}


@pytest.fixture
def live() -> LiveJob:
    return LiveJob("job", "file:///store", run=1, shards={})


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    catalog = write_catalog(tmp_path / "shots.parquet", shots(3))
    return plan_into(tmp_path / "out", catalog, json_model(tmp_path / "model"), job="film")


def test_a_request_stands_in_the_store_until_it_is_taken_back(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert read_pause(store, "job") is None
    assert clear_pause(store, "job") is None
    put_pause(store, "job", "ann on mars")
    found = read_pause(store, "job")
    assert found is not None
    assert (found.who, found.reason) == ("ann on mars", "paused by ann on mars")
    assert found.when.endswith("+00:00")
    assert clear_pause(store, "job") == found
    assert read_pause(store, "job") is None
    for text in (b"", b"[]", b"please"):  # written by hand
        store.write(pause_path("job"), text)
        assert read_pause(store, "job") is not None


@pytest.mark.parametrize(
    ("status", "state"),
    [({}, None), ({"pause": None}, None), ({"pause": DRAINING}, "pausing"), ({"pause": DRAINED}, "paused")],
)
def test_a_status_tells_how_far_a_pause_is(status: dict[str, Any], state: str | None, live: LiveJob) -> None:
    assert pause_state(status) == state
    live.hold("paused by a test" if state else None)
    live.update(status)
    assert live.view().state == (state or "running")


def test_what_the_store_says_holds_the_job(tmp_path: Path, live: LiveJob) -> None:
    store = open_store(tmp_path)
    pausing = StorePause(store, "job", live)
    pausing.look()
    assert live.pause_requested is None
    put_pause(store, "job", "ann")
    pausing.look()
    assert live.pause_requested == "paused by ann"
    clear_pause(store, "job")
    pausing.look()
    assert live.pause_requested is None


def test_a_wish_holds_at_once_and_is_put_into_the_store_when_that_answers(tmp_path: Path, live: LiveJob) -> None:
    store = open_store(tmp_path)

    class Away:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            def fails(*_: Any) -> Any:
                raise StoreUnavailable("away")

            return fails

    live.wish_pause(True, "Prefect")
    StorePause(cast(Store, Away()), "job", live).look()
    assert live.pause_requested == "paused by Prefect"
    live.hold(None)
    assert live.pause_requested == "paused by Prefect", "what the store has not heard of yet goes before"
    StorePause(store, "job", live).look()
    assert live.pause_wish is None
    assert live.pause_requested == "paused by Prefect"
    live.wish_pause(False, "Prefect")
    assert live.pause_requested is None
    StorePause(store, "job", live).look()
    assert read_pause(store, "job") is None


class FakeClient:
    """Takes states as Prefect does, and gives the run's."""

    def __init__(self) -> None:
        self.state: State = Running()
        self.run: FlowRun | None = None

    async def read_flow_run(self, _run: Any) -> FlowRun | None:
        return self.run

    async def set_flow_run_state(self, _run: Any, state: State, *, force: bool) -> None:
        assert force
        self.state = state


def test_prefect_and_the_job_are_kept_in_step_whoever_asks(live: LiveJob) -> None:
    client = FakeClient()
    pause = PrefectPause(cast(Any, client), uuid4(), live)

    def look() -> str | None:
        asyncio.run(pause.look(client.state))
        return live.pause_requested

    assert look() is None
    client.state = Paused()  # on the page
    assert look() == "paused by Prefect"
    assert look() == "paused by Prefect", "and nothing is set back while the store has not heard of it"
    assert client.state.is_paused()
    live.granted(cast(Any, live.pause_wish))
    assert look() == "paused by Prefect"
    live.hold(None)  # `rushes resume`
    assert look() is None
    assert client.state.is_running()
    assert look() is None
    live.hold("paused by ann")  # `rushes pause`
    assert look() == "paused by ann"
    assert client.state.is_paused()
    client.state = Running()  # *Resume* on the page
    assert look() is None
    assert live.pause_wish is not None
    assert not live.pause_wish.paused


@pytest.mark.parametrize(
    ("state", "deployed", "ends"),
    [
        (Suspended(timeout_seconds=300), True, True),  # the button on the run's page
        (Suspended(timeout_seconds=300), False, False),  # nobody would start it again
        (Paused(name="Suspended", timeout_seconds=3600), True, False),  # an automation: Resume makes it Running
        (Paused(), True, False),
        (Running(), True, False),
    ],
)
def test_a_suspended_run_ends_its_process_only_where_prefect_starts_another(
    state: State, deployed: bool, ends: bool
) -> None:
    assert ends_process(FlowRun(flow_id=uuid4(), deployment_id=uuid4() if deployed else None, state=state)) == ends


def test_what_does_not_end_the_process_is_a_pause_and_goes_on_when_it_is_resumed(live: LiveJob) -> None:
    """A run that was started directly and is suspended by force, and goes on; also where it is scheduled meanwhile."""
    client = FakeClient()
    client.run = FlowRun(flow_id=uuid4(), state=Running())
    pause = PrefectPause(cast(Any, client), uuid4(), live)

    def look(state: State) -> None:
        client.run.state = state
        asyncio.run(_look_at_own_state(cast(Any, client), uuid4(), live, pause))

    look(Suspended(timeout_seconds=300))
    assert (live.pause_requested, live.stop_requested) == ("paused by Prefect", None)
    look(Scheduled(name="Resuming"))
    assert (live.pause_requested, live.stop_requested) == (None, None)
    assert client.state.is_running()
    assert client.state.message == "resumed"
    look(Running())
    look(Failed(message="what a zombie automation wrote"))
    assert live.stop_requested is None, "a job that is not paused does as the store says"
    look(Suspended(timeout_seconds=300))
    look(Failed(message="The flow was paused and never resumed."))
    assert "longer than it was paused for" in str(live.stop_requested)


def test_a_tenure_tells_of_a_pause_at_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    lease = Lease.acquire(store, "job")
    assert isinstance(lease, Lease)
    farm = Settings.load(farm={"lease_renew_s": 25.0, "cancel_poll_s": 0.1}).farm
    looked: list[int] = []
    tenure = Tenure(
        lease, farm, on_lost=lambda _: None, look=lambda: None, on_stop=lambda _: None,
        look_at_pause=lambda: looked.append(1),
    )  # fmt: skip
    with tenure:
        eventually(lambda: len(looked) > 1)
        tenure.note({"pause": DRAINING, "takes": {}})
        eventually(lambda: pause_state(note(store, "job")) == "pausing")
        tenure.note({"pause": DRAINED})
        eventually(lambda: pause_state(note(store, "job")) == "paused")
        tenure.note({"pause": None})
        eventually(lambda: pause_state(note(store, "job")) is None)


def note(store: Store, job_id: str) -> dict[str, Any]:
    found = read_lease(store, job_id)
    return {} if found is None else found.note


@contextmanager
def owner(store: Store, job_id: str, *, obeys: bool = True) -> Iterator[Lease]:
    """This process owns the job and does what the store asks for, but for rendering."""
    lease = Lease.acquire(store, job_id)
    assert isinstance(lease, Lease)
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.1):
            if obeys:
                lease.renew(note={"pause": DRAINED if read_pause(store, job_id) else None})

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield lease
    finally:
        over.set()
        thread.join()


def test_pause_and_resume_wait_until_it_is_so(planned: Planned, tmp_path: Path, capsys: Any) -> None:
    out, store = tmp_path / "out", planned.store
    with owner(store, "film"):
        paused = run(capsys, "pause", out, "--job", "film", "--json")
        assert (paused.code, paused.json["state"], paused.json["exit"]) == (0, "paused", None)
        status = run(capsys, "status", out)
        assert "film: paused" in status.out
        assert "rushes resume" in status.out
        assert run(capsys, "jobs", out, "--json").json["jobs"][0]["state"] == "paused"
        resumed = run(capsys, "resume", out, "--json")
        assert (resumed.code, resumed.json["state"]) == (0, "running")
        assert read_pause(store, "film") is None
        again = run(capsys, "resume", out)
        assert again.code == 0
        assert "not paused" in again.err


def test_a_pause_that_does_not_come_is_told(planned: Planned, tmp_path: Path, capsys: Any) -> None:
    with owner(planned.store, "film", obeys=False):
        ran = run(capsys, "pause", tmp_path / "out", "--wait", "0.3", "--json")
        assert ran.code == 4
        assert "not paused" in ran.json["error"]
        assert run(capsys, "status", tmp_path / "out", "--json").json["state"] == "pausing"
        asked = run(capsys, "pause", tmp_path / "out", "--wait", "0", "--json")
        assert (asked.code, asked.json["state"]) == (0, "pausing")


def test_a_job_that_does_not_run_is_neither_paused_nor_resumed(planned: Planned, tmp_path: Path, capsys: Any) -> None:
    out, store = tmp_path / "out", planned.store
    ran = run(capsys, "pause", out, "--json")
    assert (ran.code, ran.json["state"]) == (0, "pending")
    assert "nothing to pause" in ran.err
    assert read_pause(store, "film") is None
    lease = Lease.acquire(store, "film")
    assert isinstance(lease, Lease)
    put_pause(store, "film", "ann")
    lease.release("failed", 4)  # its process went while it was paused
    ran = run(capsys, "resume", out, "--json")
    assert (ran.code, ran.json["state"]) == (0, "failed")
    assert read_pause(store, "film") is None
    assert "rushes render" in ran.err
    assert "--job film" in ran.err


def test_the_verbs_of_a_store_that_is_none(tmp_path: Path, capsys: Any) -> None:
    for verb in ("pause", "resume"):
        assert run(capsys, verb, tmp_path, "--json").code == 2


def test_words_of_a_paused_job_in_the_progress_line() -> None:
    from flows.verbs.progress import job_details

    words = job_details({"pause": DRAINING, "takes": {}})[1]
    assert words == "paused by a test, takes at work are being rendered"
    assert job_details({"pause": DRAINED, "takes": {"committed": 2}}) == (2, "paused by a test")
