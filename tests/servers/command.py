"""The `rushes` command in a subprocess, with an environment that holds nothing of the developer's own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers.process import die_with_parent


@dataclass(frozen=True)
class CliResult:
    """How a command ended."""

    args: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Standard output as JSON; AssertionError, with both streams, when it is not."""
        try:
            return json.loads(self.stdout)
        except ValueError as error:
            raise AssertionError(f"stdout is not JSON ({error})\n{self}") from error

    def __str__(self) -> str:
        return f"rushes {' '.join(self.args)} -> {self.rc}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


@dataclass
class RunCli:
    """Call it to run a command to its end; `start` leaves it running. Commands share one home for the test run."""

    home: Path
    cwd: Path
    _running: list[subprocess.Popen[str]] = field(default_factory=list, repr=False)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The clean environment, with `extra` on top."""
        kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR", "RAY_AUTH_MODE") if name in os.environ}
        return {
            **kept,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "/usr/bin:/bin")]),
            "HOME": str(self.home),
            "PREFECT_HOME": str(self.home / ".prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "RAY_USAGE_STATS_ENABLED": "0",
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "COLUMNS": "160",
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
            **(extra or {}),
        }

    def start(
        self, *args: str | os.PathLike[str], env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[str]:
        """Start the command in a session of its own and leave it running; it dies with the tests at the latest."""
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "rushes"), *map(os.fspath, args)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(env),
            cwd=cwd or self.cwd,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        self._running.append(process)
        return process

    def __call__(
        self,
        *args: str | os.PathLike[str],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 240,
        check: int | None = None,
    ) -> CliResult:
        """Run to the end. With `check`, AssertionError unless that is the exit code."""
        process = self.start(*args, env=env, cwd=cwd)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            _kill(process)
            stdout, stderr = process.communicate()
            stderr += f"\n(killed after {timeout:.0f} s)"
        result = CliResult(tuple(map(os.fspath, args)), process.returncode, stdout, stderr)
        assert check is None or result.rc == check, f"wanted exit {check}\n{result}"
        return result

    def end_all(self) -> None:
        """Kill what a test left running."""
        for process in self._running:
            if process.poll() is None:
                _kill(process)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
