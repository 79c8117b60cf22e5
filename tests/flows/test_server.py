"""Which Prefect API a job talks to, and servers that die with whoever started them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from flows.automations import ZOMBIE, install, zombie_automation
from flows.embedded import ServerProcess, is_healthy, server_environment
from flows.server import (
    DASHBOARD_RECORD,
    Api,
    DashboardRecord,
    ServerError,
    prefect_api,
    prefect_home,
    prefect_settings,
    running_dashboard,
)

WAIT_S = 120.0
DASHBOARD = """
import sys
from pathlib import Path
from flows.server import serve_dashboard
sys.exit(serve_dashboard(Path(sys.argv[1]), port=0, on_ready=lambda record: print(record.url, flush=True)))
"""
EMBEDDED = """
import sys, time
from pathlib import Path
from flows.server import prefect_api
with prefect_api(Path(sys.argv[1])) as resolve:
    print(resolve().url, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One Prefect home for the module, so that its database is migrated once."""
    return tmp_path_factory.mktemp("prefect-home")


@pytest.fixture(autouse=True)
def no_configured_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def start(script: str, home: Path) -> tuple[subprocess.Popen[str], str]:
    """Run a script that prints the URL of the API that it started. Its `stdout` is a pipe."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_API")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(home)], stdout=subprocess.PIPE, text=True, env=environment, cwd=home
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def gone_within(url: str, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not is_healthy(url):
            return True
        time.sleep(0.1)
    return False


def listeners(url: str) -> list[int]:
    """Processes that listen on the port of an API."""
    port = int(url.split(":")[2].split("/")[0])
    return [c.pid for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port and c.pid]


def test_a_configured_api_is_asked_and_named(prefect_server: str, tmp_path: Path) -> None:
    with prefect_api(tmp_path, prefect_server) as resolve:
        api = resolve()
    assert (api.kind, api.url) == ("configured", prefect_server)
    assert api.run_page("x") == prefect_server.removesuffix("/api") + "/v2/runs/flow-run/x"
    assert not list(tmp_path.iterdir()), "no server of our own"


def test_a_configured_api_that_does_not_answer_is_refused_with_advice(tmp_path: Path) -> None:
    with (
        pytest.raises(ServerError, match=r"127\.0\.0\.1:9/api.*PREFECT_API_URL.*unset"),
        prefect_api(tmp_path, "http://127.0.0.1:9/api"),
    ):
        pytest.fail("it must not get here")


def test_prefect_is_told_by_settings_and_not_by_the_environment(prefect_server: str) -> None:
    from prefect.settings import get_current_settings

    before = dict(os.environ)
    with prefect_settings(Api(prefect_server, "http://ui.example", "configured")):
        now = get_current_settings()
        assert (now.api.url, now.ui_url, now.flows.heartbeat_frequency) == (prefect_server, "http://ui.example", 30)
        assert not now.server.ephemeral.enabled
    assert get_current_settings().api.url is None
    assert dict(os.environ) == before


def test_an_embedded_server_keeps_its_database_and_dies_with_its_parent(home: Path) -> None:
    """Start, kill -9 the parent: the server is gone. Start again on the same home: what was stored is there."""
    process, url = start(EMBEDDED, home)
    try:
        assert is_healthy(url)
        api = Api(url, url.removesuffix("/api"), "embedded")
        assert asyncio.run(create_variable(api, "seen-last-night"))
        pids = listeners(url)
        assert pids
        assert process.pid not in pids
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert gone_within(url, 5.0)
    assert psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=5.0)[1] == []
    with prefect_api(home) as resolve:
        api = resolve()
        assert api.kind == "embedded"
        assert asyncio.run(read_variable(api)) == "seen-last-night"
        asyncio.run(install_twice(api))
    assert gone_within(api.url, 1.0), "ended on leaving"


async def create_variable(api: Api, value: str) -> bool:
    from prefect.variables import Variable

    with prefect_settings(api):
        return await Variable.aset("kept", value) is not None


async def read_variable(api: Api) -> object:
    from prefect.variables import Variable

    with prefect_settings(api):
        return await Variable.aget("kept")


async def install_twice(api: Api) -> None:
    """The zombie automation is installed once, stays as a person left it, and is renewed when it was another."""
    from prefect.client.orchestration import get_client

    with prefect_settings(api):
        async with get_client() as client:
            assert await install(client)
            assert not await install(client)
            (found,) = await client.read_automations_by_name(ZOMBIE)
            other = zombie_automation("another-flow")
            other.enabled = False
            await client.update_automation(found.id, other)
            assert await install(client)
            (found,) = await client.read_automations_by_name(ZOMBIE)
            assert "rushes-render" in found.trigger.model_dump_json()
            assert not found.enabled, "a person disabled it"


