"""Processes that a test started, looked at from outside: each may end while it is being looked at."""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil

# What Ray leaves for up to 90 s, and Python's own; neither holds a gang or a GPU.
NOT_OURS = ("DashboardAgent", "RuntimeEnvAgent", "ray::dashboard", "multiprocessing.resource_tracker")


def descendants(pid: int) -> list[psutil.Process]:
    """Children of a process, their children, and so on; none where it is gone."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def command_line(process: psutil.Process) -> str:
    """Its words, or its name where it has none; empty for one that is gone or only waits to be reaped."""
    try:
        # Numbers are given again: another process may have this one's by now.
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return " ".join(process.cmdline()) or process.name()
    except psutil.NoSuchProcess:  # ZombieProcess is one of these
        return ""


def living(processes: Iterable[psutil.Process]) -> list[str]:
    """Command lines of those that still run, less `NOT_OURS`."""
    lines = [command_line(process) for process in processes]
    return [line[:120] for line in lines if line and not any(agent in line for agent in NOT_OURS)]


def assert_gone(processes: list[psutil.Process], within_s: float) -> None:
    """None of these lives when the time is over."""
    ends = time.monotonic() + within_s
    while (left := living(processes)) and time.monotonic() < ends:
        time.sleep(0.2)
    assert not left, f"still there after {within_s} s: {left}"
