"""What every outcome of an attempt means: what becomes of the take, and where the GPU seconds are booked. Pure.

A report counts only while its attempt is at work on the take; later ones are counted as superseded and change nothing
else. A straggler has two attempts at work: what fails of the first is counted, and the other goes on; once one has
settled the take, what the other used is booked as duplicate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from actors.errors import ErrorClass
from actors.scheduling.accounts import Accounts
from actors.scheduling.at_work import AtWork
from actors.scheduling.breaker import Breaker
from actors.scheduling.courses import Course, Try
from actors.scheduling.policy import FP32, REDONE_IN_FP32, JobState, Policy, State, Verdict
from actors.scheduling.slots import Slot, Slots
from actors.scheduling.standing import Standing

_SUPERSEDED = Verdict("superseded")


class Outcomes:
    """Takes the reports on the attempts of a job.

    Attributes:
        superseded: reports that came too late to count.
        planned_committed: planned costs of the takes that were committed.

    Args:
        stop: ends the job, with a reason.
        pending: whether takes wait, or are still to be added.
    """

    def __init__(
        self, policy: Policy, accounts: Accounts, slots: Slots, standing: Standing, at_work: AtWork,
        stop: Callable[[JobState, str], None], pending: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._policy, self._accounts, self._slots, self._stop = policy, accounts, slots, stop
        self._finishers = Slots(policy.slot_deaths)
        self._standing, self._at_work, self._courses = standing, at_work, standing.courses
        self._breaker = Breaker(policy, stop, pending)
        self.superseded = 0
        self.planned_committed = 0.0

    def rendered(self, take: int, attempt: int, seconds: float) -> bool:
        """The gang has rendered the take and is free; finishing goes on. False: the attempt is not at work on it."""
        course, tried = self._courses[take], self._at(take, attempt, seconds)
        if tried is None or tried.finishing:
            return False
        self._at_work.rendered(course, tried, seconds)
        return True

    def committed(
        self, take: int, attempt: int, *, adopted: bool = False, finisher: Slot = None, passed: bool = False
    ) -> Verdict:
        """The finished take stands in the store. ``adopted``: another's commit was there first. ``passed``: the verdict
        of the commit that stands lets it pass, so that its shot needs one take less.
        """
        course = self._courses[take]
        if not adopted and (late := self._at_work.dismiss(course, attempt)) is not None:
            self._accounts.book_rendered(course.take.shot, late.seconds)  # it was the first in the store, not to report
            return _SUPERSEDED
        tried = self._at(take, attempt)
        if tried is None:
            return _SUPERSEDED
        book = self._accounts.book_duplicate if adopted else self._accounts.book_rendered
        book(course.take.shot, tried.seconds)
        self._finishers.committed(finisher)
        self.planned_committed += course.take.cost
        self._succeeded(course, attempt, State.COMMITTED, passed=passed)
        return Verdict("committed")

    def found(self, take: int, attempt: int, seconds: float, *, ours: bool, passed: bool = False) -> Verdict:
        """The store held the take when it was about to be rendered; ``seconds`` is what its commit says it cost.

        ``ours``: an earlier attempt of this job, thought lost while it was finished, had committed after all.
        ``passed``: as of `committed`.
        """
        course = self._courses[take]
        if self._at(take, attempt) is None:
            return _SUPERSEDED
        if ours and len(course.tries) > 1:  # it has committed, and will say so itself
            self._at_work.leave(course, attempt)
            return self._outlived(course)
        if ours and course.lost_seconds:
            self._accounts.turn_failed_into_rendered(course.lost_seconds)
            self._succeeded(course, attempt, State.COMMITTED, passed=passed)
        else:
            self._accounts.book_cached(seconds)
            self._succeeded(course, attempt, State.CACHED, passed=passed)
        return Verdict("committed")

    def failed(self, take: int, attempt: int, error: ErrorClass, now: float, seconds: float = 0.0) -> Verdict:
        """The attempt failed and its gang lives. ``seconds`` counts only while the take was being rendered."""
        course, tried = self._courses[take], self._at(take, attempt, seconds)
        if tried is None:
            return _SUPERSEDED
        self._book_failure(course, attempt, seconds)
        course.failures[str(error)] += 1
        if error.whose == "farm":
            course.farm_faults += 1
            return self._retry(course, error, now, self._policy.delay(take, course.farm_faults))
        course.own_faults += 1
        if not course.tries and self._policy.gives_up(error, course.own_faults, tried.precision):
            return self._give_up(course, error)
        if error in REDONE_IN_FP32:
            course.precision = FP32
        course.low_memory = course.low_memory or error is ErrorClass.OOM
        return self._retry(course, error, now, 0.0)

    def died(
        self, slot: Slot, now: float, take: int | None = None, attempt: int = 0, seconds: float = 0.0,
        error: ErrorClass = ErrorClass.GANG_LOST, *, blames: bool = True,
    ) -> Verdict:  # fmt: skip
        """A gang died, with the take it was rendering or with none (it was idle, or being built).

        blames: whether it may count against the take; it counts against the slot in any case.
        """
        tried = None if take is None else self._at(take, attempt, seconds)
        death = self._slots.died(slot, None if tried is None or not blames else take)
        if take is not None and tried is not None:
            verdict = self._died_with(take, attempt, death.counts, now, seconds, error)
        else:
            self._breaker.farm_fault(f"{error} on slot {slot}")
            verdict = _SUPERSEDED if take is not None else Verdict("retry", error)
        if self._slots.none_left():
            self._stop("failed", f"every slot was given up after {self._policy.slot_deaths} deaths in a row ({error})")
        return replace(verdict, slot_retired=death.retired)

    def finisher_died(self, finisher: Slot, now: float, take: int, attempt: int) -> Verdict:
        """A finisher died with this take. It is built anew each time: only the take can be given up for it."""
        if self._at(take, attempt) is None:
            return _SUPERSEDED
        death = self._finishers.died(finisher, take)
        return self._died_with(take, attempt, death.counts, now, 0.0, ErrorClass.NODE)

    def released(self, take: int, attempt: int, now: float, seconds: float = 0.0) -> Verdict:
        """The attempt was ended on purpose (stop, pause, a node that goes): nobody's fault, the take waits again."""
        course = self._courses[take]
        if self._at(take, attempt, seconds) is None:
            return _SUPERSEDED
        self._book_failure(course, attempt, seconds)
        if course.tries:
            return self._outlived(course)
        self._standing.put_back(course, now)
        return Verdict("retry")

    def _at(self, take: int, attempt: int, seconds: float = 0.0) -> Try | None:
        """The attempt where it is at work; else its report is too late, and what a loser used is booked."""
        course = self._courses[take]
        if (tried := course.tries.get(attempt)) is not None:
            return tried
        if (late := self._at_work.dismiss(course, attempt)) is None:
            self.superseded += 1
            return None
        self._accounts.book_duplicate(course.take.shot, late.seconds if late.finishing else seconds)
        return None

    def _succeeded(self, course: Course, attempt: int, state: State, *, passed: bool) -> None:
        self._breaker.succeeded()
        slot = self._at_work.leave(course, attempt).slot
        if not course.take.gangless:
            self._slots.committed(slot)
        self._at_work.settle(course)
        self._standing.land(course, state)
        if passed:
            self._standing.count_pass(course.take)

    def _died_with(
        self, take: int, attempt: int, counts: bool, now: float, seconds: float, error: ErrorClass
    ) -> Verdict:  # fmt: skip
        course = self._courses[take]
        self._book_failure(course, attempt, seconds)
        course.failures[str(error)] += 1
        course.deaths += counts
        course.low_memory = course.low_memory or error is ErrorClass.OOM
        if not course.tries and course.deaths >= self._policy.take_deaths:
            return self._give_up(course, error)
        return self._retry(course, error, now, 0.0)

    def _book_failure(self, course: Course, attempt: int, seconds: float) -> None:
        tried = self._at_work.leave(course, attempt)
        spent = tried.seconds if tried.finishing else seconds
        course.lost_seconds = spent if tried.finishing else 0.0
        self._accounts.book_failed(course.take.shot, spent)

    def _retry(self, course: Course, error: ErrorClass, now: float, delay: float) -> Verdict:
        if error.whose == "farm":
            self._breaker.farm_fault(str(error))
        if course.tries:
            return self._outlived(course, error)
        self._standing.put_back(course, now + delay)
        return Verdict("retry", error, delay)

    def _outlived(self, course: Course, error: ErrorClass | None = None) -> Verdict:
        """One attempt at a take has ended, and another is at work on it."""
        self._standing.goes_on(course)
        return Verdict("outlived", error)

    def _give_up(self, course: Course, error: ErrorClass) -> Verdict:
        self._standing.land(course, State.QUARANTINED)
        self._breaker.quarantined(error)
        return Verdict("quarantine", error)
