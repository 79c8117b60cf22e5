"""The pool: one per Ray cluster. It alone creates gangs and admits jobs, so gangs stay warm from job to job, and no two
jobs ever wait for each other's half of a placement.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from actors.dispatcher import DispatcherActor, dispatcher_name
from actors.gang import Gang
from actors.job import NAMESPACE, GangShape, JobSpec
from actors.placement import (
    Cluster,
    GangNotBuilt,
    JobOver,
    NoRoom,
    confirm_ended,
    end,
    place,
    responsive,
    shape_for,
    start,
)
from actors.processes import ProcessId
from actors.remote import actor
from infra.names import check_import_names

log = logging.getLogger(__name__)

POOL_NAME = "rushes-pool"
IDLE_S = 300.0
"""Seconds for which a gang that nobody uses stays warm."""
SHARE_S = 5.0
"""Seconds for which a job keeps a gang before it hands it to a job that has too few, at the end of a take."""
LIVES = 4
"""How often a job's dispatcher is started before the job is given up."""
_PLACE_S = 2.0


class JobRefused(Exception):
    """The pool does not take this job: another owner has it, or the job is not known."""


@dataclass
class _Job:
    spec: JobSpec
    shape: GangShape
    at_once: int
    heard: float = field(default_factory=time.monotonic)
    dispatcher: Any = None
    process: ProcessId | None = None
    runner: asyncio.Task[None] | None = None
    result: dict[str, Any] | None = None
    stopping: bool = False
    withdrawn: bool = False
    starved: int = 0
    builds: set[asyncio.Task[Gang]] = field(default_factory=set)

    @property
    def live(self) -> bool:
        return not self.stopping and self.result is None


@dataclass
class _Kept:
    gang: Gang
    job: str | None
    since: float = field(default_factory=time.monotonic)


