"""Waiting in an event loop until something has changed."""

from __future__ import annotations

import asyncio
import time

LOOK_S = 1.0
"""Whoever waits looks again after so long in any case."""


class Changes:
    """Wakes all who wait for anything at all: each looks for itself whether there is something to do."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    async def wait(self, due: float | None) -> None:
        """Until something changes or the next take is due, and no longer than a second.

        due: in seconds since the epoch.
        """
        wait = LOOK_S if due is None else min(LOOK_S, max(0.01, due - time.time()))
        try:
            async with asyncio.timeout(wait):
                await self._changed.wait()
        except TimeoutError:
            return

    def tell(self) -> None:
        """Something changed: every sleeper looks again."""
        self._changed.set()
        self._changed = asyncio.Event()
