"""The dispatcher of a job: reads plan and commits, feeds the gangs that the pool lends, and books what comes of it.

One Ray actor per job. It holds no truth: when it dies, the pool starts it again and it reads the store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import ray

from actors.attempts import Attempts
from actors.finishing import Admission
from actors.gang import Gang
from actors.job import JobSpec
from actors.journal import Journal
from actors.metrics import FarmMetrics
from actors.orders import Ledger
from actors.placement import Cluster, GangNotBuilt, JobOver
from actors.policy import JobState
from actors.processes import ProcessId
from actors.remote import actor
from actors.rendering import Failure
from actors.scheduler import Scheduler
from infra.names import check_import_names
from infra.store import open_store

log = logging.getLogger(__name__)

LOADED_MOST = 4096
LOADED_LEAST = 1024
"""Takes of a large job come into the scheduler shard by shard, when fewer than this many wait."""
_PLASMA_SHARE = 0.6
_WAKE_S = 1.0


class Dispatcher:
    """Runs as a Ray actor. ``run`` is the job; the other calls look at it or end it."""

    def __init__(self, spec: JobSpec, pool: Any, slots: int, life: int) -> None:
        check_import_names()
        logging.getLogger().setLevel(logging.INFO)
        self._spec, self._pool, self._slots = spec, pool, slots
        self._store = open_store(spec.store_url, spec.store_options)
        self._metrics = FarmMetrics(spec.job_id)
        self._journal = Journal(spec, self._store, life, self._metrics)
        self._scheduler = Scheduler(spec.policy())
        self._ledger: Ledger | None = None
        self._shards: list[int] = []
        self._attempts: Attempts | None = None
        self._life = life
        self._gangs: dict[str, Gang] = {}
        self._borrowing = 0
        self._changed = asyncio.Event()
        self._refill = asyncio.Lock()
        self._over = self._withdrawn = False
        self._began = time.monotonic()

    async def identity(self) -> ProcessId:
        """Which process this is, and where."""
        return ProcessId.own(ray.get_runtime_context().get_node_id())

    async def run(self) -> dict[str, Any]:
        """Renders the job to its end and returns the last status."""
        try:
            await self._load()
            watch = asyncio.ensure_future(self._watch())
            slots = [asyncio.ensure_future(self._slot(number)) for number in range(self._slots)]
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
        """Where the job stands. Counts of takes are disjoint: committed are this run's, cached were there before."""
        scheduler = self._scheduler
        state: JobState = scheduler.state if self._over else "running"
        return {
            "job_id": self._spec.job_id,
            "state": state,
            "takes": scheduler.counts(),
            "gpu_s": scheduler.accounts.as_dict(),
            "shards": self._all_shards(),
            "running": [] if self._attempts is None else self._attempts.running(),
            "gangs": len(self._gangs),
            "eta_s": self._eta(),
            "error": scheduler.reason if state in ("failed", "stopped") or scheduler.reason else None,
            "superseded": scheduler.superseded,
            "queue": {} if self._attempts is None else self._attempts.queue(),
        }

    async def events(self, since: int = 0) -> list[dict[str, Any]]:
        """Events numbered above ``since``, oldest first."""
        return self._journal.since(since)

    async def stop(self, state: JobState, reason: str) -> None:
        """Hands nothing out any more. The pool ends the gangs; what is being finished has a moment to be committed."""
        self._scheduler.stop(state, reason)
        self._journal.event("stopping", message=reason)
        if self._attempts is not None:
            self._attempts.stopping = True
            await self._attempts.wake()
        self._wake()

    # The job

    async def _load(self) -> None:
        ledger = await asyncio.to_thread(Ledger.read, self._store, self._spec)
        self._ledger, self._shards = ledger, ledger.shards_in_order()
        ledger.settle(self._scheduler)
        self._scheduler.unloaded = ledger.pending
        await self._load_shards()
        self._attempts = Attempts(
            self._spec, self._store, ledger, self._scheduler, self._journal, self._metrics,
            life=self._life, changed=self._wake,
        )  # fmt: skip
        self._journal.event(
            "loaded", message=f"{ledger.pending} takes to render, {len(ledger.done)} found in the store"
        )

    async def _load_shards(self) -> None:
        """Keeps enough takes loaded, most urgent shards first."""
        async with self._refill:
            while self._shards and self._ledger is not None and self._scheduler.waiting < LOADED_LEAST:
                takes = await asyncio.to_thread(self._ledger.takes_of, self._shards.pop(0))
                self._scheduler.add(takes)

    async def _slot(self, slot: int) -> None:
        """One place for a gang: borrows one, feeds it, and replaces it when it is lost, until the job is over."""
        attempts = self._attempts
        assert attempts is not None
        gang: Gang | None = None
        near = None
        scheduler = self._scheduler
        scheduler.slots.add(slot)
        try:
            while scheduler.state == "running" and not scheduler.slots.retired(slot) and not attempts.stopping:
                await self._load_shards()
                if gang is None:
                    if scheduler.reason or self._withdrawn or not self._wants_gang():
                        await self._sleep()
                        continue
                    gang = await self._borrow(slot)
                    continue
                given = scheduler.next(slot, time.time(), near)
                if given is None:
                    await self._sleep()
                else:
                    near = given.take.shape
                    if not await attempts.render(slot, gang, given, partial(self._lose, gang)):
                        gang = None
                if gang is not None and not await self._pool.keep.remote(self._spec.job_id, gang.id):
                    await self._hand_back(gang)
                    gang = None
            if scheduler.slots.retired(slot):
                self._journal.event("slot_retired", message=f"slot {slot} was given up", slot=slot)
                return  # the other slots go on
        except BaseException:  # it may be in the middle of a take: nobody else may have it
            if gang is not None and gang.id in self._gangs:
                await self._lose(gang, "its slot was ended")
            raise
        finally:
            self._wake()
        self._withdrawn = True  # the job needs no more gangs: slots that wait for one end too
        await self._pool.withdraw.remote(self._spec.job_id)
        if gang is not None:
            await self._hand_back(gang)

    def _wants_gang(self) -> bool:
        held = len(self._gangs) + self._borrowing
        return held < self._scheduler.waiting + self._scheduler.rendering

    async def _borrow(self, slot: int) -> Gang | None:
        self._borrowing += 1
        try:
            gang: Gang = await self._pool.borrow.remote(self._spec.job_id)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, JobOver):
                if not self._withdrawn:
                    self._scheduler.stop("stopped", str(cause))
                return None
            if not isinstance(cause, GangNotBuilt):
                raise
            self._journal.event("gang_not_built", message=cause.message, error_class=str(cause.error), slot=slot)
            if cause.final:
                self._scheduler.stop("failed", f"no gang can be built: {cause.message}")
            else:
                self._scheduler.died(slot, time.time(), error=cause.error)
            return None
        finally:
            self._borrowing -= 1
        self._gangs[gang.id] = gang
        assert self._attempts is not None
        if gang.id not in self._attempts.admissions:  # it may come back with films of it still being finished
            self._attempts.admissions[gang.id] = self._admission(gang)
        self._journal.event("gang_ready", gang=gang.id, ranks=gang.shape.size, layout=gang.layout, slot=slot)
        return gang

    def _admission(self, gang: Gang) -> Admission:
        farm = self._spec.farm
        plasma = Cluster.now().nodes.get(gang.node_id, {}).get("object_store_memory", 0.0)
        neighbours = sum(1 for other in self._gangs.values() if other.node_id == gang.node_id)
        share = int(plasma * _PLASMA_SHARE / max(1, neighbours, self._slots if len(Cluster.now().nodes) == 1 else 1))
        return Admission(farm.finishing_takes, min(farm.finishing_bytes, share or farm.finishing_bytes))

    async def _lose(self, gang: Gang, why: str) -> None:
        """Has the pool end the gang and confirm it: only then may its take be rendered elsewhere."""
        del self._gangs[gang.id]
        await self._pool.lost.remote(self._spec.job_id, gang.id, why)

    async def _hand_back(self, gang: Gang) -> None:
        del self._gangs[gang.id]
        await self._pool.give_back.remote(self._spec.job_id, gang.id)

    # Time

    async def _sleep(self) -> None:
        """Until something changes or the next take is due, and no longer than a second."""
        due = self._scheduler.next_due()
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
        self._metrics.gauges(takes, gpu_s, len(self._gangs), queue.get("takes", 0), queue.get("bytes", 0))

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
                row = rows.setdefault(shard, {"shard": shard, "total": 0, "done": 0, "running": 0, "failed": 0})
                row["total"] = total
        return [rows[shard] for shard in sorted(rows)]

    def _eta(self) -> float | None:
        """Seconds that are left, from what the rendered takes really cost."""
        scheduler, ledger = self._scheduler, self._ledger
        left = 0.0 if ledger is None else ledger.planned - scheduler.planned_settled
        if not scheduler.planned_committed or left <= 0.0:
            return None
        pace = scheduler.accounts.rendered / scheduler.planned_committed
        ranks = max(1, len(self._gangs)) * self._spec.gang
        return round(left * pace / ranks, 1)


DispatcherActor = actor(Dispatcher, num_cpus=0)


def dispatcher_name(job_id: str) -> str:
    """The name under which a job's dispatcher is found in the cluster."""
    return f"rushes-job-{job_id}"


def running_status(status: Mapping[str, Any]) -> bool:
    """Whether a status is of a job that goes on."""
    return bool(status["state"] == "running")
