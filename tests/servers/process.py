"""Starting a server so that it is gone when the tests are, however they end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Between fork and exec: have the kernel kill this process when the thread that started it ends."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def start(command: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own, its output in `log`."""
    with log.open("wb") as out:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the server and to whatever it started in its session; returns when it is gone."""
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def wait_until_up(process: subprocess.Popen[bytes], up: Callable[[], bool], *, log: Path, timeout_s: float) -> None:
    """Poll `up` until it holds. RuntimeError, with the end of the log, when the server ends or the time does."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}:\n{_tail(log)}")
        if up():
            return
        time.sleep(0.1)
    kill(process)
    raise RuntimeError(f"{process.args!r} was not ready in {timeout_s:.0f} s:\n{_tail(log)}")


def answers(url: str, *, holding: bytes = b"") -> bool:
    """Whether a GET answers 200 with `holding` somewhere in the body."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return reply.status == 200 and holding in reply.read()
    except (urllib.error.URLError, OSError):
        return False


def free_ports(count: int, *, offsets: Sequence[int] = (0,), low: int = 10_000, high: int = 22_000) -> int:
    """The first of `count` neighbouring ports that are free on 127.0.0.1, each also free at every offset.

    All stay below the kernel's ephemeral ports (from 32768), so that no client takes one before the server does.
    """
    step = max(count, 1)
    first = low + (os.getpid() * 37) % (high - low) // step * step
    for base in (*range(first, high - step, step), *range(low, first, step)):
        if all(_is_free(base + i + offset) for i in range(count) for offset in offsets):
            return base
    raise RuntimeError(f"no {count} neighbouring free ports between {low} and {high}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
