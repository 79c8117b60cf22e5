"""The scheduler: which take a slot renders next, and what every outcome means. A pure state machine.

No Ray and no clock: times come in as seconds since the epoch, events come in as calls, decisions come back as values.
A report counts only while its attempt owns the take; later ones are counted as superseded and change nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from actors.accounts import Accounts
from actors.budgets import Budgets, Room
from actors.errors import ErrorClass
from actors.policy import LIVE, Assignment, JobState, Policy, State, Verdict
from actors.slots import Slot, Slots
from actors.takes import Shape, Take, TakeQueue
from actors.tally import Tally

_SUPERSEDED = Verdict("superseded")
_SETTLED = (State.COMMITTED, State.CACHED, State.QUARANTINED)


@dataclass(slots=True)
class _Course:
    """How one take has fared so far."""

    take: Take
    state: State = State.PENDING
    attempt: int = 0
    own_faults: int = 0
    farm_faults: int = 0
    deaths: int = 0
    precision: str | None = None
    low_memory: bool = False
    slot: Slot = None
    seconds: float = 0.0  # of the render that is being finished now
    lost_seconds: float = 0.0  # of the last render whose finishing was lost, booked as failed


class Scheduler:
    """Takes of one job. ``expected`` counts takes that will be added later, so that the job is not done too early.

    Attributes:
        accounts: GPU seconds. superseded: reports that came too late to count. reason: why the job stops, if it does.
        planned_settled, planned_committed: planned costs of takes that are over, and of those that were committed.
    """

    def __init__(self, policy: Policy | None = None, *, expected: int = 0) -> None:
        self.policy = policy or Policy()
        self.accounts = Accounts()
        self.slots = Slots(self.policy.slot_deaths)
        self._finishers = Slots(self.policy.slot_deaths)
        self.superseded = 0
        self.reason: str | None = None
        self.unloaded = expected
        self.planned_settled = self.planned_committed = 0.0
        self._courses: dict[int, _Course] = {}
        self._queue = TakeQueue()
        self._parked: dict[tuple[str, str], list[Take]] = defaultdict(list)
        self._tally = Tally()
        self._budgets = Budgets(self.accounts, self.policy.budget_gpu_s)
        self._farm_faults = 0
        self._quarantines = 0
        self._stop: JobState | None = None

    # Takes come in

    def add(self, takes: Iterable[Take]) -> None:
        """Adds takes that wait to be rendered."""
        for take in takes:
            if take.id in self._courses:
                raise ValueError(f"take {take.id} was added before")
            course = self._courses[take.id] = _Course(take)
            self.unloaded = max(0, self.unloaded - 1)
            self._queue.push(take, at=take.not_before)
            self._tally.add(take.shard, course.state)

    def add_settled(self, shard: int, *, cached: int = 0, quarantined: int = 0, seconds: float = 0.0) -> None:
        """Counts takes of a shard that need no rendering: commits found, and what those had cost; takes given up."""
        self._tally.add(shard, State.CACHED, cached)
        self._tally.add(shard, State.QUARANTINED, quarantined)
        self.accounts.book_cached(seconds)

    def charge(self, shot: tuple[str, str], seconds: float) -> None:
        """Counts what takes of a shot had cost before this job began towards the shot's budget, and nowhere else."""
        self._budgets.charge(shot, seconds)

    # Takes go out

    def next(self, slot: Slot, now: float, near: Shape | None = None) -> Assignment | None:
        """Hands a take to a slot, or None: nothing is due, the budget is in use, or the job is ending."""
        self.slots.add(slot)
        if self._stop or self.slots.retired(slot) or self._budgets.job_is_full:
            return None
        while (take := self._queue.pop(now, near)) is not None:
            course, room = self._courses[take.id], self._budgets.room(take)
            if room is Room.FREE:
                return self._start(course, slot)
            if room is Room.NONE:
                self._move(course, State.HELD)
            else:
                self._parked[take.shot].append(take)
        return None

    def next_due(self) -> float | None:
        """When the earliest take that waits (not_before, back-off) becomes due."""
        return self._queue.next_due()

    # Reports

    def rendered(self, take: int, attempt: int, seconds: float) -> bool:
        """The gang has rendered the take and is free; finishing goes on. False: the attempt no longer owns the take."""
        course = self._owned(take, attempt)
        if course is None or course.state is not State.RUNNING:
            return False
        course.seconds = seconds
        self._budgets.reserve(course.take, seconds)  # known now, where only the plan's estimate was
        self._move(course, State.FINISHING)
        return True

    def committed(self, take: int, attempt: int, *, adopted: bool = False, finisher: Slot = None) -> Verdict:
        """The finished take stands in the store. ``adopted``: another's commit was there first."""
        course = self._owned(take, attempt)
        if course is None:
            return _SUPERSEDED
        book = self.accounts.book_duplicate if adopted else self.accounts.book_rendered
        book(course.take.shot, course.seconds)
        self._finishers.committed(finisher)
        self.planned_committed += course.take.cost
        self._succeeded(course, State.COMMITTED)
        return Verdict("committed")

    def found(self, take: int, attempt: int, seconds: float, *, ours: bool) -> Verdict:
        """The store held the take when it was about to be rendered; ``seconds`` is what its commit says it cost.

        ``ours``: an earlier attempt of this job, thought lost while it was finished, had committed after all.
        """
        course = self._owned(take, attempt)
        if course is None:
            return _SUPERSEDED
        if ours and course.lost_seconds:
            self.accounts.turn_failed_into_rendered(course.lost_seconds)
            self._succeeded(course, State.COMMITTED)
        else:
            self.accounts.book_cached(seconds)
            self._succeeded(course, State.CACHED)
        return Verdict("committed")

    def failed(self, take: int, attempt: int, error: ErrorClass, now: float, seconds: float = 0.0) -> Verdict:
        """The attempt failed and its gang lives. ``seconds`` counts only while the take was being rendered."""
        course = self._owned(take, attempt)
        if course is None:
            return _SUPERSEDED
        self._book_failure(course, seconds)
        if error.whose == "farm":
            course.farm_faults += 1
            return self._retry(course, error, now, self.policy.delay(take, course.farm_faults))
        course.own_faults += 1
        if course.own_faults >= self.policy.tries_of(error):
            return self._give_up(course, error)
        if error is ErrorClass.NAN:
            course.precision = "float32"
        course.low_memory = course.low_memory or error is ErrorClass.OOM
        return self._retry(course, error, now, 0.0)

    def died(
        self, slot: Slot, now: float, take: int | None = None, attempt: int = 0, seconds: float = 0.0,
        error: ErrorClass = ErrorClass.GANG_LOST,
    ) -> Verdict:  # fmt: skip
        """A gang died, with the take it was rendering or with none (it was idle, or being built)."""
        course = None if take is None else self._owned(take, attempt)
        death = self.slots.died(slot, None if course is None else course.take.id)
        if course is not None:
            verdict = self._died_with(course, death.counts, now, seconds, error)
        else:
            self._farm_fault(f"{error} on slot {slot}")
            verdict = _SUPERSEDED if take is not None else Verdict("retry", error)
        if self.slots.none_left():
            self.stop("failed", f"every slot was given up after {self.policy.slot_deaths} deaths in a row ({error})")
        return replace(verdict, slot_retired=death.retired)

    def finisher_died(self, finisher: Slot, now: float, take: int, attempt: int) -> Verdict:
        """A finisher died with this take. It is built anew each time: only the take can be given up for it."""
        course = self._owned(take, attempt)
        if course is None:
            return _SUPERSEDED
        death = self._finishers.died(finisher, take)
        return self._died_with(course, death.counts, now, 0.0, ErrorClass.NODE)

    def released(self, take: int, attempt: int, now: float, seconds: float = 0.0) -> Verdict:
        """The attempt was ended on purpose (stop, hand-over): nobody's fault, the take waits again."""
        course = self._owned(take, attempt)
        if course is None:
            return _SUPERSEDED
        self._book_failure(course, seconds)
        self._put_back(course, now)
        return Verdict("retry")

    def stop(self, state: JobState, reason: str) -> None:
        """Hands nothing out from now on. The first reason stands."""
        if self._stop is None:
            self._stop, self.reason = state, reason

    # What is seen from outside

    @property
    def rendering(self) -> int:
        """Takes that occupy a gang now."""
        return self._tally[State.RUNNING]

    @property
    def waiting(self) -> int:
        """Takes that are loaded and may still be handed out."""
        return self._tally[State.PENDING]

    @property
    def live(self) -> int:
        """Takes being rendered or finished now."""
        return self._tally.live

    @property
    def state(self) -> JobState:
        """``running`` until no take is live and none can be handed out any more."""
        if self.live:
            return "running"
        if self._stop:
            return self._stop
        waiting = self.waiting + self.unloaded
        if waiting and not self._budgets.job_is_full:
            return "running"
        return "budget" if waiting or self._tally[State.HELD] else "done"

    def counts(self) -> dict[str, int]:
        """Takes by state; the states are disjoint and add up to ``total``. Held takes count as pending."""
        return self._tally.counts(self.unloaded)

    def shards(self) -> list[dict[str, int]]:
        """Per shard, in order: shard, total, done (committed or cached), running, failed (quarantined)."""
        return self._tally.shards()

    def state_of(self, take: int) -> State:
        return self._courses[take].state

    # Inside

    def _owned(self, take: int, attempt: int) -> _Course | None:
        course = self._courses[take]
        if course.attempt == attempt and course.state in LIVE:
            return course
        self.superseded += 1
        return None

    def _start(self, course: _Course, slot: Slot) -> Assignment:
        course.attempt += 1
        course.slot, course.seconds = slot, 0.0
        self._move(course, State.RUNNING)
        self._budgets.reserve(course.take, course.take.cost)
        return Assignment(course.take, course.attempt, course.precision, course.low_memory)

    def _land(self, course: _Course, state: State) -> None:
        """A live take comes to rest; takes of its shot that waited for the shot's budget are looked at again."""
        self._budgets.release(course.take)
        self._move(course, state)
        self.planned_settled += course.take.cost if state in _SETTLED else 0.0
        for take in self._parked.pop(course.take.shot, ()):
            self._queue.push(take)

    def _succeeded(self, course: _Course, state: State) -> None:
        self._farm_faults = self._quarantines = 0
        self.slots.committed(course.slot)
        self._land(course, state)

    def _died_with(self, course: _Course, counts: bool, now: float, seconds: float, error: ErrorClass) -> Verdict:
        self._book_failure(course, seconds)
        course.deaths += counts
        course.low_memory = course.low_memory or error is ErrorClass.OOM
        if course.deaths >= self.policy.take_deaths:
            return self._give_up(course, error)
        return self._retry(course, error, now, 0.0)

    def _book_failure(self, course: _Course, seconds: float) -> None:
        finishing = course.state is State.FINISHING
        spent = course.seconds if finishing else seconds
        course.lost_seconds = spent if finishing else 0.0
        self.accounts.book_failed(course.take.shot, spent)

    def _retry(self, course: _Course, error: ErrorClass, now: float, delay: float) -> Verdict:
        if error.whose == "farm":
            self._farm_fault(str(error))
        self._put_back(course, now + delay)
        return Verdict("retry", error, delay)

    def _put_back(self, course: _Course, at: float) -> None:
        self._land(course, State.PENDING)
        self._queue.push(course.take, front=True, at=at)

    def _give_up(self, course: _Course, error: ErrorClass) -> Verdict:
        self._quarantines += 1
        self._land(course, State.QUARANTINED)
        if self._quarantines >= self.policy.quarantines:
            self.stop("failed", f"{self._quarantines} takes were quarantined in a row and none was committed")
        return Verdict("quarantine", error)

    def _farm_fault(self, what: str) -> None:
        self._farm_faults += 1
        if self._farm_faults >= self.policy.farm_faults:
            self.stop("failed", f"{self._farm_faults} faults of the farm in a row and no take was committed ({what})")

    def _move(self, course: _Course, state: State) -> None:
        self._tally.move(course.take.shard, course.state, state)
        course.state = state
