"""The dispatcher of a job: reads plan and commits, has the gangs fed that the pool lends, and says how the job stands.

One Ray actor per job. It holds no truth: when it dies, the pool starts it again and it reads the store.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from typing import Any

import ray

from actors.dispatch.attempts import Attempts
from actors.dispatch.changes import Changes
from actors.dispatch.feeding import Feeding
from actors.dispatch.figures import all_shards, eta_s
from actors.dispatch.intake import Intake
from actors.dispatch.journal import OUTAGE_S, Journal
from actors.dispatch.lent import LentGangs
from actors.dispatch.orders import Ledger
from actors.finish.judging import scorer_of
from actors.finish.moderation import hook_of
from actors.gangs.rendering import Failure
from actors.job import JobSpec
from actors.metrics import FarmMetrics
from actors.processes import ProcessId
from actors.remote import actor
from actors.scheduling.policy import JobState
from actors.scheduling.scheduler import Scheduler
from infra.names import check_import_names
from infra.store import open_store

log = logging.getLogger(__name__)


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
        self._attempts: Attempts | None = None
        self._life = life
        self._lent = LentGangs(spec, pool, slots, self._scheduler, self._journal)
        self._changes = Changes()
        self._draining: asyncio.Task[None] | None = None
        self._over = False

    async def identity(self) -> ProcessId:
        """Which process this is, and where."""
        return ProcessId.own(ray.get_runtime_context().get_node_id())

    async def run(self) -> dict[str, Any]:
        """Renders the job to its end and returns the last status."""
        try:
            intake, feeding = await self._load()
            watch = asyncio.gather(self._watch(), intake.look_for_additions())
            slots = [asyncio.ensure_future(feeding.slot(number)) for number in range(self._slots)]
            slots.append(asyncio.ensure_future(feeding.copies()))
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
            "shards": all_shards(scheduler, self._ledger),
            "running": [] if self._attempts is None else self._attempts.running(),
            "gangs": len(self._lent.gangs),
            "eta_s": eta_s(scheduler, self._ledger, max(1, len(self._lent.gangs)) * self._spec.gang),
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
        self._changes.tell()
        if self._attempts is not None:
            if grace_s > 0.0:
                self._attempts.leaving.close(reason)
                await self._attempts.wake()  # those that wait for room to be finished need not begin any more
                await self._attempts.leaving.drain(grace_s, reason)
            self._attempts.leaving.stopping = True
            await self._attempts.wake()
        self._changes.tell()

    async def pause(self, reason: str) -> None:
        """Hands nothing out, lets takes at work be rendered for ``farm.drain_s``, and gives the gangs back to be ended.

        Returns at once; ``status()["pause"]["drained"]`` tells when it is so.
        """
        if self._scheduler.held is None:
            self._journal.event("paused", message=reason)
        self._scheduler.hold(reason)
        if self._draining is None and self._attempts is not None:
            self._draining = asyncio.ensure_future(self._drain(self._attempts, reason))
        self._changes.tell()

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
        self._changes.tell()

    async def vacate(self, nodes: list[str]) -> None:
        """These nodes are about to go: their gangs are ended, with what they render. May be called again and again."""
        attempts, why = self._attempts, "its node is about to go"
        if attempts is None or not (gangs := self._lent.condemn(nodes, why)):
            return
        attempts.leaving.nodes |= frozenset(nodes)
        for gang in gangs:
            self._journal.event("called_off", gang=gang.id, message=why)
        attempts.leaving.call_off(why, lambda gang, _: gang in self._lent.condemned)
        self._changes.tell()

    @property
    def _drained(self) -> bool:
        return not (self._lent.held or self._scheduler.live)

    async def _drain(self, attempts: Attempts, reason: str) -> None:
        attempts.leaving.close(reason)
        await attempts.wake()
        await attempts.leaving.drain(self._spec.farm.drain_s, reason)
        while not self._drained:
            await self._changes.wait(None)
        await attempts.finishers.free()

    # The job

    async def _load(self) -> tuple[Intake, Feeding]:
        self._ledger = ledger = await asyncio.to_thread(Ledger.read, self._store, self._spec)
        ledger.settle(self._scheduler)
        self._scheduler.unloaded = ledger.pending
        if self._spec.farm.moderation is not None:  # one that cannot be asked is told of before anything is rendered
            await asyncio.to_thread(hook_of, self._spec.farm.moderation)
        if self._spec.judging.scorer is not None:
            await asyncio.to_thread(scorer_of, self._spec.judging.scorer)
        self._attempts = attempts = Attempts(
            self._spec, self._store, ledger, self._scheduler, self._journal, self._metrics,
            life=self._life, slots=self._slots, changed=self._changes.tell,
        )  # fmt: skip
        if self._scheduler.held is not None:  # the dispatcher before was paused
            await self.pause(self._scheduler.held)
        attempts.linked.tell_of_found()
        intake = Intake(
            self._spec, self._store, ledger, self._scheduler, self._journal, attempts.linked, self._changes.tell
        )
        await intake.refill()
        self._journal.event(
            "loaded", message=f"{ledger.pending} takes to render, {len(ledger.done)} found in the store"
        )
        feeding = Feeding(
            self._spec, ledger, self._scheduler, self._journal,
            attempts=attempts, lent=self._lent, intake=intake, changes=self._changes,
        )  # fmt: skip
        return intake, feeding

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
        if self._scheduler.reason is None and (missing := await self._journal.recorded(OUTAGE_S)):
            # Nobody may take the job for done: without these records the takes would be rendered again.
            self._scheduler.stop("failed", f"the store did not take {missing} quarantine records in {OUTAGE_S:.0f} s")
        await self._journal.flush(farm.stop_s / 3)
        self._over = True
        self._tell_gauges()
        state = self._scheduler.state
        self._journal.event("ended", state=state, message=self._scheduler.reason or "")


DispatcherActor = actor(Dispatcher, num_cpus=0)


def dispatcher_name(job_id: str) -> str:
    """The name under which a job's dispatcher is found in the cluster."""
    return f"rushes-job-{job_id}"


def running_status(status: Mapping[str, Any]) -> bool:
    """Whether a status is of a job that goes on."""
    return bool(status["state"] == "running")
