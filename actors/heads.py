"""Whether the head of a Ray cluster is still there.

Ray itself ends a process whose head has not answered for 60 s, at once and with exit code 1: no lease is given back, no
view is written. So the head is looked at from a thread, and a job is given up before that, while there is time to end
it in good order. What runs on goes on without a head for that long, and is committed.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time

log = logging.getLogger(__name__)

PATIENCE_S = 30.0
"""Seconds for which a head may take no connection: one that keeps its state elsewhere may be started anew meanwhile."""
_LOOK_S = 2.0
_REACH_S = 5.0


class HeadWatch:
    """Looks at ``host:port`` until it is closed. ``lost`` says what is wrong once that is certain."""

    def __init__(self, address: str, *, patience_s: float = PATIENCE_S, look_s: float = _LOOK_S) -> None:
        self.lost: str | None = None
        self._address, self._patience_s, self._look_s = address, patience_s, look_s
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="head", daemon=True).start()

    def close(self) -> None:
        """Stops looking."""
        self._closed.set()

    def _watch(self) -> None:
        host, _, port = self._address.rpartition(":")
        seen = time.monotonic()
        while not self._closed.wait(self._look_s):
            with contextlib.suppress(OSError):  # that is what is waited for to last
                socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
                seen = time.monotonic()
            if (silent_s := time.monotonic() - seen) > self._patience_s:
                self.lost = f"the head of the Ray cluster at {self._address} has not answered for {silent_s:.0f} s"
                log.warning("%s", self.lost)
                return
