"""The finishers of a job: one on each node where its gangs render, made anew when it has died.

Part of the dispatcher, in its event loop. What a finisher does is in ``actors.finish.finishing``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from actors.dispatch.booking import Booking
from actors.dispatch.leaving import Leaving
from actors.errors import ErrorClass
from actors.finish.finishing import Admission, Finished, finisher_on
from actors.gangs.gang import Rendered
from actors.gangs.placement import Cluster, confirm_ended
from actors.gangs.rendering import Failure, Order
from actors.job import JobSpec
from actors.logs import AttemptLog
from actors.processes import ProcessId
from actors.scheduling.policy import Assignment, Verdict
from actors.scheduling.scheduler import Scheduler


class Finishers:
    """Has films finished on the nodes where their frames are."""

    def __init__(
        self, spec: JobSpec, scheduler: Scheduler, booking: Booking, leaving: Leaving, changed: Callable[[], None]
    ) -> None:
        self._spec, self._scheduler, self._booking = spec, scheduler, booking
        self._leaving, self._changed = leaving, changed
        self._finishers: dict[str, tuple[Any, ProcessId]] = {}
        self._starting = asyncio.Lock()

    async def finish(
        self, node: str, given: Assignment, order: Order, facts: Mapping[str, Any], done: Rendered, log: AttemptLog,
        admission: Admission, size: int,
    ) -> None:  # fmt: skip
        """Has a take finished that a gang on this node has rendered, and books what comes of it."""
        finisher: Any = None
        take, attempt = given.take.id, given.attempt
        try:
            finisher = await self._on(node)
            finished: Finished = await finisher.finish.remote(order, facts, done.frames)
            log.extend(finished.log)
            log.say("finished in " + ", ".join(f"{stage} {spent:.2f} s" for stage, spent in finished.stages.items()))
            self._booking.finished(node, given, order, facts, finished, log)
        except RayError as error:
            if isinstance(error, RayActorError) or finisher is None:
                verdict = await self._died(node, finisher, given)
            else:
                verdict = self._scheduler.outcomes.failed(take, attempt, Failure.of(error).error, time.time())
            self._booking.failed(order, log, verdict, Failure.of(error), facts["gpu_s"])
        except Exception as error:  # a fault of ours: the take must come to an end all the same
            verdict = self._scheduler.outcomes.failed(take, attempt, ErrorClass.INTERNAL, time.time())
            self._booking.failed(order, log, verdict, Failure.of(error), facts["gpu_s"])
        finally:
            await admission.give_back(size)
            self._changed()

    async def free(self) -> None:
        """Ends the finishers, which are made anew when there is something to finish. Nothing may be in work."""
        finishers, self._finishers = self._finishers, {}
        for finisher, _ in finishers.values():
            ray.kill(finisher)
        await confirm_ended(process for _, process in finishers.values())

    async def _died(self, node: str, finisher: Any, given: Assignment) -> Verdict:
        now, take, attempt = time.time(), given.take.id, given.attempt
        verdict = (
            self._scheduler.outcomes.released(take, attempt, now)
            if self._leaving.stopping or node in self._leaving.nodes
            else self._scheduler.outcomes.finisher_died(node, now, take, attempt)
        )
        if node in self._finishers and self._finishers[node][0] is finisher:
            _, process = self._finishers.pop(node)
            await confirm_ended([process])
        return verdict

    async def _on(self, node: str) -> Any:
        async with self._starting:
            if node not in self._finishers:
                cores = Cluster.now().nodes.get(node, {}).get("CPU", 1.0)
                finisher = finisher_on(self._spec, node, at_once=max(2, int(cores) // 4))
                self._finishers[node] = finisher, await finisher.identity.remote()
            return self._finishers[node][0]
