"""Slots: places for gangs, each of which borrows one, feeds it take after take, and replaces it when it is lost.

Part of the dispatcher, in its event loop.
"""

from __future__ import annotations

import time
from functools import partial

from actors.dispatch.attempts import Attempts
from actors.dispatch.changes import Changes
from actors.dispatch.intake import Intake
from actors.dispatch.journal import Journal
from actors.dispatch.lent import LentGangs
from actors.dispatch.orders import Ledger
from actors.gangs.gang import Gang
from actors.job import JobSpec
from actors.scheduling.policy import Assignment
from actors.scheduling.scheduler import Scheduler


class Feeding:
    """Hands the takes of a job to its gangs, until the job is over."""

    def __init__(
        self, spec: JobSpec, ledger: Ledger, scheduler: Scheduler, journal: Journal,
        *, attempts: Attempts, lent: LentGangs, intake: Intake, changes: Changes,
    ) -> None:  # fmt: skip
        self._spec, self._ledger, self._scheduler, self._journal = spec, ledger, scheduler, journal
        self._attempts, self._lent, self._intake, self._changes = attempts, lent, intake, changes

    async def slot(self, slot: int) -> None:
        """One place for a gang: borrows one, feeds it, and replaces it when it is lost, until the job is over."""
        gang: Gang | None = None
        near = None
        scheduler, attempts, lent = self._scheduler, self._attempts, self._lent
        scheduler.slots.add(slot)
        try:
            while scheduler.state == "running" and not scheduler.slots.retired(slot) and not attempts.leaving.stopping:
                await self._intake.refill()
                if gang is not None and gang.id in lent.condemned:
                    await lent.lose(gang, lent.condemned[gang.id])
                    gang = None
                if scheduler.held is not None:
                    if gang is not None:
                        await lent.hand_back(gang)
                        gang = None
                    await self._changes.wait(None)
                    continue
                if gang is None:
                    if scheduler.reason or lent.withdrawn or not self._wants_gang():
                        await self._changes.wait(scheduler.next_due())
                        continue
                    gang = await lent.borrow(slot)
                    # It may come back with films of it still being finished.
                    if gang is not None and gang.id not in attempts.admissions:
                        attempts.admissions[gang.id] = lent.admission(gang)
                    continue
                given = scheduler.next(slot, time.time(), near)
                piece = attempts.helping.next(time.time()) if given is None else None
                if piece is not None:
                    if not await attempts.help(slot, gang, piece, partial(lent.lose, gang)):
                        gang = None
                elif given is None and (given := scheduler.next_copy(slot, time.time())) is None:
                    await self._changes.wait(scheduler.next_due())
                else:
                    assert given is not None
                    near = given.take.shape
                    if given.copy:
                        self._tell_of_copy(given)
                    if not await attempts.render(slot, gang, given, partial(lent.lose, gang)):
                        gang = None
                if gang is not None and not await lent.may_keep(gang):
                    await lent.hand_back(gang)
                    gang = None
            if scheduler.slots.retired(slot):
                self._journal.event("slot_retired", message=f"slot {slot} was given up", slot=slot)
                return  # the other slots go on
        except BaseException:  # it may be in the middle of a take: nobody else may have it
            if gang is not None and gang.id in lent.gangs:
                await lent.lose(gang, "its slot was ended")
            raise
        finally:
            self._changes.tell()
        await lent.withdraw()
        if gang is not None:
            await lent.hand_back(gang)

    async def copies(self) -> None:
        """Has takes copied that share their pictures with others: no gang is asked for."""
        attempts, scheduler = self._attempts, self._scheduler
        while scheduler.state == "running" and not attempts.leaving.stopping:
            given = scheduler.next_gangless(time.time())
            if given is None:
                await self._changes.wait(scheduler.next_due(gangless=True))
            else:
                attempts.copy(given)

    def _wants_gang(self) -> bool:
        helpers = self._attempts.helping.room(time.time())
        late = self._scheduler.overdue(time.time())
        return self._lent.held < self._scheduler.waiting + self._scheduler.rendering + helpers + late

    def _tell_of_copy(self, given: Assignment) -> None:
        order = self._ledger.order(given, self._spec)
        self._journal.event("straggler", order, message="it renders for far longer than it should: a copy begins")
