"""A Prefect server of the tests' own: its own home, database and port."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.servers import process

# Without batching the recorder costs 20 ms of the server's CPU per task run, with it 4 to 5.
BATCHING = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
}


@dataclass
class PrefectServer:
    """A running server; `url` is what PREFECT_API_URL takes."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def ui_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it on an empty database. RuntimeError when it does not come up."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = process.free_ports(1)
        self.restart()
        self.wait_until_up()

    def restart(self) -> None:
        """Start it again on its old port and database, after it has ended. Does not wait: see `wait_until_up`."""
        log = self.folder / "server.log"
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = process.start(command, log=log, env=self._settings(), cwd=self.folder)

    def wait_until_up(self) -> None:
        """Until it answers. RuntimeError when it does not come up."""
        assert self.process is not None
        log = self.folder / "server.log"
        # A busy machine needs most of a minute for the migrations of an empty database.
        process.wait_until_up(self.process, lambda: process.answers(f"{self.url}/health"), log=log, timeout_s=300)

    def stop(self) -> None:
        if self.process is not None:
            process.kill(self.process)

    def _settings(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        return {
            **kept,
            **BATCHING,
            "HOME": str(self.folder),
            "PREFECT_HOME": str(self.folder),
            "PREFECT_SERVER_API_PORT": str(self.port),  # else its pages call port 4200
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
