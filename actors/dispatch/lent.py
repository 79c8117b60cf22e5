"""The gangs that the pool has lent to a job: the dispatcher's side of lending."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from ray.exceptions import RayTaskError

from actors.dispatch.journal import Journal
from actors.finish.finishing import Admission
from actors.gangs.draining import standing_on
from actors.gangs.gang import Gang
from actors.gangs.lending import JobPaused
from actors.gangs.placement import Cluster, GangNotBuilt, JobOver
from actors.job import JobSpec
from actors.scheduling.scheduler import Scheduler

_PLASMA_SHARE = 0.6


class LentGangs:
    """Borrows gangs, gives them back, and has lost ones ended.

    Attributes:
        gangs: those that the job has now, by id.
        borrowing: calls to the pool that wait for one.
        condemned: why gangs have to be ended as soon as nothing is rendered on them, by id.
        withdrawn: the job wants no more of them.
    """

    def __init__(self, spec: JobSpec, pool: Any, slots: int, scheduler: Scheduler, journal: Journal) -> None:
        self._spec, self._pool, self._slots = spec, pool, slots
        self._scheduler, self._journal = scheduler, journal
        self.gangs: dict[str, Gang] = {}
        self.borrowing = 0
        self.condemned: dict[str, str] = {}
        self.withdrawn = False

    @property
    def held(self) -> int:
        """Gangs that the job has, or will have soon."""
        return len(self.gangs) + self.borrowing

    async def borrow(self, slot: int) -> Gang | None:
        """A gang for a slot; None where there is none to be had, which the scheduler knows of then."""
        self.borrowing += 1
        try:
            gang: Gang = await self._pool.borrow.remote(self._spec.job_id)
        except RayTaskError as error:
            self._not_lent(slot, error)
            return None
        finally:
            self.borrowing -= 1
        self.gangs[gang.id] = gang
        self._journal.event("gang_ready", gang=gang.id, ranks=gang.shape.size, layout=gang.layout, slot=slot)
        return gang

    async def may_keep(self, gang: Gang) -> bool:
        """Whether another take may be started on it, or it has to be given back."""
        kept: bool = await self._pool.keep.remote(self._spec.job_id, gang.id)
        return kept

    async def lose(self, gang: Gang, why: str) -> None:
        """Has the pool end the gang and confirm it: only then may its take be rendered elsewhere."""
        del self.gangs[gang.id]
        await self._pool.lost.remote(self._spec.job_id, gang.id, why)

    async def hand_back(self, gang: Gang) -> None:
        """The gang is idle and well, and not needed any more."""
        await self._pool.give_back.remote(self._spec.job_id, gang.id)
        del self.gangs[gang.id]  # afterwards: a job that is being paused is drained when its gangs have ended

    async def withdraw(self) -> None:
        """The job wants no more gangs: slots that wait for one end too."""
        self.withdrawn = True
        await self._pool.withdraw.remote(self._spec.job_id)

    def condemn(self, nodes: Iterable[str], why: str) -> list[Gang]:
        """Those that stand on these nodes have to be ended. Returns the ones that nobody had said this of before."""
        gangs = [gang for gang in standing_on(self.gangs.values(), nodes) if gang.id not in self.condemned]
        self.condemned.update({gang.id: why for gang in gangs})
        return gangs

    def admission(self, gang: Gang) -> Admission:
        """How much a gang may have rendered that is not finished: its share of the node's shared memory, at most."""
        farm = self._spec.farm
        plasma = Cluster.now().nodes.get(gang.node_id, {}).get("object_store_memory", 0.0)
        neighbours = sum(1 for other in self.gangs.values() if other.node_id == gang.node_id)
        share = int(plasma * _PLASMA_SHARE / max(1, neighbours, self._slots if len(Cluster.now().nodes) == 1 else 1))
        return Admission(farm.finishing_takes, min(farm.finishing_bytes, share or farm.finishing_bytes))

    def _not_lent(self, slot: int, error: RayTaskError) -> None:
        cause = error.cause
        if isinstance(cause, JobPaused):
            return
        if isinstance(cause, JobOver):
            if not self.withdrawn:
                self._scheduler.stop("stopped", str(cause))
            return
        if not isinstance(cause, GangNotBuilt):
            raise error
        self._journal.event("gang_not_built", message=cause.message, error_class=str(cause.error), slot=slot)
        if cause.final:
            self._scheduler.stop("failed", f"no gang can be built: {cause.message}")
        else:
            self._scheduler.outcomes.died(slot, time.time(), error=cause.error)
