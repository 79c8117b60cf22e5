"""How takes come into a job's scheduler: shard by shard as they are needed, and those that are added while it runs.

Part of the dispatcher, in its event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from actors.dispatch.journal import Journal
from actors.dispatch.linked import Linked
from actors.dispatch.orders import Additions, Ledger
from actors.job import JobSpec
from actors.scheduling.scheduler import Scheduler
from infra.store import Store
from infra.store.additions import list_additions
from infra.store.errors import StoreError

log = logging.getLogger(__name__)

LOADED_LEAST = 1024
"""Takes of a large job come into the scheduler shard by shard, when fewer than this many wait."""


class Intake:
    """The takes of a job that its scheduler does not have yet.

    Args:
        changed: called when there is more to hand out.
    """

    def __init__(
        self, spec: JobSpec, store: Store, ledger: Ledger, scheduler: Scheduler, journal: Journal, linked: Linked,
        changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._spec, self._store, self._ledger = spec, store, ledger
        self._scheduler, self._journal, self._linked, self._changed = scheduler, journal, linked, changed
        self._shards = ledger.shards_in_order()
        self._refilling = asyncio.Lock()

    async def refill(self) -> None:
        """Keeps enough takes loaded, most urgent shards first."""
        async with self._refilling:
            while self._shards and self._scheduler.waiting < LOADED_LEAST:
                takes = await asyncio.to_thread(self._ledger.takes_of, self._shards.pop(0))
                self._scheduler.add(takes)
                self._linked.bury_orphans()

    async def look_for_additions(self) -> None:
        """Takes in, while the job runs, what is added to it. What comes after its last take waits for the next run."""
        seen: list[int] = []
        while True:
            await asyncio.sleep(self._spec.farm.cancel_poll_s)
            try:
                numbers = await asyncio.to_thread(list_additions, self._store, self._spec.job_id)
                if numbers == seen:
                    continue
                found = await asyncio.to_thread(self._ledger.additions, self._store, self._spec)
            except StoreError as error:
                log.info("nobody can tell whether takes were added to %s: %s", self._spec.job_id, error)
                continue
            seen = numbers
            if found is not None and self._scheduler.state == "running":
                self.add(found)

    def add(self, found: Additions) -> None:
        """New takes, to be rendered or found done. Waits for nothing, so that the job cannot end half way through."""
        ledger, scheduler, total = self._ledger, self._scheduler, 0
        for shard, numbers in ledger.take_in(found).items():
            cached = [number for number in numbers if number in ledger.done]
            scheduler.add_settled(shard, cached=len(cached), seconds=sum(ledger.done[number] for number in cached))
            total += len(numbers)
            scheduler.unloaded += len(numbers) - len(cached)
            if shard not in self._shards:  # one that is still to be loaded is loaded with them
                scheduler.add(take for take in ledger.takes_of(shard) if take.id in set(numbers))
        self._linked.bury_orphans()
        self._journal.event("added", message=f"{total} takes were added to the job")
        self._changed()
