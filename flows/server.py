"""Which Prefect API a job talks to, and how one is started where there is none.

The order: `PREFECT_API_URL` (environment or Prefect profile), else a running `rushes dashboard` of the same Prefect
home, else an embedded server on the same database, so that last night's run is still to be seen tomorrow. An embedded
server is a child of this process and dies with it. Nothing here changes `os.environ`; our own process is told by
`temporary_settings`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from flows.embedded import Api, ServerError, ServerProcess, is_healthy

__all__ = [
    "Api",
    "DashboardRecord",
    "ServerError",
    "prefect_api",
    "prefect_settings",
    "running_dashboard",
    "serve_dashboard",
]

log = logging.getLogger("rushes.server")

DASHBOARD_PORT = 4200
DASHBOARD_RECORD = "rushes-dashboard.json"
HEARTBEAT_S = 30
"""Seconds between a run's heartbeats: the shortest that Prefect takes. The zombie automation waits for three of
them.
"""


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
    if abs(started - record.start_time) > 1.0 or not is_healthy(record.url):
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
def prefect_api(
    home: Path | None = None, api_url: str | None = None, ui_url: str | None = None
) -> Iterator[Callable[[], Api]]:
    """Resolve the Prefect API, start a server if there is none, and end it on leaving.

    Args:
        home: folder of Prefect's database; else Prefect's own choice.
        api_url: the API to use; goes before Prefect's own setting.
        ui_url: where people reach the pages of that API, when it is not where this process reaches it.

    Yields:
        a function that returns the API once it answers. A server starts in the background meanwhile, so that the
        caller can connect to Ray first and call this afterwards. It raises ServerError.

    Raises:
        ServerError: the API that the user named does not answer.
    """
    folder = prefect_home(home)
    if (url := configured_url(api_url)) is not None:
        configured = _configured(url, ui_url)
        yield lambda: configured
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
            # A server that is away for a moment costs a pause, not the run's record: 2, 4 and 8 s.
            "client.max_retries": 3,
        }
    ):
        yield


def _configured(url: str, ui_url: str | None) -> Api:
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings, temporary_settings

    with temporary_settings({"api.url": url}):
        with get_client(sync_client=True) as client:
            problem = client.api_healthcheck()
        pages = ui_url or get_current_settings().ui_url or url.removesuffix("/").removesuffix("/api")
    if problem is not None:
        raise ServerError(
            f"the Prefect API {url} (PREFECT_API_URL) does not answer: {problem!r}. Start that server, or unset the"
            " variable to use an embedded one"
        )
    return Api(url, pages.removesuffix("/"), "configured")


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