def test_the_zombie_automation_crashes_a_silent_run_and_no_other(prefect_server: str) -> None:
    """Two runs send a heartbeat; one ends as CompletedWithFailures, the other falls silent."""
    silent, ended = asyncio.run(_two_runs(Api(prefect_server, "", "configured")))
    assert silent == "CRASHED"
    assert ended == "COMPLETED"


async def _two_runs(api: Api) -> tuple[str, str]:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.events import emit_event
    from prefect.events.worker import EventsWorker
    from prefect.states import Completed, Running

    name = f"silent-{time.time_ns()}"

    @flow(name=name)
    async def nothing() -> None: ...

    with prefect_settings(api):
        async with get_client() as client:
            automation = zombie_automation(name, timedelta(seconds=10))
            created = await client.create_automation(automation)
            try:
                runs = [await client.create_flow_run(nothing) for _ in range(2)]
                for run in runs:
                    await client.set_flow_run_state(run.id, Running(), force=True)
                    emit_event(
                        event="prefect.flow-run.heartbeat",
                        resource={"prefect.resource.id": f"prefect.flow-run.{run.id}"},
                        related=[
                            {
                                "prefect.resource.id": f"prefect.flow.{run.flow_id}",
                                "prefect.resource.role": "flow",
                                "prefect.resource.name": name,
                            }
                        ],
                    )
                await EventsWorker.drain_all(at_exit=False)
                await client.set_flow_run_state(runs[1].id, Completed(name="CompletedWithFailures"), force=True)
                deadline = time.monotonic() + 60
                while True:
                    states = [(await client.read_flow_run(run.id)).state_type for run in runs]
                    if (states[0] is not None and states[0].value == "CRASHED") or time.monotonic() > deadline:
                        return str(states[0].value), str(states[1].value)
                    await asyncio.sleep(0.5)
            finally:
                await client.delete_automation(created)


def test_a_running_dashboard_is_found_and_used_and_leaves_nothing(home: Path) -> None:
    assert running_dashboard(home) is None
    process, url = start(DASHBOARD, home)
    try:
        record = running_dashboard(home)
        assert record is not None
        assert record.url == url
        with prefect_api(home) as resolve:
            assert resolve() == Api(record.url, record.ui_url, "dashboard")
        assert is_healthy(url), "a job does not end the dashboard"
        second = subprocess.run(
            [sys.executable, "-c", DASHBOARD, str(home)],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert second.returncode != 0
        assert "already runs" in second.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
        process.stdout.close()
    assert code == 0
    assert gone_within(url, 5.0)
    assert not (home / DASHBOARD_RECORD).exists()


@pytest.mark.parametrize(
    "record",
    [
        "not json",
        "{}",
        json.dumps(asdict(DashboardRecord(2**22 + 1, 0.0, "http://127.0.0.1:9/api", "http://127.0.0.1:9"))),
        json.dumps(asdict(DashboardRecord(os.getpid(), 12.0, "http://127.0.0.1:9/api", "http://127.0.0.1:9"))),
    ],
    ids=["not json", "empty", "no such process", "another process with that number"],
)
def test_what_a_killed_dashboard_left_behind_is_not_believed(tmp_path: Path, record: str) -> None:
    (tmp_path / DASHBOARD_RECORD).write_text(record)
    assert running_dashboard(tmp_path) is None


def test_a_server_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:////proc/none/prefect.db")
    server = ServerProcess(tmp_path)
    server.start()
    with pytest.raises(ServerError, match=r"rushes-server\.log"):
        server.wait_ready(60)
    assert server.wait(0) is not None


def test_pages_call_their_own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")
    environment = server_environment(tmp_path, "127.0.0.1", 4321, full=False)
    assert "PREFECT_API_URL" not in environment
    assert environment["PREFECT_SERVER_API_PORT"] == "4321"
    assert environment["PREFECT_SERVER_UI_API_URL"] == "/api"
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_home_is_prefects_own_unless_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    assert prefect_home() == tmp_path
    assert prefect_home(tmp_path / "x") == tmp_path / "x"
    monkeypatch.delenv("PREFECT_HOME")
    assert prefect_home() == Path.home() / ".prefect"
