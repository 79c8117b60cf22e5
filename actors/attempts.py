"""One attempt at a take after another: prepared, rendered by a gang, finished on the gang's node, and booked.

Part of the dispatcher, in its event loop. It asks the scheduler what an outcome means and tells the journal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from actors.errors import ErrorClass
from actors.finishing import Admission, Finished, finisher_on
from actors.gang import Gang, LostGang, Rendered, render
from actors.job import InputRules, JobSpec
from actors.journal import Journal
from actors.logs import AttemptLog
from actors.metrics import FarmMetrics
from actors.orders import Ledger, frame_bytes, prepare_order
from actors.placement import Cluster, confirm_ended
from actors.policy import Assignment, Verdict
from actors.processes import ProcessId
from actors.rendering import Failure, Order, Progress
from actors.scheduler import Scheduler
from infra.store import Store

Lose = Callable[[str], Awaitable[None]]
"""Ends the gang and returns when its processes are confirmed gone."""


class Attempts:
    """The attempts of one job.

    Attributes:
        stopping: set when gangs are ended on purpose: what they held is nobody's fault then.
        admissions: by gang, what it may have rendered and not yet finished.
    """

    def __init__(
        self, spec: JobSpec, store: Store, ledger: Ledger, scheduler: Scheduler, journal: Journal, metrics: FarmMetrics,
        *, life: int, changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._spec, self._store, self._ledger = spec, store, ledger
        self._scheduler, self._journal, self._metrics = scheduler, journal, metrics
        self._life, self._changed = life, changed
        self._rules = InputRules.of(spec)
        self._finishers: dict[str, tuple[Any, ProcessId]] = {}
        self._starting = asyncio.Lock()
        self._finishing: set[asyncio.Task[None]] = set()
        self._running: dict[int, dict[str, Any]] = {}
        self.admissions: dict[str, Admission] = {}
        self.stopping = False

    async def render(self, slot: int, gang: Gang, given: Assignment, lose: Lose) -> bool:
        """Renders an assigned take and hands its frames on to be finished. False when the gang is gone."""
        take, attempt = given.take.id, given.attempt
        order: Order = self._ledger.order(given, self._spec)
        log = AttemptLog(f"{_name(order)}: attempt {attempt} of job {self._spec.job_id}, epoch {self._spec.epoch}")
        log.say(f"gang {gang.id}, layout {gang.layout}, processes {', '.join(str(p.pid) for p in gang.processes)}")
        prepared = await asyncio.to_thread(prepare_order, self._store, order, self._spec, self._rules, self._life)
        order = prepared.order
        if prepared.failure is not None:
            verdict = self._scheduler.failed(take, attempt, prepared.failure.error, time.time())
            self._failed(order, log, verdict, prepared.failure, 0.0)
            return True
        if prepared.commit is not None:
            self._found(order, given, prepared.commit)
            return True
        admission, size = self.admissions[gang.id], frame_bytes(order)
        if not await admission.admit(size, unless=lambda: self.stopping):
            self._scheduler.released(take, attempt, time.time())
            return True
        handed_on = False
        try:
            handed_on, lives = await self._rendered(slot, gang, given, order, log, lose, admission, size)
            return lives
        except BaseException:  # the slot is being ended
            self._scheduler.released(take, attempt, time.time())
            raise
        finally:
            self._running.pop(take, None)
            if not handed_on:
                await admission.give_back(size)
            self._changed()

    def running(self) -> list[dict[str, Any]]:
        """The takes at work, with their stage and step."""
        return [dict(entry) for entry in self._running.values()]

    def queue(self) -> dict[str, int]:
        """Takes and bytes that gangs have rendered or render and that are not finished, now and at most (per gang)."""
        queues = list(self.admissions.values())
        return {
            "takes": sum(queue.waiting_takes for queue in queues),
            "bytes": sum(queue.waiting_bytes for queue in queues),
            "most_takes": max((queue.most_takes for queue in queues), default=0),
            "most_bytes": max((queue.most_bytes for queue in queues), default=0),
        }

    async def wake(self) -> None:
        """Gangs that wait for room look whether the job is stopping."""
        for admission in self.admissions.values():
            await admission.wake()

    async def close(self, drain_s: float | None) -> None:
        """Waits for what is being finished, ``drain_s`` at most, then ends the finishers and confirms it."""
        if self._finishing:
            await asyncio.wait(set(self._finishing), timeout=drain_s)
        self.stopping = self.stopping or bool(self._finishing)
        finishers, self._finishers = self._finishers, {}
        for finisher, _ in finishers.values():
            ray.kill(finisher)
        await confirm_ended(process for _, process in finishers.values())
        if self._finishing:  # they see their finisher gone
            await asyncio.wait(set(self._finishing))

    async def _rendered(
        self, slot: int, gang: Gang, given: Assignment, order: Order, log: AttemptLog, lose: Lose,
        admission: Admission, size: int,
    ) -> tuple[bool, bool]:  # fmt: skip
        """Returns whether the frames went on to a finisher, and whether the gang lives."""
        take, attempt, farm = given.take.id, given.attempt, self._spec.farm
        self._show(order, gang, Progress(None, "prepare", 0, int(order.get("steps") or 0), 0))
        started = datetime.now(UTC)
        try:
            done = await render(
                gang, order, self._rules, silence_s=farm.step_timeout_s, collective_s=farm.collective_timeout_s,
                on_progress=lambda progress: self._show(order, gang, progress),
            )  # fmt: skip
        except LostGang as lost:
            await self._lost(slot, gang, given, order, log, lost, lose)
            return False, False
        seconds = done.seconds * gang.shape.size
        for report in done.reports:
            log.extend(report.log)
        stages = done.reports[0].stages
        log.say("rendered in " + ", ".join(f"{stage} {spent:.2f} s" for stage, spent in stages.items() if spent))
        if done.failure is not None:
            if done.spoilt:
                await lose(f"its ranks left a take apart: {done.failure}")
            verdict = self._scheduler.failed(take, attempt, done.failure.error, time.time(), seconds)
            self._failed(order, log, verdict, done.failure, seconds)
            return False, not done.spoilt
        if not self._scheduler.rendered(take, attempt, seconds):
            self._journal.event("superseded", order)
            return False, True
        for stage, spent in stages.items():
            self._metrics.stage(stage, spent)
        facts = {
            "gang": gang.shape.size,
            "layout": gang.layout,
            "gpu_s": round(seconds, 3),
            "times": {"started": _iso(started), "rendered": _iso(datetime.now(UTC))},
        }
        finishing = asyncio.ensure_future(self._finish(gang.node_id, given, order, facts, done, log, admission, size))
        self._finishing.add(finishing)
        finishing.add_done_callback(self._finishing.discard)
        return True, True

    async def _lost(
        self, slot: int, gang: Gang, given: Assignment, order: Order, log: AttemptLog, lost: LostGang, lose: Lose
    ) -> None:
        """The take goes back only when the old processes are confirmed gone."""
        await lose(str(lost))
        seconds = lost.seconds * gang.shape.size
        log.say(f"gang lost: {lost}")
        if self.stopping:
            self._scheduler.released(given.take.id, given.attempt, time.time(), seconds)
            log.say("the job was being stopped")
            self._journal.put_log(order, log)
            return
        now = time.time()
        verdict = self._scheduler.died(slot, now, given.take.id, given.attempt, seconds, lost.error)
        self._journal.event("gang_lost", order, gang=gang.id, slot=slot, message=str(lost), error_class=str(lost.error))
        self._failed(order, log, verdict, Failure.of(lost), seconds)

    async def _finish(
        self, node: str, given: Assignment, order: Order, facts: Mapping[str, Any], done: Rendered, log: AttemptLog,
        admission: Admission, size: int,
    ) -> None:  # fmt: skip
        finisher: Any = None
        take, attempt = given.take.id, given.attempt
        try:
            finisher = await self._finisher(node)
            finished: Finished = await finisher.finish.remote(order, facts, done.frames)
            log.extend(finished.log)
            log.say("finished in " + ", ".join(f"{stage} {spent:.2f} s" for stage, spent in finished.stages.items()))
            self._finished(node, given, order, facts, finished, log)
        except RayError as error:
            if isinstance(error, RayActorError) or finisher is None:
                verdict = await self._finisher_died(node, finisher, given)
            else:
                verdict = self._scheduler.failed(take, attempt, Failure.of(error).error, time.time())
            self._failed(order, log, verdict, Failure.of(error), facts["gpu_s"])
        except Exception as error:  # a fault of ours: the take must come to an end all the same
            verdict = self._scheduler.failed(take, attempt, ErrorClass.INTERNAL, time.time())
            self._failed(order, log, verdict, Failure.of(error), facts["gpu_s"])
        finally:
            await admission.give_back(size)
            self._changed()

    def _finished(
        self, node: str, given: Assignment, order: Order, facts: Mapping[str, Any], finished: Finished, log: AttemptLog
    ) -> None:
        take, attempt = given.take.id, given.attempt
        if finished.failure is not None:
            verdict = self._scheduler.failed(take, attempt, finished.failure.error, time.time())
            self._failed(order, log, verdict, finished.failure, facts["gpu_s"])
            return
        for stage, spent in finished.stages.items():
            self._metrics.stage(stage, spent)
        self._scheduler.committed(take, attempt, adopted=finished.adopted, finisher=node)
        log.say("adopted another's commit" if finished.adopted else "committed")
        self._tell_of(order, finished.commit or {}, poster=finished.poster, adopted=finished.adopted, cached=False)
        self._journal.put_log(order, log)

    async def _finisher_died(self, node: str, finisher: Any, given: Assignment) -> Verdict:
        now, take, attempt = time.time(), given.take.id, given.attempt
        verdict = (
            self._scheduler.released(take, attempt, now)
            if self.stopping
            else self._scheduler.finisher_died(node, now, take, attempt)
        )
        if node in self._finishers and self._finishers[node][0] is finisher:
            _, process = self._finishers.pop(node)
            await confirm_ended([process])
        return verdict

    async def _finisher(self, node: str) -> Any:
        async with self._starting:
            if node not in self._finishers:
                cores = Cluster.now().nodes.get(node, {}).get("CPU", 1.0)
                finisher = finisher_on(self._spec, node, at_once=max(2, int(cores) // 4))
                self._finishers[node] = finisher, await finisher.identity.remote()
            return self._finishers[node][0]

    def _found(self, order: Order, given: Assignment, commit: Mapping[str, Any]) -> None:
        notes = commit.get("notes") or {}
        ours = commit["epoch"] == self._spec.epoch and notes.get("job_id") == self._spec.job_id
        self._scheduler.found(given.take.id, given.attempt, float(commit["gpu_s"]), ours=ours)
        self._tell_of(order, commit, poster=None, adopted=False, cached=True)
        self._changed()

    def _tell_of(
        self, order: Order, commit: Mapping[str, Any], *, poster: str | None, adopted: bool, cached: bool
    ) -> None:
        facts = {"media": commit.get("media", {}).get("path"), "poster": poster, "gpu_s": commit.get("gpu_s")}
        self._journal.event(
            "committed", order, **facts, adopted=adopted, cached=cached, log=self._journal.log_path(order)
        )

    def _failed(self, order: Order, log: AttemptLog, verdict: Verdict, failure: Failure, seconds: float) -> None:
        log.say(failure.traceback or str(failure))
        log.say(f"{failure.error}: {verdict.kind}" + (f" in {verdict.delay:.1f} s" if verdict.delay else ""))
        if verdict.kind == "quarantine":
            self._journal.quarantine(order, failure, seconds, lambda: self.stopping)
        else:
            facts = {"error_class": str(failure.error), "message": str(failure), "gpu_s": round(seconds, 3)}
            self._journal.event(verdict.kind, order, **facts, delay=verdict.delay, log=self._journal.log_path(order))
        self._journal.put_log(order, log)
        self._changed()

    def _show(self, order: Order, gang: Gang, progress: Progress) -> None:
        if progress.order not in (None, (order["id"], order["attempt"])):
            return  # an answer about the take before
        self._running[order["id"]] = {
            "show": order["show"],
            "shot_id": order["shot_id"],
            "take": order["take"],
            "attempt": order["attempt"],
            "gang": gang.id,
            "stage": progress.stage,
            "step": progress.step,
            "steps": progress.steps or int(order.get("steps") or 0),
        }


def _name(order: Order) -> str:
    return f"{order['show']}/{order['shot_id']} take {order['take']}"


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")
