"""The dispatcher of a job: reads plan and commits, feeds the gangs that the pool lends, and books what comes of it.

One Ray actor per job. It holds no truth: when it dies, the pool starts it again and it reads the store.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

import ray

from actors.attempts import Attempts
from actors.gang import Gang
from actors.job import JobSpec
from actors.journal import Journal
from actors.judging import scorer_of
from actors.lent import LentGangs
from actors.metrics import FarmMetrics
from actors.moderation import hook_of
from actors.orders import Additions, Ledger
from actors.policy import Assignment, JobState
from actors.processes import ProcessId
from actors.remote import actor
from actors.rendering import Failure
from actors.scheduler import Scheduler
from actors.tally import SHARD_COUNTS
from infra.names import check_import_names
from infra.store import open_store
from infra.store.additions import list_additions
from infra.store.errors import StoreError

log = logging.getLogger(__name__)

LOADED_MOST = 4096
LOADED_LEAST = 1024
"""Takes of a large job come into the scheduler shard by shard, when fewer than this many wait."""
_WAKE_S = 1.0


class Dispatcher:
    """Runs as a Ray actor. ``run`` is the job; the other calls look at it or end it."""

    def __init__(self, spec: JobSpec, pool: Any, slots: int, life: int) -> None:
        check_import_names()
        logging.getLogger().setLevel(logging.INFO)
        self._spec, self._slots, self._name = spec, slots, uuid.uuid4().hex
        self._store = open_store(spec.store_url, spec.store_options)
        self._metrics = FarmMetrics(spec.job_id)
        self._journal = Journal(spec, self._store, life, self._metrics)
        self._scheduler = Scheduler(spec.policy())
        self._ledger: Ledger | None = None
        self._shards: list[int] = []
        self._attempts: Attempts | None = None
        self._life = life
        self._lent = LentGangs(spec, pool, slots, self._scheduler, self._journal)
        self._changed = asyncio.Event()
        self._refill = asyncio.Lock()
        self._draining: asyncio.Task[None] | None = None
        self._over = False
        self._began = time.monotonic()

    async def identity(self) -> ProcessId:
        """Which process this is, and where."""
        return ProcessId.own(ray.get_runtime_context().get_node_id())

    async def run(self) -> dict[str, Any]:
        """Renders the job to its end and returns the last status."""
        try:
            await self._load()
            watch = asyncio.gather(self._watch(), self._look_for_additions())
            slots = [asyncio.ensure_future(self._slot(number)) for number in range(self._slots)]
            slots.append(asyncio.ensure_future(self._copy()))
            try:
                await asyncio.gather(*slots)
            finally:
                watch.cancel()
                for slot in slots:  # where one failed, the others end too
                    slot.cancel()
                await asyncio.gather(*slots, return_exceptions=True)
        except Exception as error:  # a fault of ours must end the job, not leave it hanging
            failure = Failure.of(error)
            log.exception("the dispatcher of %s failed", self._spec.job_id)
            self._scheduler.stop("failed", str(failure))
        finally:
            await self._end()
        return await self.status()

    async def status(self) -> dict[str, Any]:
        """Where the job stands. Counts of takes are disjoint: committed are this run's, cached were there before.

        `dispatcher` is a name that no other has: takes and GPU seconds are counted from its beginning.
        """
        scheduler = self._scheduler
        state: JobState = scheduler.state if self._over else "running"
        return {
            "job_id": self._spec.job_id,
            "dispatcher": self._name,
            "state": state,
            "takes": scheduler.counts(),
            "gpu_s": scheduler.accounts.as_dict(),
            "shards": self._all_shards(),
            "running": [] if self._attempts is None else self._attempts.running(),
            "gangs": len(self._lent.gangs),
            "eta_s": self._eta(),
            "error": scheduler.reason if state in ("failed", "stopped") or scheduler.reason else None,
            "superseded": scheduler.outcomes.superseded,
            "pause": None if scheduler.held is None else {"reason": scheduler.held, "drained": self._drained},
            "queue": {} if self._attempts is None else self._attempts.queue(),
        }

    async def events(self, since: int = 0) -> list[dict[str, Any]]:
        """Events numbered above ``since``, oldest first."""
        return self._journal.since(since)

    async def stop(self, state: JobState, reason: str, grace_s: float = 0.0) -> None:
        """Hands nothing out any more. Takes at work have ``grace_s`` to be rendered; those that cannot be are released
        at once. Then the pool ends the gangs; what is being finished has a moment to be committed.
        """
        self._scheduler.stop(state, reason)
        self._journal.event("stopping", message=reason)
        self._wake()
        if self._attempts is not None:
            if grace_s > 0.0:
                self._attempts.leaving.close(reason)
                await self._attempts.wake()  # those that wait for room to be finished need not begin any more
                await self._attempts.leaving.drain(grace_s, reason)
            self._attempts.leaving.stopping = True
            await self._attempts.wake()
        self._wake()

    async def pause(self, reason: str) -> None:
        """Hands nothing out, lets takes at work be rendered for ``farm.drain_s``, and gives the gangs back to be ended.

        Returns at once; ``status()["pause"]["drained"]`` tells when it is so.
        """
        if self._scheduler.held is None:
            self._journal.event("paused", message=reason)
        self._scheduler.hold(reason)
        if self._draining is None and self._attempts is not None:
            self._draining = asyncio.ensure_future(self._drain(self._attempts, reason))
        self._wake()

    async def resume(self) -> None:
        """Goes on after `pause`."""
        if self._scheduler.held is None:
            return
        if self._draining is not None:
            self._draining.cancel()
            self._draining = None
        if self._attempts is not None:
            self._attempts.leaving.open()
        self._scheduler.go_on()
        self._journal.event("resumed")
        self._wake()

    async def vacate(self, nodes: list[str]) -> None:
        """These nodes are about to go: their gangs are ended, with what they render. May be called again and again."""
        attempts, why = self._attempts, "its node is about to go"
        if attempts is None or not (gangs := self._lent.condemn(nodes, why)):
            return
        attempts.leaving.nodes |= frozenset(nodes)
        for gang in gangs:
            self._journal.event("called_off", gang=gang.id, message=why)
        attempts.leaving.call_off(why, lambda gang, _: gang in self._lent.condemned)
        self._wake()

    @property
    def _drained(self) -> bool:
        return not (self._lent.held or self._scheduler.live)

    async def _drain(self, attempts: Attempts, reason: str) -> None:
        attempts.leaving.close(reason)
        await attempts.wake()
        await attempts.leaving.drain(self._spec.farm.drain_s, reason)
        while not self._drained:
            await self._sleep(None)
        await attempts.finishers.free()

    # The job

    async def _load(self) -> None:
        ledger = await asyncio.to_thread(Ledger.read, self._store, self._spec)
        self._ledger, self._shards = ledger, ledger.shards_in_order()
        ledger.settle(self._scheduler)
        self._scheduler.unloaded = ledger.pending
        if self._spec.farm.moderation is not None:  # one that cannot be asked is told of before anything is rendered
            await asyncio.to_thread(hook_of, self._spec.farm.moderation)
        if self._spec.judging.scorer is not None:
            await asyncio.to_thread(scorer_of, self._spec.judging.scorer)
        self._attempts = Attempts(
            self._spec, self._store, ledger, self._scheduler, self._journal, self._metrics,
            life=self._life, slots=self._slots, changed=self._wake,
        )  # fmt: skip
        if self._scheduler.held is not None:  # the dispatcher before was paused
            await self.pause(self._scheduler.held)
        self._attempts.linked.tell_of_found()
        await self._load_shards()
        self._journal.event(
            "loaded", message=f"{ledger.pending} takes to render, {len(ledger.done)} found in the store"
        )

    async def _load_shards(self) -> None:
        """Keeps enough takes loaded, most urgent shards first."""
        async with self._refill:
            while self._shards and self._ledger is not None and self._scheduler.waiting < LOADED_LEAST:
                takes = await asyncio.to_thread(self._ledger.takes_of, self._shards.pop(0))
                self._scheduler.add(takes)
                if self._attempts is not None:
                    self._attempts.linked.bury_orphans()

    async def _look_for_additions(self) -> None:
        """Takes in, while the job runs, what is added to it. What comes after its last take waits for the next run."""
        seen: list[int] = []
        while True:
            await asyncio.sleep(self._spec.farm.cancel_poll_s)
            try:
                numbers = await asyncio.to_thread(list_additions, self._store, self._spec.job_id)
                if numbers == seen or self._ledger is None:
                    continue
                found = await asyncio.to_thread(self._ledger.additions, self._store, self._spec)
            except StoreError as error:
                log.info("nobody can tell whether takes were added to %s: %s", self._spec.job_id, error)
                continue
            seen = numbers
            if found is not None and self._scheduler.state == "running":
                self._add(self._ledger, found)

    def _add(self, ledger: Ledger, found: Additions) -> None:
        """New takes, to be rendered or found done. Waits for nothing, so that the job cannot end half way through."""
        scheduler, total = self._scheduler, 0
        for shard, numbers in ledger.take_in(found).items():
            cached = [number for number in numbers if number in ledger.done]
            scheduler.add_settled(shard, cached=len(cached), seconds=sum(ledger.done[number] for number in cached))
            total += len(numbers)
            scheduler.unloaded += len(numbers) - len(cached)
            if shard not in self._shards:  # one that is still to be loaded is loaded with them
                scheduler.add(take for take in ledger.takes_of(shard) if take.id in set(numbers))
        if self._attempts is not None:
            self._attempts.linked.bury_orphans()
        self._journal.event("added", message=f"{total} takes were added to the job")
        self._wake()

    async def _copy(self) -> None:
        """Has takes copied that share their pictures with others: no gang is asked for."""
        attempts, scheduler = self._attempts, self._scheduler
        assert attempts is not None
        while scheduler.state == "running" and not attempts.leaving.stopping:
            given = scheduler.next_gangless(time.time())
            if given is None:
                await self._sleep(scheduler.next_due(gangless=True))
            else:
                attempts.copy(given)

    async def _slot(self, slot: int) -> None:
        """One place for a gang: borrows one, feeds it, and replaces it when it is lost, until the job is over."""
        attempts = self._attempts
        assert attempts is not None
        gang: Gang | None = None
        near = None
        scheduler, lent = self._scheduler, self._lent
        scheduler.slots.add(slot)
        try:
            while scheduler.state == "running" and not scheduler.slots.retired(slot) and not attempts.leaving.stopping:
                await self._load_shards()
                if gang is not None and gang.id in lent.condemned:
                    await lent.lose(gang, lent.condemned[gang.id])
                    gang = None
                if scheduler.held is not None:
                    if gang is not None:
                        await lent.hand_back(gang)
                        gang = None
                    await self._sleep(None)
                    continue
                if gang is None:
                    if scheduler.reason or lent.withdrawn or not self._wants_gang():
                        await self._sleep(scheduler.next_due())
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
                    await self._sleep(scheduler.next_due())
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
            self._wake()
        await lent.withdraw()
        if gang is not None:
            await lent.hand_back(gang)

    def _wants_gang(self) -> bool:
        helpers = 0 if self._attempts is None else self._attempts.helping.room(time.time())
        late = self._scheduler.overdue(time.time())
        return self._lent.held < self._scheduler.waiting + self._scheduler.rendering + helpers + late

    def _tell_of_copy(self, given: Assignment) -> None:
        assert self._ledger is not None
        order = self._ledger.order(given, self._spec)
        self._journal.event("straggler", order, message="it renders for far longer than it should: a copy begins")

    # Time

    async def _sleep(self, due: float | None) -> None:
        """Until something changes or the next take is due, and no longer than a second."""
        wait = _WAKE_S if due is None else min(_WAKE_S, max(0.01, due - time.time()))
        try:
            async with asyncio.timeout(wait):
                await self._changed.wait()
        except TimeoutError:
            return

    def _wake(self) -> None:
        """Something changed: every sleeper looks again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _watch(self) -> None:
        """Metrics, once in a while."""
        while True:
            self._tell_gauges()
            await asyncio.sleep(5.0)

    def _tell_gauges(self) -> None:
        queue = {} if self._attempts is None else self._attempts.queue()
        takes, gpu_s = self._scheduler.counts(), self._scheduler.accounts.as_dict()
        self._metrics.gauges(takes, gpu_s, len(self._lent.gangs), queue.get("takes", 0), queue.get("bytes", 0))

    async def _end(self) -> None:
        farm = self._spec.farm
        if self._attempts is not None:
            stopped = self._scheduler.reason is not None
            await self._attempts.close(drain_s=farm.stop_s / 3 if stopped else None)
        await self._journal.flush(farm.stop_s / 3)
        self._over = True
        self._tell_gauges()
        state = self._scheduler.state
        self._journal.event("ended", state=state, message=self._scheduler.reason or "")

    # Figures

    def _all_shards(self) -> list[dict[str, int]]:
        rows = {row["shard"]: row for row in self._scheduler.shards()}
        if self._ledger is not None:
            for shard, total in self._ledger.shard_sizes.items():
                row = rows.setdefault(shard, {"shard": shard, **dict.fromkeys(SHARD_COUNTS, 0)})
                row["total"] = total
        return [rows[shard] for shard in sorted(rows)]

    def _eta(self) -> float | None:
        """Seconds that are left, from what the rendered takes really cost."""
        scheduler, ledger = self._scheduler, self._ledger
        left = 0.0 if ledger is None else ledger.planned - scheduler.standing.planned_settled
        if not scheduler.outcomes.planned_committed or left <= 0.0:
            return None
        pace = scheduler.accounts.rendered / scheduler.outcomes.planned_committed
        ranks = max(1, len(self._lent.gangs)) * self._spec.gang
        return round(left * pace / ranks, 1)


DispatcherActor = actor(Dispatcher, num_cpus=0)


def dispatcher_name(job_id: str) -> str:
    """The name under which a job's dispatcher is found in the cluster."""
    return f"rushes-job-{job_id}"


def running_status(status: Mapping[str, Any]) -> bool:
    """Whether a status is of a job that goes on."""
    return bool(status["state"] == "running")
