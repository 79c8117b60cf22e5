"""Takes whose pictures are another's: prepared, copied and booked without a gang.

Part of the dispatcher, in its event loop. What a copy is, is in ``actors.chains.copies``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from actors.chains.copies import copy_take
from actors.dispatch.booking import Booking
from actors.dispatch.leaving import Leaving
from actors.dispatch.orders import Ledger
from actors.dispatch.preparing import prepare_order
from actors.finish.finishing import Finished
from actors.gangs.rendering import Failure, Order, name_of
from actors.job import InputRules, JobSpec
from actors.logs import AttemptLog
from actors.scheduling.policy import Assignment
from actors.scheduling.scheduler import Scheduler
from infra.store import Store

COPIES_MOST = 4
"""Takes that are copied from others at once."""


class Copying:
    """Has takes of one job copied."""

    def __init__(
        self, spec: JobSpec, store: Store, ledger: Ledger, scheduler: Scheduler, booking: Booking, leaving: Leaving,
        *, life: int, changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._spec, self._store, self._ledger, self._scheduler = spec, store, ledger, scheduler
        self._booking, self._leaving, self._life, self._changed = booking, leaving, life, changed
        self._rules = InputRules.of(spec)
        self._copying = asyncio.Semaphore(COPIES_MOST)

    async def copy(self, given: Assignment) -> None:
        """Copies an assigned take and books what comes of it."""
        take, attempt = given.take.id, given.attempt
        order: Order = self._ledger.order(given, self._spec)
        log = AttemptLog(f"{name_of(order)}: attempt {attempt} of job {self._spec.job_id}, epoch {self._spec.epoch}")
        try:
            async with self._copying:
                prepared = await asyncio.to_thread(
                    prepare_order, self._store, order, self._spec, self._rules, self._life,
                    ended=lambda: self._leaving.stopping,
                )  # fmt: skip
                order = prepared.order
                if prepared.commit is not None:
                    self._booking.found(order, given, prepared.commit)
                    return
                if prepared.failure is not None:
                    finished = Finished(None, failure=prepared.failure)
                else:
                    finished = await asyncio.to_thread(copy_take, self._store, order, self._spec)
            log.extend(finished.log)
            self._booking.finished("", given, order, {"gpu_s": 0.0}, finished, log)
        except Exception as error:  # a fault of ours: the take must come to an end all the same
            failure = Failure.of(error)
            verdict = self._scheduler.outcomes.failed(take, attempt, failure.error, time.time())
            self._booking.failed(order, log, verdict, failure, 0.0)
        finally:
            self._changed()
