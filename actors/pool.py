"""The pool: one per Ray cluster. It alone creates gangs and admits jobs, so gangs stay warm from job to job, and no two
jobs ever wait for each other's half of a placement.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import ray
from ray.exceptions import RayActorError, RayError

from actors.dispatch.dispatcher import DispatcherActor, dispatcher_name
from actors.gangs.draining import draining_nodes
from actors.gangs.gang import Gang
from actors.gangs.lending import Borrower, Lender, at_most
from actors.gangs.placement import Cluster, confirm_ended, shape_for
from actors.job import NAMESPACE, JobSpec
from actors.processes import ProcessId
from actors.remote import actor
from infra.names import check_import_names

log = logging.getLogger(__name__)

POOL_NAME = "rushes-pool"
LIVES = 4
"""How often a job's dispatcher is started before the job is given up."""
_STOP_CALL_S = 3.0


class JobRefused(Exception):
    """The pool does not take this job: another owner has it, or the job is not known."""


@dataclass(eq=False)
class _Job:
    spec: JobSpec
    borrower: Borrower
    slots: int
    heard: float = field(default_factory=time.monotonic)
    dispatcher: Any = None
    process: ProcessId | None = None
    runner: asyncio.Task[None] | None = None
    result: dict[str, Any] | None = None
    stopping: bool = False
    paused: str | None = None

    @property
    def state(self) -> str:
        return "over" if self.result is not None else "stopping" if self.stopping else "running"

    def is_of(self, token: str | None) -> bool:
        """Whether the owner with this token has it; without one whoever has it is meant."""
        return token is None or self.spec.owner.get("token") == token


