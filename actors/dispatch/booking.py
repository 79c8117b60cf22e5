"""What became of attempts, booked: the scheduler says what it means, the ledger and the journal are told.

Part of the dispatcher, in its event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from actors.dispatch.journal import Journal
from actors.dispatch.leaving import Leaving
from actors.dispatch.linked import Linked
from actors.dispatch.orders import Ledger
from actors.finish.finishing import Finished
from actors.gangs.rendering import Failure, Order
from actors.job import JobSpec
from actors.logs import AttemptLog
from actors.metrics import FarmMetrics
from actors.scheduling.policy import Assignment, Verdict
from actors.scheduling.scheduler import Scheduler
from infra.store.keeping import has_passed


class Booking:
    """Books the outcomes of one job's attempts.

    Args:
        changed: called after each outcome, because another take may be due now.
    """

    def __init__(
        self, spec: JobSpec, ledger: Ledger, scheduler: Scheduler, journal: Journal, metrics: FarmMetrics,
        *, linked: Linked, leaving: Leaving, changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._spec, self._ledger, self._scheduler, self._journal = spec, ledger, scheduler, journal
        self._metrics, self._linked, self._leaving, self._changed = metrics, linked, leaving, changed

    def finished(
        self, node: str, given: Assignment, order: Order, facts: Mapping[str, Any], finished: Finished, log: AttemptLog
    ) -> None:
        """A finisher is done with a take, on a node; or it was copied, on none."""
        take, attempt = given.take.id, given.attempt
        if finished.failure is not None:
            verdict = self._scheduler.outcomes.failed(take, attempt, finished.failure.error, time.time())
            self.failed(order, log, verdict, finished.failure, facts["gpu_s"])
            return
        for stage, spent in finished.stages.items():
            self._metrics.stage(stage, spent)
        self._ledger.stands(take, order["spec_key"], order.get("source"))
        passed = has_passed(finished.commit or {})
        verdict = self._scheduler.outcomes.committed(
            take, attempt, adopted=finished.adopted, finisher=node, passed=passed
        )
        log.say("adopted another's commit" if finished.adopted else "committed")
        if verdict.kind == "committed":
            self._tell_of(order, finished.commit or {}, poster=finished.poster, adopted=finished.adopted, cached=False)
            self._call_off_losers(order)
        self._journal.put_log(order, log)

    def found(self, order: Order, given: Assignment, commit: Mapping[str, Any]) -> None:
        """The take stood in the store when it was about to be rendered, or copied."""
        notes = commit.get("notes") or {}
        ours = commit["epoch"] == self._spec.epoch and notes.get("job_id") == self._spec.job_id
        self._ledger.stands(given.take.id, order["spec_key"], order.get("source"))
        verdict = self._scheduler.outcomes.found(
            given.take.id, given.attempt, float(commit["gpu_s"]), ours=ours, passed=has_passed(commit)
        )
        if verdict.kind == "committed":
            self._tell_of(order, commit, poster=None, adopted=False, cached=True)
            self._call_off_losers(order)
        self._changed()

    def failed(self, order: Order, log: AttemptLog, verdict: Verdict, failure: Failure, seconds: float) -> None:
        """An attempt came to nothing, and the scheduler has said what follows."""
        log.say(failure.traceback or str(failure))
        log.say(f"{failure.error}: {verdict.kind}" + (f" in {verdict.delay:.1f} s" if verdict.delay else ""))
        if verdict.kind == "quarantine":
            self._linked.reasons[order["id"]] = f"{failure.error}: {failure}"
            self._journal.quarantine(order, failure, seconds, lambda: self._leaving.stopping)
            self._linked.bury_orphans()
        else:
            facts = {"error_class": str(failure.error), "message": str(failure), "gpu_s": round(seconds, 3)}
            self._journal.event(verdict.kind, order, **facts, delay=verdict.delay, log=self._journal.log_path(order))
        self._journal.put_log(order, log)
        self._changed()

    def _call_off_losers(self, order: Order) -> None:
        """A take is settled: nobody needs to go on rendering it."""
        losers = {(order["id"], attempt) for attempt in self._scheduler.at_work.losers(order["id"])}
        self._leaving.call_off("another attempt at the take was committed", lambda _, name: name in losers)

    def _tell_of(
        self, order: Order, commit: Mapping[str, Any], *, poster: str | None, adopted: bool, cached: bool
    ) -> None:
        facts = {"media": commit.get("media", {}).get("path"), "poster": poster, "gpu_s": commit.get("gpu_s")}
        quality = (commit.get("notes") or {}).get("quality") or {}
        facts |= {"verdict": quality.get("verdict"), "reasons": quality.get("reasons")}
        self._journal.event(
            "committed", order, **facts, adopted=adopted, cached=cached, log=self._journal.log_path(order)
        )
        if skipped := len(self._scheduler.take_skipped()):
            message = f"{order['keep']} takes have passed: {skipped} more are not needed"
            self._journal.event("enough", order, message=message, skipped=skipped)
