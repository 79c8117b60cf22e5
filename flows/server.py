"""Which Prefect API a job talks to, and how one is started where there is none.

The order: `PREFECT_API_URL` (environment or Prefect profile), else a running `rushes dashboard` of the same Prefect home, else
an embedded server on the same database, so that last night's run is still to be seen tomorrow. An embedded server is a child of
this process and dies with it. Nothing here changes `os.environ`; our own process is told by `temporary_settings`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal

log = logging.getLogger("rushes.server")

DASHBOARD_PORT = 4200
DASHBOARD_RECORD = "rushes-dashboard.json"
SERVER_LOG = "rushes-server.log"
START_TIMEOUT_S = 120.0
"""Long, because an empty home is migrated first: 9 to 13 s on a free machine, several times that on a busy one."""
HEARTBEAT_S = 30
"""Seconds between a run's heartbeats: the shortest that Prefect takes. The zombie automation waits for three of them."""


class ServerError(RuntimeError):
    """No Prefect API can be had; says which one was tried, what it answered, and what to do. Exit code 2."""


@dataclass(frozen=True)
class Api:
    """A Prefect API that answered. `url` ends in /api; `ui_url` is where its pages are."""

    url: str
    ui_url: str
    kind: Literal["configured", "dashboard", "embedded"]

    def run_page(self, flow_run_id: object) -> str:
        """The address of a flow run's page."""
        return f"{self.ui_url}/runs/flow-run/{flow_run_id}"


@dataclass(frozen=True)
class DashboardRecord:
    """What `rushes dashboard` leaves in the Prefect home while it runs."""

    pid: int
    start_time: float
    """Of the server's process, in seconds since the epoch: a process number alone may have been given to another."""
    url: str
    ui_url: str


def prefect_home(home: Path | None = None) -> Path:
    """The folder with Prefect's database: `home`, else `PREFECT_HOME`, else `~/.prefect`."""
    if home is not None:
        return home.expanduser()
    return Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()


def server_environment(home: Path, host: str, port: int, *, full: bool) -> dict[str, str]:
    """The environment of a server on `home`'s database.

    Args:
        full: also run what only a lasting server needs (schedules, late runs, work pools). An embedded one lives as long as a job.
    """
    env = {k: v for k, v in os.environ.items() if k not in ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE")}
    services = "PREFECT_SERVER_SERVICES_"
    env |= {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_HOST": host,
        # Given by environment, not by --port: with --port alone the pages go on calling 127.0.0.1:4200.
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_CLI_PROMPT": "false",
        "PYTHONUNBUFFERED": "1",
        # In batches: a task run's states cost 4-5 ms of the server instead of 20 ms.
        f"{services}TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
        f"{services}TASK_RUN_RECORDER_BATCH_SIZE": "100",
        f"{services}TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        f"{services}EVENT_PERSISTER_READ_BATCH_SIZE": "100",
        f"{services}EVENT_PERSISTER_BATCH_SIZE": "200",
        f"{services}EVENT_PERSISTER_FLUSH_INTERVAL": "1",
    }
    if not full:
        for name in ("SCHEDULER", "LATE_RUNS", "FOREMAN", "PAUSE_EXPIRATIONS", "CANCELLATION_CLEANUP", "DB_VACUUM"):
            env.setdefault(f"{services}{name}_ENABLED", "false")
    return env


class ServerProcess:
    """A `prefect server start` that dies with the thread that started it: start it from the main thread."""

    def __init__(self, home: Path, *, host: str = "127.0.0.1", port: int = 0, full: bool = False) -> None:
        self.home, self.host, self.port, self.full = home, host, port, full
        self._process: subprocess.Popen[bytes] | None = None
        self._starting: IO[str] | None = None

    @property
    def ui_url(self) -> str:
        """Where its pages are. A server that listens everywhere is reached here by the loopback address."""
        return f"http://{'127.0.0.1' if self.host in ('0.0.0.0', '::') else self.host}:{self.port}"

    @property
    def api(self) -> Api:
        """The API that it serves."""
        return Api(f"{self.ui_url}/api", self.ui_url, "embedded")

    @property
    def pid(self) -> int:
        """Process number of the server."""
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process.pid

    def start(self) -> None:
        """Start the process; `wait_ready` says when it answers. Only one server of a home starts at a time, because the first
        one migrates the database."""
        self.home.mkdir(parents=True, exist_ok=True)
        self._starting = (self.home / "rushes-server.lock").open("w")
        fcntl.flock(self._starting, fcntl.LOCK_EX)
        self.port = self.port or _free_port(self.host)
        with (self.home / SERVER_LOG).open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(Path(__file__).with_name("server_process.py")), str(os.getpid())],
                env=server_environment(self.home, self.host, self.port, full=self.full),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A group of its own: Ctrl-C goes to the flow, which still has things to report before its server may end.
                start_new_session=True,
            )

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> Api:
        """Block until /health answers.

        Raises:
            ServerError: it ended, or did not answer in time.
        """
        deadline = time.monotonic() + timeout_s
        try:
            while time.monotonic() < deadline:
                if self._process is None or self._process.poll() is not None:
                    code = None if self._process is None else self._process.returncode
                    raise ServerError(f"the Prefect server ended with {code} while starting. {self._last_words()}")
                if _healthy(self.api.url):
                    return self.api
                time.sleep(0.1)
        finally:
            self._release()
        self.stop()
        raise ServerError(f"the Prefect server did not answer within {timeout_s:.0f} s. {self._last_words()}")

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Block until it ends; its return code, or None when the time is over."""
        if self._process is None:
            return None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, grace_s: float = 5.0) -> None:
        """End it, by force after `grace_s`."""
        self._release()
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        if self.wait(grace_s) is None:
            self._process.kill()
            self._process.wait()

    def _release(self) -> None:
        if self._starting is not None:
            self._starting.close()
            self._starting = None

    def _last_words(self) -> str:
        path = self.home / SERVER_LOG
        lines = path.read_text(errors="replace").splitlines()[-5:] if path.exists() else []
        return f"Its log is {path}; it ends with: {' | '.join(lines) or 'nothing'}"


def running_dashboard(home: Path | None = None) -> DashboardRecord | None:
    """The `rushes dashboard` that runs on this home and answers, if there is one."""
    import psutil

    path = prefect_home(home) / DASHBOARD_RECORD
    try:
        record = DashboardRecord(**json.loads(path.read_text()))
        started = psutil.Process(record.pid).create_time()
    except FileNotFoundError:
        return None
    except (psutil.NoSuchProcess, ValueError, TypeError) as error:
        log.debug("%s names no running dashboard: %s", path, error)
        return None
    if abs(started - record.start_time) > 1.0 or not _healthy(record.url):
        return None
    return record


def serve_dashboard(
    home: Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = DASHBOARD_PORT,
    on_ready: Callable[[DashboardRecord], None] | None = None,
) -> int:
    """Run a dashboard in the foreground until SIGINT or SIGTERM. Call it from the main thread.

    Args:
        port: taken if it is free, else another one.
        on_ready: told once the pages answer.

    Returns:
        0 after a signal, else the server's own return code.

    Raises:
        ServerError: one already runs on this home, or the server does not start.
    """
    import psutil

    folder = prefect_home(home)
    if (other := running_dashboard(folder)) is not None:
        raise ServerError(f"a dashboard already runs on {folder}: {other.ui_url} (process {other.pid})")
    server = ServerProcess(folder, host=host, port=port if _is_free(host, port) else 0, full=True)
    path = folder / DASHBOARD_RECORD
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.start()
        api = server.wait_ready()
        record = DashboardRecord(server.pid, psutil.Process(server.pid).create_time(), api.url, api.ui_url)
        _write_atomically(path, json.dumps(asdict(record)))
        if on_ready is not None:
            on_ready(record)
        while not stopping:
            if (code := server.wait(0.5)) is not None:
                return code
        return 0
    finally:
        path.unlink(missing_ok=True)
        server.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def configured_url(api_url: str | None = None) -> str | None:
    """The API that the user named: `api_url`, else Prefect's own setting from environment or profile."""
    from prefect.settings import get_current_settings

    return api_url or get_current_settings().api.url