class Pool:
    """Runs as a named detached actor. All state is in memory: when the pool dies, its gangs die with it."""

    def __init__(self) -> None:
        check_import_names()
        logging.getLogger().setLevel(logging.INFO)
        self._jobs: dict[str, _Job] = {}
        self._doors: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._lender = Lender()
        self._watcher: asyncio.Task[None] | None = None

    # Called by clients

    async def submit(self, spec: JobSpec) -> None:
        """Admits a job and starts it. The same owner may submit again; a higher epoch takes over.

        Raises PlacementImpossible, JobRefused, ValueError for limits that contradict each other.
        """
        # One after another: a job that two take over at once would run twice, the first where no heartbeat ends it.
        async with self._doors.setdefault(spec.job_id, asyncio.Lock()):
            await self._admit(spec)

    async def _admit(self, spec: JobSpec) -> None:
        known = self._jobs.get(spec.job_id)
        if known is not None and known.result is None:
            if known.spec.owner.get("token") == spec.owner.get("token") and known.spec.epoch == spec.epoch:
                return
            if spec.epoch <= known.spec.epoch:
                raise JobRefused(
                    f"job {spec.job_id} is rendered by an owner of epoch {known.spec.epoch}, this is {spec.epoch}"
                )
            await self.stop(spec.job_id, f"epoch {spec.epoch} took over")
        spec.policy()
        shape, slots = shape_for(spec, Cluster.now())
        await self.close(spec.job_id)
        borrower = Borrower(spec.job_id, shape, spec.farm.load_timeout_s)
        self._lender.admit(borrower)
        job = self._jobs[spec.job_id] = _Job(spec, borrower, slots)
        job.runner = asyncio.ensure_future(self._run(job))
        if self._watcher is None:
            self._watcher = asyncio.ensure_future(self._watch())

    async def heartbeat(self, job_id: str, token: str) -> bool:
        """The job's owner lives. False when the pool does not know the job (it was restarted, or gave the job up)."""
        job = self._jobs.get(job_id)
        if job is None or job.spec.owner.get("token") != token:
            return False
        job.heard = time.monotonic()
        return True

    # Whoever was taken over may not know of it yet: with ``token`` only its own job is meant, and JobRefused is raised
    # where another owner has it by now.

    async def dispatcher(self, job_id: str, token: str | None = None) -> Any:
        """The dispatcher's handle; None while it is being started again."""
        return self._known(job_id, token).dispatcher

    async def result(self, job_id: str, token: str | None = None) -> dict[str, Any] | None:
        """The last status of a job that is over; None while it runs."""
        return self._known(job_id, token).result

    async def pause(self, job_id: str, reason: str, token: str | None = None) -> None:
        """Lets a job's takes at work be rendered, as long as ``farm.drain_s`` allows, and frees its gangs."""
        job = self._known(job_id, token)
        if job.state != "running":
            return
        job.paused = reason
        self._lender.pause(job.borrower)
        if job.dispatcher is not None:  # one that is being started is told then
            await _or_dead(job.dispatcher.pause.remote(reason))

    async def resume(self, job_id: str, token: str | None = None) -> None:
        """A job that was paused goes on."""
        job = self._known(job_id, token)
        job.paused = None
        self._lender.resume(job.borrower)
        if job.dispatcher is not None:
            await _or_dead(job.dispatcher.resume.remote())

    async def stop(self, job_id: str, reason: str, grace_s: float = 0.0, token: str | None = None) -> None:
        """Ends a job: its gangs at once, or when takes at work that can be rendered within ``grace_s`` are, and what is
        being finished after a moment. Returns when all that is gone.
        """
        job = self._known(job_id, token)
        if job.result is not None or job.runner is None:
            return
        stop_s = job.spec.farm.stop_s
        ends = time.monotonic() + max(stop_s, grace_s + stop_s / 2)
        job.stopping = True
        self._lender.close(job.borrower)
        if job.dispatcher is not None:
            await at_most(grace_s + _STOP_CALL_S, _or_dead(job.dispatcher.stop.remote("stopped", reason, grace_s)))
        await self._lender.end_all(job.borrower)
        await asyncio.wait([job.runner], timeout=max(1.0, 0.8 * (ends - time.monotonic())))
        if not job.runner.done() and job.dispatcher is not None:
            log.warning("the dispatcher of %s does not end: killing it", job_id)
            ray.kill(job.dispatcher)  # its finishers are its own, and go with it
            await asyncio.wait([job.runner])

    async def close(self, job_id: str, token: str | None = None) -> None:
        """Forgets a job, and stops it first where it still runs. Idle gangs stay. Another owner's stays as it is."""
        job = self._jobs.get(job_id)
        if job is None or not job.is_of(token):
            return
        if job.result is None:
            await self.stop(job_id, "closed")
        if job.dispatcher is not None:
            ray.kill(job.dispatcher)
        if job.process is not None:
            await confirm_ended([job.process])
        self._lender.dismiss(job.borrower)
        if self._jobs.get(job_id) is job:
            del self._jobs[job_id]

    async def describe(self) -> dict[str, Any]:
        """Jobs (state, gangs held) and gangs, for ``doctor``, ``top`` and tests."""
        jobs = {
            name: {"state": job.state, "gangs": self._lender.held(job.borrower)} for name, job in self._jobs.items()
        }
        return {"jobs": jobs, "gangs": self._lender.describe()}

    # Called by dispatchers

    async def borrow(self, job_id: str) -> Gang:
        """Lends a gang of the job's shape. Raises JobOver, GangNotBuilt."""
        return await self._lender.borrow(self._known(job_id).borrower)

    async def withdraw(self, job_id: str) -> None:
        """The job needs no more gangs than it has: whoever waits for one of it gets JobOver."""
        self._lender.close(self._known(job_id).borrower)

    async def keep(self, job_id: str, gang_id: str) -> bool:
        """Whether a dispatcher may start another take on a gang, or has to give it back."""
        job = self._jobs.get(job_id)
        return job is not None and job.state == "running" and self._lender.may_keep(job.borrower, gang_id)

    async def give_back(self, job_id: str, gang_id: str) -> None:
        """The gang is idle and well. It stays warm, unless its job was stopped or paused: then nothing may be left."""
        job = self._known(job_id)
        await self._lender.give_back(job.borrower, gang_id, end=job.stopping or job.paused is not None)

    async def lost(self, job_id: str, gang_id: str, why: str) -> None:
        """Ends a gang that is not well. Returns when its processes are confirmed gone."""
        log.warning("gang %s of %s is ended: %s", gang_id, job_id, why)
        await self._lender.lost(self._known(job_id).borrower, gang_id)

    # Inside

    async def _run(self, job: _Job) -> None:
        """A job from its first dispatcher to its last status."""
        spec, reason = job.spec, ""
        for life in range(LIVES):
            try:
                job.dispatcher = await self._start_dispatcher(job, life)
                job.process = await job.dispatcher.identity.remote()
                if job.paused is not None:
                    await job.dispatcher.pause.remote(job.paused)
                job.result = await job.dispatcher.run.remote()
                break
            except RayActorError as error:
                reason = f"the dispatcher died: {' '.join(str(error).split())[:300]}"
            except RayError as error:
                reason = f"the dispatcher failed: {error}"
            job.dispatcher = None
            await self._lender.end_all(job.borrower)  # they render for nobody now
            if job.stopping:
                break
            job.borrower.closed = False  # the one that died may have withdrawn
            log.warning("%s: %s", spec.job_id, reason)
        if job.result is None:
            state = "stopped" if job.stopping else "failed"
            job.result = {"job_id": spec.job_id, "state": state, "error": reason}
        await self._lender.end_all(job.borrower)

    async def _start_dispatcher(self, job: _Job, life: int) -> Any:
        me = ray.get_runtime_context().current_actor
        name = dispatcher_name(job.spec.job_id)
        for _ in range(50):
            try:
                return DispatcherActor.options(name=name, namespace=NAMESPACE).remote(job.spec, me, job.slots, life)
            except ValueError:  # the name of the one that died is not free yet
                await asyncio.sleep(0.1)
        raise RayError(f"the name {name} is taken in this cluster")

    async def _watch(self) -> None:
        """Ends jobs whose owner fell silent, and gangs that nobody has used for long."""
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            silent = [name for name, job in self._jobs.items() if now - job.heard > job.spec.farm.heartbeat_lapse_s]
            for name in silent:
                log.warning("job %s: no heartbeat of its owner, ending it", name)
            chores = [*(self.close(name) for name in silent), self._lender.end_stale(), self._vacate()]
            for outcome in await asyncio.gather(*chores, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    log.error("the pool could not clean up", exc_info=outcome)

    async def _vacate(self) -> None:
        """Frees nodes that are about to go."""
        nodes = await asyncio.to_thread(draining_nodes)
        if not nodes:
            return
        for name in await self._lender.vacate(nodes):
            job = self._jobs.get(name)
            if job is not None and job.dispatcher is not None:
                await at_most(_STOP_CALL_S, _or_dead(job.dispatcher.vacate.remote(list(nodes))))

    def _known(self, job_id: str, token: str | None = None) -> _Job:
        if job_id not in self._jobs:
            raise JobRefused(f"the pool knows no job {job_id}")
        job = self._jobs[job_id]
        if not job.is_of(token):
            raise JobRefused(f"job {job_id} is rendered by another owner, of epoch {job.spec.epoch}")
        return job


async def _or_dead(call: Any) -> None:
    """Waits for a call to an actor that may be dead: whoever follows its ``run`` is told of that."""
    try:
        await call
    except RayActorError as error:
        log.info("not told, because it has died: %s", error)


PoolActor = actor(Pool, num_cpus=0)
