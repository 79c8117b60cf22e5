"""Processes by identity: pid and start time, so that a pid used again is never taken for the old process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process on one node of the cluster."""

    node_id: str
    pid: int
    started: float

    @classmethod
    def own(cls, node_id: str) -> ProcessId:
        """The calling process."""
        pid = os.getpid()
        return cls(node_id, pid, psutil.Process(pid).create_time())


def is_alive(process: ProcessId) -> bool:
    """Whether this very process runs on this machine. A zombie is dead: it holds neither memory nor a device."""
    try:
        found = psutil.Process(process.pid)
        return abs(found.create_time() - process.started) < 1.0 and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def confirm_gone(
    processes: Iterable[ProcessId], *, patience_s: float = 3.0, timeout_s: float = 10.0
) -> list[ProcessId]:
    """Waits until none of these processes of this machine lives, and returns those that still do at the end.

    Those that outlive ``patience_s`` are sent SIGKILL.
    """
    began = time.monotonic()
    left = [process for process in processes if is_alive(process)]
    while left and (waited := time.monotonic() - began) < timeout_s:
        if waited > patience_s:
            for process in left:
                with suppress(ProcessLookupError):  # it went by itself just now
                    os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.02)
        left = [process for process in left if is_alive(process)]
    return left
