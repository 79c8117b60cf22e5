"""Takes that leave their gangs on purpose: for a pause or a stop, with a node that is to go, or because another won.

For the dispatcher's event loop. What is asked of a gang is that its take ends; what becomes of gang and take then is
the business of whoever rendered it (``actors.dispatch.attempts``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from actors.errors import ErrorClass
from actors.gangs.gang import Gang, LostGang, Rendered
from actors.gangs.rendering import Progress

LOOK_S = 0.25


class CalledOff(LostGang):
    """A render was ended on purpose. Nobody's fault, but its gang is in the middle of a take and has to be ended."""


class Pace:
    """How fast a render takes its steps. Pure: times come in as seconds."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None
        self._last: tuple[int, float] = (0, 0.0)
        self._steps = 0

    def seen(self, progress: Progress, now: float) -> None:
        """Where the render stands; anything but denoising has no steps that tell of an end."""
        if progress.stage != "denoise":
            self._first = None
        elif self._first is None or progress.step < self._last[0]:  # another piece of a long take
            self._first = self._last = (progress.step, now)
        elif progress.step > self._last[0]:
            self._last = (progress.step, now)
        self._steps = progress.steps

    def remaining(self, now: float) -> float | None:
        """Seconds of denoising that are left; None while nobody can tell."""
        if self._first is None or self._last[0] == self._first[0]:
            return None
        a_step = (self._last[1] - self._first[1]) / (self._last[0] - self._first[0])
        return max(0.0, (self._steps - self._last[0]) * a_step - (now - self._last[1]))


@dataclass(eq=False)
class _AtWork:
    name: tuple[int, int]
    pace: Pace = field(default_factory=Pace)
    called_off: asyncio.Event = field(default_factory=asyncio.Event)
    why: str = ""


class Leaving:
    """What the gangs of a job are rendering now, and how to end it.

    Attributes:
        closed: why no take may begin to be rendered, None while it may.
        stopping: set when gangs are ended on purpose: what they held is nobody's fault then.
        nodes: nodes that are to go; what dies there is nobody's fault.
    """

    def __init__(self) -> None:
        self._at_work: dict[str, _AtWork] = {}
        self.closed: str | None = None
        self.stopping = False
        self.nodes: frozenset[str] = frozenset()

    @property
    def ending(self) -> bool:
        """Whether the job is being stopped or paused."""
        return self.stopping or self.closed is not None

    async def unless_called_off(self, gang: Gang, name: tuple[int, int], work: Awaitable[Rendered]) -> Rendered:
        """What ``work`` gives or raises; CalledOff where it was called off before. ``name``: take and attempt."""
        entry = self._at_work[gang.id] = _AtWork(name)
        began = time.monotonic()
        rendering = asyncio.ensure_future(work)
        called_off = asyncio.ensure_future(entry.called_off.wait())
        try:
            await asyncio.wait((rendering, called_off), return_when=asyncio.FIRST_COMPLETED)
            if rendering.done():
                return rendering.result()
            raise CalledOff(entry.why, ErrorClass.GANG_LOST, time.monotonic() - began)
        finally:
            rendering.cancel()
            called_off.cancel()
            await asyncio.gather(rendering, called_off, return_exceptions=True)
            del self._at_work[gang.id]

    def moved(self, gang: Gang, progress: Progress) -> None:
        """How far a gang is with its take."""
        if gang.id in self._at_work:
            self._at_work[gang.id].pace.seen(progress, time.monotonic())

    def call_off(self, why: str, which: Callable[[str, tuple[int, int]], bool]) -> None:
        """Ends the renders of which this is true, by their gang and the take and attempt that it renders."""
        for gang, entry in self._at_work.items():
            if which(gang, entry.name):
                self._end(entry, why)

    async def drain(self, within_s: float, why: str) -> None:
        """Lets no take begin, and returns when none is rendered any more, or when `open` was called.

        Those that will not be ready in time, as far as their steps tell, are called off at once, the others then.
        """
        self.close(why)
        ends = time.monotonic() + within_s
        while self._at_work and self.closed is not None:
            now = time.monotonic()
            for entry in self._at_work.values():
                remaining = entry.pace.remaining(now)
                if now >= ends or (remaining is not None and now + remaining > ends):
                    self._end(entry, why)
            await asyncio.sleep(LOOK_S)

    def close(self, why: str) -> None:
        """No take may begin from now on."""
        self.closed = why

    def open(self) -> None:
        """Takes may begin again."""
        self.closed = None

    def _end(self, entry: _AtWork, why: str) -> None:
        if not entry.called_off.is_set():
            entry.why = why
            entry.called_off.set()