class Pool:
    """Runs as a named detached actor. All state is in memory: when the pool dies, its gangs die with it."""

    def __init__(self) -> None:
        check_import_names()
        logging.getLogger().setLevel(logging.INFO)
        self._jobs: dict[str, _Job] = {}
        self._gangs: dict[str, _Kept] = {}
        self._placing = asyncio.Lock()
        self._changed = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None

    # Called by clients

    async def submit(self, spec: JobSpec) -> None:
        """Admits a job and starts it. The same owner may submit again; a higher epoch takes over.

        Raises PlacementImpossible, JobRefused, ValueError for limits that contradict each other.
        """
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
        shape, at_once = shape_for(spec, Cluster.now())
        await self.close(spec.job_id)
        job = self._jobs[spec.job_id] = _Job(spec, shape, at_once)
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

    async def dispatcher(self, job_id: str) -> Any:
        """The dispatcher's handle; None while it is being started again."""
        return self._known(job_id).dispatcher

    async def result(self, job_id: str) -> dict[str, Any] | None:
        """The last status of a job that is over; None while it runs."""
        return self._known(job_id).result

    async def stop(self, job_id: str, reason: str) -> None:
        """Ends a job: its gangs at once, what is being finished after a moment. Returns when all that is gone."""
        job = self._known(job_id)
        if job.result is not None or job.runner is None:
            return
        began = time.monotonic()
        job.stopping = True
        self._notify()
        if job.dispatcher is not None:
            await _at_most(3.0, job.dispatcher.stop.remote("stopped", reason))
        for build in job.builds:
            build.cancel()
        await self._end_gangs(job)
        left = job.spec.farm.stop_s - (time.monotonic() - began)
        await asyncio.wait([job.runner], timeout=max(1.0, left * 0.8))
        if not job.runner.done() and job.dispatcher is not None:
            log.warning("the dispatcher of %s does not end: killing it", job_id)
            ray.kill(job.dispatcher)  # its finishers are its own, and go with it
            await asyncio.wait([job.runner])

    async def close(self, job_id: str) -> None:
        """Forgets a job, and stops it first where it still runs. Idle gangs stay."""
        job = self._jobs.get(job_id)
        if job is None:
            return
        if job.result is None:
            await self.stop(job_id, "closed")
        if job.dispatcher is not None:
            ray.kill(job.dispatcher)
        if job.process is not None:
            await confirm_ended([job.process])
        if self._jobs.get(job_id) is job:
            del self._jobs[job_id]

    async def describe(self) -> dict[str, Any]:
        """Jobs and gangs, for ``doctor``, ``top`` and tests."""
        return {
            "jobs": {
                name: {
                    "state": "running" if job.live else "over" if job.result else "stopping",
                    "gangs": self._held(name),
                }
                for name, job in self._jobs.items()
            },
            "gangs": [
                {
                    "id": kept.gang.id,
                    "job": kept.job,
                    "size": kept.gang.shape.size,
                    "layout": kept.gang.layout,
                    "processes": [(process.node_id, process.pid) for process in kept.gang.processes],
                }
                for kept in self._gangs.values()
            ],
        }

    # Called by dispatchers

    async def borrow(self, job_id: str) -> Gang:
        """Lends a gang of the job's shape: an idle one, else a new one, else the next that comes free.

        Raises JobOver, GangNotBuilt.
        """
        job = self._known(job_id)
        starved = False
        try:
            while job.live and not job.withdrawn:
                if self._in_turn(job_id):
                    gang = await self._idle(job) or await self._build(job)
                    if gang is not None:
                        return gang
                    if await self._evict(job):
                        continue
                    if not starved:
                        starved, job.starved = True, job.starved + 1
                await self._wait(1.0)
        finally:
            job.starved -= starved
        raise JobOver(f"job {job_id} is over")

    async def withdraw(self, job_id: str) -> None:
        """The job needs no more gangs than it has: whoever waits for one of it gets JobOver."""
        job = self._jobs.get(job_id)
        if job is not None:
            job.withdrawn = True
            for build in job.builds:
                build.cancel()
            self._notify()

    async def keep(self, job_id: str, gang_id: str) -> bool:
        """Whether a dispatcher may start another take on a gang, or has to give it back."""
        job, kept = self._jobs.get(job_id), self._gangs.get(gang_id)
        if job is None or kept is None or not job.live or kept.job != job_id:
            return False
        mine = self._held(job_id)
        return time.monotonic() - kept.since < SHARE_S or not any(
            other.starved and (self._held(name) == 0 or self._held(name) + 1 < mine)
            for name, other in self._jobs.items()
            if name != job_id and other.live
        )

    async def give_back(self, job_id: str, gang_id: str) -> None:
        """The gang is idle and well. It stays warm, unless its job was stopped: then nothing of it may be left."""
        kept = self._gangs.get(gang_id)
        if kept is None or kept.job != job_id:
            return
        job = self._jobs.get(job_id)
        if job is None or job.stopping:
            await self._end(kept)
        else:
            kept.job, kept.since = None, time.monotonic()
        self._notify()

    async def lost(self, job_id: str, gang_id: str, why: str) -> None:
        """Ends a gang that is not well. Returns when its processes are confirmed gone."""
        kept = self._gangs.get(gang_id)
        if kept is not None and kept.job == job_id:
            log.warning("gang %s of %s is ended: %s", gang_id, job_id, why)
            await self._end(kept)
        self._notify()

    # Inside

    async def _run(self, job: _Job) -> None:
        """A job from its first dispatcher to its last status."""
        spec, reason = job.spec, ""
        for life in range(LIVES):
            try:
                job.dispatcher = await self._start_dispatcher(job, life)
                job.process = await job.dispatcher.identity.remote()
                job.result = await job.dispatcher.run.remote()
                break
            except RayActorError as error:
                reason = f"the dispatcher died: {' '.join(str(error).split())[:300]}"
            except RayError as error:
                reason = f"the dispatcher failed: {error}"
            job.dispatcher = None
            await self._end_gangs(job)  # they render for nobody now
            if job.stopping:
                break
            log.warning("%s: %s", spec.job_id, reason)
        if job.result is None:
            state = "stopped" if job.stopping else "failed"
            job.result = {"job_id": spec.job_id, "state": state, "error": reason}
        await self._end_gangs(job)
        self._notify()

    async def _start_dispatcher(self, job: _Job, life: int) -> Any:
        me = ray.get_runtime_context().current_actor
        name = dispatcher_name(job.spec.job_id)
        for _ in range(50):
            try:
                return DispatcherActor.options(name=name, namespace=NAMESPACE).remote(job.spec, me, job.at_once, life)
            except ValueError:  # the name of the one that died is not free yet
                await asyncio.sleep(0.1)
        raise RayError(f"the name {name} is taken in this cluster")

    async def _idle(self, job: _Job) -> Gang | None:
        for kept in [kept for kept in self._gangs.values() if kept.job is None and kept.gang.shape == job.shape]:
            kept.job, kept.since = job.spec.job_id, time.monotonic()  # before anything is awaited: it is taken
            if await responsive(kept.gang) and job.live:
                return kept.gang
            await self._end(kept)
        return None

    async def _build(self, job: _Job) -> Gang | None:
        """A new gang, lent to the job; None when there is no room for one now."""
        try:
            async with self._placing:
                placed = await place(job.shape, patience_s=_PLACE_S)
        except NoRoom:
            return None
        build = asyncio.ensure_future(start(job.shape, placed, load_s=job.spec.farm.load_timeout_s))
        job.builds.add(build)
        try:
            gang = await build
        except asyncio.CancelledError:
            raise JobOver(f"job {job.spec.job_id} is over") from None
        except GangNotBuilt:
            self._notify()
            raise
        finally:
            job.builds.discard(build)
        kept = self._gangs[gang.id] = _Kept(gang, job.spec.job_id)
        if not job.live:
            await self._end(kept)
            raise JobOver(f"job {job.spec.job_id} is over")
        return gang

    async def _evict(self, job: _Job) -> bool:
        """Ends the gang of another shape that has been idle longest, to make room. False when there is none."""
        idle = [kept for kept in self._gangs.values() if kept.job is None and kept.gang.shape != job.shape]
        if not idle:
            return False
        await self._end(min(idle, key=lambda kept: kept.since))
        return True

    async def _end_gangs(self, job: _Job) -> None:
        mine = [kept for kept in self._gangs.values() if kept.job == job.spec.job_id]
        await asyncio.gather(*(self._end(kept) for kept in mine))

    async def _end(self, kept: _Kept) -> None:
        self._gangs.pop(kept.gang.id, None)
        left = await end(kept.gang)
        if left:
            log.error("gang %s: not confirmed gone: %s", kept.gang.id, left)

    async def _watch(self) -> None:
        """Ends jobs whose owner fell silent, and gangs that nobody has used for long."""
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            silent = [name for name, job in self._jobs.items() if now - job.heard > job.spec.farm.heartbeat_lapse_s]
            for name in silent:
                log.warning("job %s: no heartbeat of its owner, ending it", name)
            idle = [kept for kept in self._gangs.values() if kept.job is None and now - kept.since > IDLE_S]
            done = await asyncio.gather(
                *(self.close(name) for name in silent), *(self._end(kept) for kept in idle), return_exceptions=True
            )
            for error in done:
                if isinstance(error, BaseException):
                    log.error("the pool could not clean up", exc_info=error)

    def _in_turn(self, job_id: str) -> bool:
        """No other job waits that holds fewer gangs."""
        mine = self._held(job_id)
        return not any(
            other.starved and self._held(name) < mine
            for name, other in self._jobs.items()
            if name != job_id and other.live
        )

    def _held(self, job_id: str) -> int:
        return sum(kept.job == job_id for kept in self._gangs.values())

    def _known(self, job_id: str) -> _Job:
        if job_id not in self._jobs:
            raise JobRefused(f"the pool knows no job {job_id}")
        return self._jobs[job_id]

    async def _wait(self, timeout_s: float) -> None:
        await _at_most(timeout_s, self._changed.wait())

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _at_most(seconds: float, what: Any) -> None:
    """Waits for something, but not for ever; a Ray error of it is somebody else's to notice."""
    try:
        async with asyncio.timeout(seconds):
            await what
    except (TimeoutError, RayActorError):
        return


PoolActor = actor(Pool, num_cpus=0)
