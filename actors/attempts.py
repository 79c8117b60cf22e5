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

from actors.copies import copy_take
from actors.errors import ErrorClass
from actors.fencing import newer_epoch
from actors.finishing import Admission, Finished, finisher_on
from actors.gang import Gang, LostGang, Rendered, render
from actors.helping import Helping
from actors.job import InputRules, JobSpec
from actors.journal import Journal
from actors.leaving import CalledOff, Leaving
from actors.linked import Linked
from actors.logs import AttemptLog
from actors.metrics import FarmMetrics
from actors.orders import Ledger, frame_bytes
from actors.pieces import HELPED
from actors.placement import Cluster, confirm_ended
from actors.policy import Assignment, Verdict
from actors.preparing import prepare_order
from actors.processes import ProcessId
from actors.rendering import Failure, Order, Progress, name_of
from actors.scheduler import Scheduler
from infra.store import Store
from infra.store.keeping import has_passed

COPIES_MOST = 4
"""Takes that are copied from others at once."""

Lose = Callable[[str], Awaitable[None]]
"""Ends the gang and returns when its processes are confirmed gone."""


class Attempts:
    """The attempts of one job.

    Attributes:
        stopping: set when gangs are ended on purpose: what they held is nobody's fault then.
        admissions: by gang, what it may have rendered and not yet finished.
        helping: long takes that other gangs may help with.
        leaving: what is rendered now, and how to end it on purpose.
        leaving_nodes: nodes that are to go; what dies there is nobody's fault.
        linked: tells of takes that are settled with others, without an attempt of their own.
    """

    def __init__(
        self, spec: JobSpec, store: Store, ledger: Ledger, scheduler: Scheduler, journal: Journal, metrics: FarmMetrics,
        *, life: int, slots: int, changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._spec, self._store, self._ledger = spec, store, ledger
        self._scheduler, self._journal, self._metrics = scheduler, journal, metrics
        self._life, self._changed = life, changed
        self._rules = InputRules.of(spec)
        self._finishers: dict[str, tuple[Any, ProcessId]] = {}
        self._starting = asyncio.Lock()
        self._finishing: set[asyncio.Task[None]] = set()
        self._running: dict[tuple[int, int], dict[str, Any]] = {}
        self._copying = asyncio.Semaphore(COPIES_MOST)
        self.linked = Linked(spec, ledger, scheduler, journal, ended=lambda: self.stopping)
        self.admissions: dict[str, Admission] = {}
        self.helping = Helping(slots - 1)
        self.leaving = Leaving()
        self.leaving_nodes: frozenset[str] = frozenset()
        self.stopping = False

    async def render(self, slot: int, gang: Gang, given: Assignment, lose: Lose) -> bool:
        """Renders an assigned take and hands its frames on to be finished. False when the gang is gone."""
        take, attempt = given.take.id, given.attempt
        order: Order = self._ledger.order(given, self._spec)
        log = AttemptLog(f"{name_of(order)}: attempt {attempt} of job {self._spec.job_id}, epoch {self._spec.epoch}")
        log.say(f"gang {gang.id}, layout {gang.layout}, processes {', '.join(str(p.pid) for p in gang.processes)}")
        prepared = await asyncio.to_thread(
            prepare_order, self._store, order, self._spec, self._rules, self._life, ended=lambda: self._closed
        )
        order = prepared.order
        if prepared.failure is not None and prepared.failure.error is ErrorClass.STORE and self._closed:
            # It waited for the store, and need not any more.
            self._scheduler.outcomes.released(take, attempt, time.time())
            return True
        if prepared.failure is not None:
            verdict = self._scheduler.outcomes.failed(take, attempt, prepared.failure.error, time.time())
            self._failed(order, log, verdict, prepared.failure, 0.0)
            return True
        if prepared.commit is not None:
            self._found(order, given, prepared.commit)
            return True
        if (epoch := await asyncio.to_thread(newer_epoch, self._store, self._spec)) is not None:
            self._scheduler.stop("failed", f"another owner has taken the job over (epoch {epoch})")
            self._scheduler.outcomes.released(take, attempt, time.time())
            return True
        admission, size = self.admissions[gang.id], frame_bytes(order)
        if not await admission.admit(size, unless=lambda: self._not_now(take, attempt)):
            self._scheduler.outcomes.released(take, attempt, time.time())
            return True
        handed_on = False
        if not given.copy:  # what helps the first attempt serves the copy too: pieces are found in the store
            self.helping.began(order, log)
        try:
            handed_on, lives = await self._rendered(slot, gang, given, order, log, lose, admission, size)
            return lives
        except BaseException:  # the slot is being ended
            self._scheduler.outcomes.released(take, attempt, time.time())
            raise
        finally:
            if not given.copy:
                self.helping.ended(take)
            self._running.pop((take, attempt), None)
            if not handed_on:
                await admission.give_back(size)
            self._changed()

    async def help(self, slot: int, gang: Gang, order: Order, lose: Lose) -> bool:
        """Has a gang make one piece of a long take that another renders. False when the gang is gone."""
        farm, shot = self._spec.farm, (order["show"], order["shot_id"])
        accounts = self._scheduler.accounts
        try:
            rendering = render(
                gang, order, self._rules, silence_s=farm.step_timeout_s, collective_s=farm.collective_timeout_s,
                on_progress=lambda _: None,
            )  # fmt: skip
            done = await self.leaving.unless_called_off(gang, (order["id"], order["attempt"]), rendering)
        except LostGang as lost:
            await lose(str(lost))
            self.helping.back(order, time.time(), made=False, seconds=0.0)
            accounts.book_failed(shot, lost.seconds * gang.shape.size)
            if not self.stopping and not isinstance(lost, CalledOff):
                self._scheduler.outcomes.died(slot, time.time(), error=lost.error)
                self._journal.event(
                    "gang_lost", gang=gang.id, slot=slot, message=str(lost), error_class=str(lost.error)
                )
            return False
        seconds, first = done.seconds * gang.shape.size, done.reports[0]
        if done.failure is not None:
            if done.spoilt:
                await lose(f"its ranks left a piece apart: {done.failure}")
            self.helping.back(order, time.time(), made=False, seconds=0.0, lines=first.log, failed=True)
            accounts.book_failed(shot, seconds)
        elif not self.helping.back(order, time.time(), made=HELPED in first.stages, seconds=seconds, lines=first.log):
            accounts.book_duplicate(shot, seconds)
        self._changed()
        return not done.spoilt

    def copy(self, given: Assignment) -> None:
        """Starts to copy an assigned take whose pictures are another's."""
        copying = asyncio.ensure_future(self._copy(given))
        self._finishing.add(copying)
        copying.add_done_callback(self._finishing.discard)

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

    async def free(self) -> None:
        """Ends the finishers, which are made anew when there is something to finish. Nothing may be in work."""
        finishers, self._finishers = self._finishers, {}
        for finisher, _ in finishers.values():
            ray.kill(finisher)
        await confirm_ended(process for _, process in finishers.values())

    async def wake(self) -> None:
        """Gangs that wait for room look whether the job is stopping."""
        for admission in self.admissions.values():
            await admission.wake()

    async def close(self, drain_s: float | None) -> None:
        """Waits for what is being finished, ``drain_s`` at most, then ends the finishers and confirms it."""
        if self._finishing:
            await asyncio.wait(set(self._finishing), timeout=drain_s)
        self.stopping = self.stopping or bool(self._finishing)
        await self.free()
        for take, seconds in self.helping.unbooked():  # help for takes that came to nothing
            row = self._ledger.rows.slice(take, 1)
            self._scheduler.accounts.book_failed((row["show"][0].as_py(), row["shot_id"][0].as_py()), seconds)
        if self._finishing:  # they see their finisher gone
            await asyncio.wait(set(self._finishing))

    async def _copy(self, given: Assignment) -> None:
        take, attempt = given.take.id, given.attempt
        order: Order = self._ledger.order(given, self._spec)
        log = AttemptLog(f"{name_of(order)}: attempt {attempt} of job {self._spec.job_id}, epoch {self._spec.epoch}")
        try:
            async with self._copying:
                prepared = await asyncio.to_thread(
                    prepare_order,
                    self._store,
                    order,
                    self._spec,
                    self._rules,
                    self._life,
                    ended=lambda: self.stopping,
                )
                order = prepared.order
                if prepared.commit is not None:
                    self._found(order, given, prepared.commit)
                    return
                if prepared.failure is not None:
                    finished = Finished(None, failure=prepared.failure)
                else:
                    finished = await asyncio.to_thread(copy_take, self._store, order, self._spec)
            log.extend(finished.log)
            self._finished("", given, order, {"gpu_s": 0.0}, finished, log)
        except Exception as error:  # a fault of ours: the take must come to an end all the same
            failure = Failure.of(error)
            verdict = self._scheduler.outcomes.failed(take, attempt, failure.error, time.time())
            self._failed(order, log, verdict, failure, 0.0)
        finally:
            self._changed()

    async def _rendered(
        self, slot: int, gang: Gang, given: Assignment, order: Order, log: AttemptLog, lose: Lose,
        admission: Admission, size: int,
    ) -> tuple[bool, bool]:  # fmt: skip
        """Returns whether the frames went on to a finisher, and whether the gang lives."""
        take, attempt, farm = given.take.id, given.attempt, self._spec.farm
        self._show(order, gang, Progress(None, "prepare", 0, int(order.get("steps") or 0), 0))
        started = datetime.now(UTC)
        self._scheduler.at_work.began(take, attempt, started.timestamp(), gang.shape.size)
        try:
            rendering = render(
                gang, order, self._rules, silence_s=farm.step_timeout_s, collective_s=farm.collective_timeout_s,
                on_progress=lambda progress: self._show(order, gang, progress),
            )  # fmt: skip
            done = await self.leaving.unless_called_off(gang, (take, attempt), rendering)
        except LostGang as lost:
            await self._lost(slot, gang, given, order, log, lost, lose)
            return False, False
        if not given.copy:
            self.helping.ended(take)
        for report in done.reports:
            log.extend(report.log)
        stages = done.reports[0].stages
        log.say("rendered in " + ", ".join(f"{stage} {spent:.2f} s" for stage, spent in stages.items() if spent))
        if done.failure is not None and done.spoilt and done.failure.error is ErrorClass.GANG_LOST:
            # No rank has a reason of its own: an exchange broke, or they disagreed. That is a death as any other.
            log.say(done.failure.traceback)
            broken = LostGang(f"gang {gang.id}: {done.failure}", ErrorClass.GANG_LOST, done.seconds)
            await self._lost(slot, gang, given, order, log, broken, lose)
            return False, False
        seconds = done.seconds * gang.shape.size + (0.0 if given.copy else self.helping.spent(take))
        if done.failure is not None:
            if done.spoilt:
                why = f"gang {gang.id} is not trusted with another take: {done.failure}"
                await lose(why)
                self._journal.event(
                    "gang_lost", order, gang=gang.id, slot=slot, message=why, error_class=str(done.failure.error)
                )
            verdict = self._scheduler.outcomes.failed(take, attempt, done.failure.error, time.time(), seconds)
            self._failed(order, log, verdict, done.failure, seconds)
            return False, not done.spoilt
        if not self._scheduler.outcomes.rendered(take, attempt, seconds):
            self._journal.event("superseded", order)
            log.say("rendered for nothing: the take was committed meanwhile")
            self._journal.put_log(order, log)
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
        if self.stopping or isinstance(lost, CalledOff):
            log.say(f"called off: {lost}")
            verdict = self._scheduler.outcomes.released(given.take.id, given.attempt, time.time(), seconds)
            facts = {"message": str(lost), "gpu_s": round(seconds, 3), "duplicate": verdict.kind == "superseded"}
            self._journal.event("called_off", order, gang=gang.id, slot=slot, **facts)
            self._journal.put_log(order, log)
            self._changed()
            return
        log.say(f"gang lost: {lost}")
        now = time.time()
        verdict = self._scheduler.outcomes.died(slot, now, given.take.id, given.attempt, seconds, lost.error)
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
                verdict = self._scheduler.outcomes.failed(take, attempt, Failure.of(error).error, time.time())
            self._failed(order, log, verdict, Failure.of(error), facts["gpu_s"])
        except Exception as error:  # a fault of ours: the take must come to an end all the same
            verdict = self._scheduler.outcomes.failed(take, attempt, ErrorClass.INTERNAL, time.time())
            self._failed(order, log, verdict, Failure.of(error), facts["gpu_s"])
        finally:
            await admission.give_back(size)
            self._changed()

    def _finished(
        self, node: str, given: Assignment, order: Order, facts: Mapping[str, Any], finished: Finished, log: AttemptLog
    ) -> None:
        take, attempt = given.take.id, given.attempt
        if finished.failure is not None:
            verdict = self._scheduler.outcomes.failed(take, attempt, finished.failure.error, time.time())
            self._failed(order, log, verdict, finished.failure, facts["gpu_s"])
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

    def _call_off_losers(self, order: Order) -> None:
        """A take is settled: nobody needs to go on rendering it."""
        losers = {(order["id"], attempt) for attempt in self._scheduler.at_work.losers(order["id"])}
        self.leaving.call_off("another attempt at the take was committed", lambda _, name: name in losers)

    def _not_now(self, take: int, attempt: int) -> bool:
        """Whether an attempt that is about to be rendered is not to be, after all."""
        return self._closed or attempt in self._scheduler.at_work.losers(take)

    @property
    def _closed(self) -> bool:
        """Whether the job is being stopped or paused."""
        return self.stopping or self.leaving.closed is not None

    async def _finisher_died(self, node: str, finisher: Any, given: Assignment) -> Verdict:
        now, take, attempt = time.time(), given.take.id, given.attempt
        verdict = (
            self._scheduler.outcomes.released(take, attempt, now)
            if self.stopping or node in self.leaving_nodes
            else self._scheduler.outcomes.finisher_died(node, now, take, attempt)
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
        self._ledger.stands(given.take.id, order["spec_key"], order.get("source"))
        verdict = self._scheduler.outcomes.found(
            given.take.id, given.attempt, float(commit["gpu_s"]), ours=ours, passed=has_passed(commit)
        )
        if verdict.kind == "committed":
            self._tell_of(order, commit, poster=None, adopted=False, cached=True)
            self._call_off_losers(order)
        self._changed()

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

    def _failed(self, order: Order, log: AttemptLog, verdict: Verdict, failure: Failure, seconds: float) -> None:
        log.say(failure.traceback or str(failure))
        log.say(f"{failure.error}: {verdict.kind}" + (f" in {verdict.delay:.1f} s" if verdict.delay else ""))
        if verdict.kind == "quarantine":
            self.linked.reasons[order["id"]] = f"{failure.error}: {failure}"
            self._journal.quarantine(order, failure, seconds, lambda: self.stopping)
            self.linked.bury_orphans()
        else:
            facts = {"error_class": str(failure.error), "message": str(failure), "gpu_s": round(seconds, 3)}
            self._journal.event(verdict.kind, order, **facts, delay=verdict.delay, log=self._journal.log_path(order))
        self._journal.put_log(order, log)
        self._changed()

    def _show(self, order: Order, gang: Gang, progress: Progress) -> None:
        if progress.order not in (None, (order["id"], order["attempt"])):
            return  # an answer about the take before
        self.helping.moved(order, progress)
        self.leaving.moved(gang, progress)
        self._running[order["id"], order["attempt"]] = {
            "show": order["show"],
            "shot_id": order["shot_id"],
            "take": order["take"],
            "attempt": order["attempt"],
            "gang": gang.id,
            "stage": progress.stage,
            "step": progress.step,
            "steps": progress.steps or int(order.get("steps") or 0),
        }


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")
