"""SIGINT, SIGTERM and SIGHUP as the wish to stop a job in good order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

log = logging.getLogger("rushes.signals")

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
IMPATIENT_S = 1.0
"""A terminal may send one Ctrl-C twice; a second one after this much time is meant."""


class StopSignals:
    """A context manager. Outside of the main thread it changes nothing, and only `request` stops the job.

    The first signal asks for a stop in good order. A second one leaves at once: the children die with this process, a
    farm elsewhere ends the job's gangs when the heartbeat lapses, and the store has all that was finished.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._at: float | None = None
        self.reason: str | None = None

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                self._before[number] = signal.getsignal(number)
        self.arm()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def arm(self) -> None:
        """Put the handlers in place, again where something else may have put its own there, as Ray does."""
        for number in self._before:
            signal.signal(number, self._handle)

    def tell(self, listener: Callable[[str], None]) -> None:
        """Tell this one too; at once when a stop was asked for already."""
        self._listeners.append(listener)
        if self.reason is not None:
            listener(self.reason)

    def request(self, reason: str) -> None:
        """Ask for a stop, as a signal does."""
        if self.reason is None:
            self.reason, self._at = reason, time.monotonic()
        for listener in self._listeners:
            listener(reason)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._at is not None and time.monotonic() - self._at > IMPATIENT_S:
            sys.stderr.write("leaving at once; what was finished is in the store\n")
            sys.stderr.flush()
            os._exit(130)
        if self._at is None:
            sys.stderr.write("stopping; what is finished is in the store, and the same command goes on with the rest\n")
            sys.stderr.flush()
        self.request(f"stopped by {signal.Signals(number).name}")


class LoopSignals(StopSignals):
    """The same for a job that runs beside the event loop of the main thread. A context manager of that thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop

    def __enter__(self) -> LoopSignals:
        self._put()
        return self

    def __exit__(self, *_: object) -> None:
        for number in STOPPING:
            self._loop.remove_signal_handler(number)

    def arm(self) -> None:
        """As there; any thread may call it."""
        done = threading.Event()

        def put() -> None:
            self._put()
            done.set()

        self._loop.call_soon_threadsafe(put)
        done.wait(timeout=5.0)

    def _put(self) -> None:
        for number in STOPPING:
            self._loop.remove_signal_handler(number)
            self._loop.add_signal_handler(number, self.request, f"stopped by {number.name}")
