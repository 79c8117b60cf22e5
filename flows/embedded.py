"""A Prefect server of our own, as a child process on the user's Prefect database."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

SERVER_LOG = "rushes-server.log"
START_TIMEOUT_S = 120.0
"""Long, because an empty home is migrated first: 9 to 13 s on a free machine, several times that on a busy one."""


class ServerError(RuntimeError):
    """No Prefect API can be had; says which one was tried, what it answered, and what to do. Exit code 2."""


@dataclass(frozen=True)
class Api:
    """A Prefect API that answered. `url` ends in /api; `ui_url` is where its pages are."""

    url: str
    ui_url: str
    kind: Literal["configured", "dashboard", "embedded"]

    def run_page(self, flow_run_id: object) -> str:
        """The address of a flow run's page: of the newer pages, because the older ones do not draw charts."""
        return f"{self.ui_url}/v2/runs/flow-run/{flow_run_id}"

    def artifact_page(self, artifact_id: object) -> str:
        """The address of an artifact: from the run's page it is three clicks away, by its card, key and version."""
        return f"{self.ui_url}/v2/artifacts/artifact/{artifact_id}"


def server_environment(home: Path, host: str, port: int, *, full: bool) -> dict[str, str]:
    """The environment of a server on `home`'s database.

    Args:
        full: also run what only a lasting server needs (schedules, late runs, work pools). An embedded one lives as
            long as a job.
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
        """Start the process; `wait_ready` says when it answers. Only one server of a home starts at a time, because
        the first one migrates the database.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        self._starting = (self.home / "rushes-server.lock").open("w")
        fcntl.flock(self._starting, fcntl.LOCK_EX)
        self.port = self.port or free_port(self.host)
        with (self.home / SERVER_LOG).open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(Path(__file__).with_name("server_process.py")), str(os.getpid())],
                env=server_environment(self.home, self.host, self.port, full=self.full),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A group of its own: Ctrl-C goes to the flow, which still has things to report before its server may
                # end.
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
                if is_healthy(self.api.url):
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


def is_healthy(api_url: str) -> bool:
    """Whether the API answers."""
    try:
        # Without the environment's proxy: these servers are on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{api_url}/health", timeout=2.0) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port(host: str) -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