@contextlib.contextmanager
def prefect_api(home: Path | None = None, api_url: str | None = None) -> Iterator[Callable[[], Api]]:
    """Resolve the Prefect API, start a server if there is none, and end it on leaving.

    Yields:
        a function that returns the API once it answers. A server starts in the background meanwhile, so that the caller can
        connect to Ray first and call this afterwards. It raises ServerError.
    """
    folder = prefect_home(home)
    if (url := configured_url(api_url)) is not None:
        yield lambda: _configured(url)
        return
    if (dashboard := running_dashboard(folder)) is not None:
        yield lambda: Api(dashboard.url, dashboard.ui_url, "dashboard")
        return
    server = ServerProcess(folder)
    try:
        server.start()
        yield server.wait_ready
    finally:
        server.stop()


@contextlib.contextmanager
def prefect_settings(api: Api) -> Iterator[None]:
    """Point Prefect in this process (in this context, and in threads that copy it) to `api`."""
    from prefect.settings import temporary_settings

    with temporary_settings(
        {
            "api.url": api.url,
            "ui_url": api.ui_url,
            "flows.heartbeat_frequency": HEARTBEAT_S,
            # Never a second, hidden server, whatever is asked for outside of this context.
            "server.ephemeral.enabled": False,
            "server.analytics_enabled": False,
            "logging.to_api.when_missing_flow": "ignore",
            # A server that is away for a moment costs a pause, not the run's record.
            "client.max_retries": 5,
        }
    ):
        yield


def _configured(url: str) -> Api:
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings, temporary_settings

    with temporary_settings({"api.url": url}):
        with get_client(sync_client=True) as client:
            problem = client.api_healthcheck()
        ui_url = get_current_settings().ui_url or url.removesuffix("/").removesuffix("/api")
    if problem is not None:
        raise ServerError(
            f"the Prefect API {url} (PREFECT_API_URL) does not answer: {problem!r}. Start that server, or unset the variable"
            " to use an embedded one"
        )
    return Api(url, ui_url.removesuffix("/"), "configured")


def _healthy(api_url: str) -> bool:
    try:
        # Without the environment's proxy: these servers are on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{api_url}/health", timeout=2.0) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
