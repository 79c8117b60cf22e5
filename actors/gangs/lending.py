"""Lending gangs: who gets the next one, what stays warm, what has to make room. The pool's half that knows gangs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from actors.gangs.draining import standing_on
from actors.gangs.gang import Gang
from actors.gangs.placement import GangNotBuilt, JobOver, NoRoom, end, place, release, responsive, start
from actors.job import GangShape

log = logging.getLogger(__name__)

IDLE_S = 300.0
"""Seconds for which a gang that nobody uses stays warm."""
SHARE_S = 5.0
"""Seconds for which a job keeps a gang before it hands it to a job that has too few, at the end of a take."""
_PLACE_S = 2.0


class JobPaused(Exception):
    """The job is paused: it gets gangs again when it goes on."""


@dataclass(eq=False)
class Borrower:
    """A job, as far as lending is concerned.

    Attributes:
        closed: it gets no more gangs, because it is being stopped or needs none.
        paused: it gets none for the time being.
        starved: calls of it that wait for room.
    """

    name: str
    shape: GangShape
    load_s: float
    closed: bool = False
    paused: bool = False
    starved: int = 0
    builds: set[asyncio.Task[Gang]] = field(default_factory=set)

    @property
    def turned_away(self) -> bool:
        """It gets no gang now."""
        return self.closed or self.paused

    def no_gang(self) -> JobOver | JobPaused:
        """What to tell whoever waits for a gang on its behalf."""
        return JobOver(f"job {self.name} is over") if self.closed else JobPaused(f"job {self.name} is paused")


@dataclass(eq=False)
class _Kept:
    gang: Gang
    by: Borrower | None
    since: float = field(default_factory=time.monotonic)


class Lender:
    """All gangs of a cluster. One event loop."""

    def __init__(self) -> None:
        self._borrowers: set[Borrower] = set()
        self._gangs: dict[str, _Kept] = {}
        self._placing = asyncio.Lock()
        self._changed = asyncio.Event()

    def admit(self, borrower: Borrower) -> None:
        self._borrowers.add(borrower)

    def close(self, borrower: Borrower) -> None:
        """No more gangs for it: whoever waits for one on its behalf gets JobOver, and builds for it are given up."""
        borrower.closed = True
        self._turn_away(borrower)

    def pause(self, borrower: Borrower) -> None:
        """The same with JobPaused, until `resume`. Gangs that it holds are ended as it gives them back."""
        borrower.paused = True
        self._turn_away(borrower)

    def resume(self, borrower: Borrower) -> None:
        borrower.paused = False
        self._notify()

    def _turn_away(self, borrower: Borrower) -> None:
        for build in borrower.builds:
            build.cancel()
        self._notify()

    async def end_all(self, borrower: Borrower) -> None:
        """Ends every gang that it holds or that is being built for it. Returns when processes of those that it held are
        confirmed gone.
        """
        for build in borrower.builds:
            build.cancel()
        await asyncio.gather(*(self._end(kept) for kept in self._kept_by(borrower)))

    def dismiss(self, borrower: Borrower) -> None:
        self._borrowers.discard(borrower)

    def held(self, borrower: Borrower) -> int:
        return sum(1 for _ in self._kept_by(borrower))

    async def borrow(self, borrower: Borrower) -> Gang:
        """A gang of the borrower's shape: an idle one, else a new one, else the next that comes free.

        Raises JobOver, JobPaused, GangNotBuilt.
        """
        starved = False
        try:
            while not borrower.turned_away:
                if self._in_turn(borrower):
                    gang = await self._idle(borrower) or await self._build(borrower)
                    if gang is not None:
                        return gang
                    if await self._evict(borrower):
                        continue
                    if not starved:
                        starved, borrower.starved = True, borrower.starved + 1
                await at_most(1.0, self._changed.wait())
        finally:
            borrower.starved -= starved
        raise borrower.no_gang()

    def may_keep(self, borrower: Borrower, gang_id: str) -> bool:
        """Whether it may start another take on a gang, or has to give it back because another job has too few."""
        kept = self._gangs.get(gang_id)
        if kept is None or kept.by is not borrower:
            return False
        if time.monotonic() - kept.since < SHARE_S:
            return True
        mine = self.held(borrower)
        others = ((other, self.held(other)) for other in self._borrowers if other is not borrower and other.starved)
        return not any(held == 0 or held + 1 < mine for _, held in others)

    async def give_back(self, borrower: Borrower, gang_id: str, *, end: bool) -> None:
        """The gang is idle and well. It stays warm unless ``end``."""
        kept = self._gangs.get(gang_id)
        if kept is not None and kept.by is borrower:
            if end:
                await self._end(kept)
            else:
                kept.by, kept.since = None, time.monotonic()
        self._notify()

    async def lost(self, borrower: Borrower, gang_id: str) -> None:
        """Ends a gang that is not well. Returns when its processes are confirmed gone."""
        kept = self._gangs.get(gang_id)
        if kept is not None and kept.by is borrower:
            await self._end(kept)
        self._notify()

    async def end_stale(self) -> None:
        """Ends gangs that nobody has used for long."""
        now = time.monotonic()
        stale = [kept for kept in self._gangs.values() if kept.by is None and now - kept.since > IDLE_S]
        await asyncio.gather(*(self._end(kept) for kept in stale))

    async def vacate(self, nodes: Iterable[str]) -> set[str]:
        """Ends idle gangs on nodes that are about to go, and returns the names of the jobs that hold others there."""
        there = {gang.id for gang in standing_on((kept.gang for kept in self._gangs.values()), nodes)}
        kept_there = [kept for kept in self._gangs.values() if kept.gang.id in there]
        await asyncio.gather(*(self._end(kept) for kept in kept_there if kept.by is None))
        return {kept.by.name for kept in kept_there if kept.by is not None}

    def describe(self) -> list[dict[str, Any]]:
        """Every gang: id, job (None when idle), size, layout, and (node, pid) of its processes."""
        return [
            {
                "id": kept.gang.id,
                "job": kept.by and kept.by.name,
                "size": kept.gang.shape.size,
                "layout": kept.gang.layout,
                "processes": [(process.node_id, process.pid) for process in kept.gang.processes],
            }
            for kept in self._gangs.values()
        ]

    async def _idle(self, borrower: Borrower) -> Gang | None:
        for kept in [kept for kept in self._gangs.values() if kept.by is None and kept.gang.shape == borrower.shape]:
            if kept.by is not None:
                continue  # taken while another was looked at
            kept.by, kept.since = borrower, time.monotonic()  # before anything is awaited
            if await responsive(kept.gang) and not borrower.turned_away:
                return kept.gang
            await self._end(kept)
        return None

    async def _build(self, borrower: Borrower) -> Gang | None:
        """A new gang; None when there is no room for one now."""
        try:
            async with self._placing:  # one at a time: two half-placed gangs could wait for each other for ever
                placed = await place(borrower.shape, patience_s=_PLACE_S)
        except NoRoom:
            return None
        build = asyncio.ensure_future(start(borrower.shape, placed, load_s=borrower.load_s))
        borrower.builds.add(build)
        if borrower.turned_away:
            build.cancel()
        try:
            gang = await build
        except asyncio.CancelledError:
            # A build that was cancelled before its first step, or that ended just now, gives nothing back itself.
            await release(placed)
            raise borrower.no_gang() from None
        except GangNotBuilt:
            self._notify()
            raise
        finally:
            borrower.builds.discard(build)
        kept = self._gangs[gang.id] = _Kept(gang, borrower)
        if borrower.turned_away:
            await self._end(kept)
            raise borrower.no_gang()
        return gang

    async def _evict(self, borrower: Borrower) -> bool:
        """Ends the gang of another shape that has been idle longest, to make room. False when there is none."""
        idle = [kept for kept in self._gangs.values() if kept.by is None and kept.gang.shape != borrower.shape]
        if not idle:
            return False
        await self._end(min(idle, key=lambda kept: kept.since))
        return True

    async def _end(self, kept: _Kept) -> None:
        self._gangs.pop(kept.gang.id, None)
        left = await end(kept.gang)
        if left:
            log.error("gang %s: not confirmed gone: %s", kept.gang.id, left)

    def _in_turn(self, borrower: Borrower) -> bool:
        """No other job waits that holds fewer gangs."""
        mine = self.held(borrower)
        return not any(other.starved and self.held(other) < mine for other in self._borrowers if other is not borrower)

    def _kept_by(self, borrower: Borrower) -> Iterator[_Kept]:
        return (kept for kept in list(self._gangs.values()) if kept.by is borrower)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def at_most(seconds: float, what: Any) -> None:
    """Waits for something, but not for longer than that."""
    try:
        async with asyncio.timeout(seconds):
            await what
    except TimeoutError:
        return
