"""Takes that are settled without an attempt: found by way of what they started from, or given up with all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from actors.dispatch.journal import Journal
from actors.dispatch.orders import Ledger
from actors.errors import ErrorClass
from actors.gangs.rendering import Failure, name_of
from actors.job import JobSpec
from actors.logs import AttemptLog
from actors.scheduling.policy import Assignment
from actors.scheduling.scheduler import Scheduler
from actors.scheduling.takes import Take


class Linked:
    """Part of a job's dispatcher.

    Attributes:
        reasons: why takes were given up, by id.

    Args:
        ended: true once the job is over and no record may hold it up any longer.
    """

    def __init__(
        self, spec: JobSpec, ledger: Ledger, scheduler: Scheduler, journal: Journal, *, ended: Callable[[], bool]
    ) -> None:
        self._spec, self._ledger, self._scheduler, self._journal = spec, ledger, scheduler, journal
        self._ended = ended
        self.reasons: dict[int, str] = {}

    def tell_of_found(self) -> None:
        """Events of takes that stood in the store when the job was read, and whose keys its plan had left open."""
        for take, key in self._ledger.linked.items():
            order = self._ledger.order(Assignment(Take(take, ("", "")), 0), self._spec) | {"spec_key": key}
            self._journal.event("committed", order, cached=True, adopted=False, gpu_s=self._ledger.done[take])

    def bury_orphans(self) -> None:
        """Puts takes on record that are given up because all that they could start from is."""
        for orphan in self._scheduler.take_orphans():
            order = self._ledger.order(Assignment(orphan.take, 0), self._spec)
            upstream = self._ledger.order(Assignment(replace(orphan.take, id=orphan.upstream), 0), self._spec)
            reason = self.reasons.setdefault(orphan.take.id, self.reasons.get(orphan.upstream, "see its own record"))
            message = f"it comes after {name_of(upstream)}, which was given up: {reason}"
            failure = Failure(ErrorClass.INPUT, "UpstreamGivenUp", message, "")
            log = AttemptLog(f"{name_of(order)}: given up before it began, job {self._spec.job_id}")
            log.say(str(failure))
            self._journal.quarantine(order, failure, 0.0, self._ended)
            self._journal.put_log(order, log)
