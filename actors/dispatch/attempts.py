"""One attempt at a take after another: prepared, rendered by a gang, and handed on to be finished.

Part of the dispatcher, in its event loop. It asks the scheduler what an outcome means and tells the journal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from actors.dispatch.booking import Booking
from actors.dispatch.copying import Copying
from actors.dispatch.fencing import newer_epoch
from actors.dispatch.finishers import Finishers
from actors.dispatch.helping import Helping
from actors.dispatch.journal import Journal
from actors.dispatch.leaving import CalledOff, Leaving
from actors.dispatch.linked import Linked
from actors.dispatch.orders import Ledger
from actors.dispatch.preparing import prepare_order
from actors.errors import ErrorClass
from actors.finish.finishing import Admission
from actors.gangs.gang import Gang, LostGang, render
from actors.gangs.pieces import HELPED
from actors.gangs.rendering import Failure, Order, Progress, frame_bytes, name_of
from actors.job import InputRules, JobSpec
from actors.logs import AttemptLog
from actors.metrics import FarmMetrics
from actors.scheduling.policy import Assignment
from actors.scheduling.scheduler import Scheduler
from infra.store import Store

_DEATHS = frozenset({ErrorClass.GANG_LOST, ErrorClass.NODE})
Lose = Callable[[str], Awaitable[None]]
"""Ends the gang and returns when its processes are confirmed gone."""


class Attempts:
    """The attempts of one job.

    Attributes:
        admissions: by gang, what it may have rendered and not yet finished.
        finishers: those of its nodes.
        helping: long takes that other gangs may help with.
        leaving: what is rendered now, and how to end it on purpose.
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
        self._finishing: set[asyncio.Task[None]] = set()
        self._running: dict[tuple[int, int], dict[str, Any]] = {}
        self.admissions: dict[str, Admission] = {}
        self.helping = Helping(slots - 1)
        self.leaving = Leaving()
        self.linked = Linked(spec, ledger, scheduler, journal, ended=lambda: self.leaving.stopping)
        self._booking = Booking(
            spec, ledger, scheduler, journal, metrics, linked=self.linked, leaving=self.leaving, changed=changed
        )
        self.finishers = Finishers(spec, scheduler, self._booking, self.leaving, changed)
        self._copying = Copying(spec, store, ledger, scheduler, self._booking, self.leaving, life=life, changed=changed)

    async def render(self, slot: int, gang: Gang, given: Assignment, lose: Lose) -> bool:
        """Renders an assigned take and hands its frames on to be finished. False when the gang is gone."""
        take, attempt = given.take.id, given.attempt
        order: Order = self._ledger.order(given, self._spec)
        log = AttemptLog(f"{name_of(order)}: attempt {attempt} of job {self._spec.job_id}, epoch {self._spec.epoch}")
        log.say(f"gang {gang.id}, layout {gang.layout}, processes {', '.join(str(p.pid) for p in gang.processes)}")
        prepared = await asyncio.to_thread(
            prepare_order, self._store, order, self._spec, self._rules, self._life, ended=lambda: self.leaving.ending
        )
        order = prepared.order
        if prepared.failure is not None and prepared.failure.error is ErrorClass.STORE and self.leaving.ending:
            # It waited for the store, and need not any more.
            self._scheduler.outcomes.released(take, attempt, time.time())
            return True
        if prepared.failure is not None:
            verdict = self._scheduler.outcomes.failed(take, attempt, prepared.failure.error, time.time())
            self._booking.failed(order, log, verdict, prepared.failure, 0.0)
            return True
        if prepared.commit is not None:
            self._booking.found(order, given, prepared.commit)
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
            if not self.leaving.stopping and not isinstance(lost, CalledOff):
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
        self._go_on(self._copying.copy(given))

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
        self.leaving.stopping = self.leaving.stopping or bool(self._finishing)
        await self.finishers.free()
        for take, seconds in self.helping.unbooked():  # help for takes that came to nothing
            row = self._ledger.rows.slice(take, 1)
            self._scheduler.accounts.book_failed((row["show"][0].as_py(), row["shot_id"][0].as_py()), seconds)
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
        if done.failure is not None and done.spoilt and done.failure.error in _DEATHS:
            # No rank has a reason of its own: an exchange broke, or they disagreed. That is a death as any other. Or a
            # rank's machine failed it: a death too, so that its slot is given up in the end, and no fault of the take.
            log.say(done.failure.traceback)
            broken = LostGang(f"gang {gang.id}: {done.failure}", done.failure.error, done.seconds)
            await self._lost(slot, gang, given, order, log, broken, lose, blames=broken.error is not ErrorClass.NODE)
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
            self._booking.failed(order, log, verdict, done.failure, seconds)
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
        self._go_on(self.finishers.finish(gang.node_id, given, order, facts, done, log, admission, size))
        return True, True

    async def _lost(
        self, slot: int, gang: Gang, given: Assignment, order: Order, log: AttemptLog, lost: LostGang, lose: Lose,
        *, blames: bool = True,
    ) -> None:  # fmt: skip
        """The take goes back only when the old processes are confirmed gone. blames: as of `Outcomes.died`."""
        await lose(str(lost))
        seconds = lost.seconds * gang.shape.size
        if self.leaving.stopping or isinstance(lost, CalledOff):
            log.say(f"called off: {lost}")
            verdict = self._scheduler.outcomes.released(given.take.id, given.attempt, time.time(), seconds)
            facts = {"message": str(lost), "gpu_s": round(seconds, 3), "duplicate": verdict.kind == "superseded"}
            self._journal.event("called_off", order, gang=gang.id, slot=slot, **facts)
            self._journal.put_log(order, log)
            self._changed()
            return
        log.say(f"gang lost: {lost}")
        now = time.time()
        verdict = self._scheduler.outcomes.died(
            slot, now, given.take.id, given.attempt, seconds, lost.error, blames=blames
        )
        self._journal.event("gang_lost", order, gang=gang.id, slot=slot, message=str(lost), error_class=str(lost.error))
        self._booking.failed(order, log, verdict, Failure.of(lost), seconds)

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        """Goes on with a take apart from its gang, until it is settled."""
        task = asyncio.ensure_future(work)
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    def _not_now(self, take: int, attempt: int) -> bool:
        """Whether an attempt that is about to be rendered is not to be, after all."""
        return self.leaving.ending or attempt in self._scheduler.at_work.losers(take)

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
