"""The scheduler: which take a slot renders next, and what every outcome means. A pure state machine.

No Ray and no clock: times come in as seconds since the epoch, events come in as calls, decisions come back as values.
A report counts only while its attempt is at work on the take; later ones are counted as superseded and change nothing
else. A straggler has two attempts at work: what fails of the first is counted, and the other goes on; once one has
settled the take, what the other used is booked as duplicate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from actors.accounts import Accounts
from actors.budgets import Budgets, Room
from actors.courses import Course, Try
from actors.errors import ErrorClass
from actors.keeping import Keeping
from actors.policy import FP32, REDONE_IN_FP32, SETTLED, WAITING, Assignment, JobState, Orphan, Policy, State, Verdict
from actors.slots import Slot, Slots
from actors.stragglers import Stragglers
from actors.takes import Shape, Take
from actors.tally import Tally
from actors.waiting import Waiting

_SUPERSEDED = Verdict("superseded")


class Scheduler:
    """Takes of one job. ``expected`` counts takes that will be added later, so that the job is not done too early.

    Attributes:
        accounts: GPU seconds. superseded: reports that came too late to count. reason: why the job stops, if it does.
        held: why nothing is handed out for the time being, if it is so.
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
        self._waiting = Waiting(self._move)
        self._courses = self._waiting.courses
        self._tally = Tally()
        self._gangless: Counter[State] = Counter()
        self._budgets = Budgets(self.accounts, self.policy.budget_gpu_s)
        self._stragglers = Stragglers(self.policy.straggler_factor, self.policy.straggler_s)
        self._keeping = Keeping(self.policy.keep_ahead)
        self._skipped: list[Take] = []
        self._at_work: set[int] = set()
        self._on_gangs = 0
        self._farm_faults = 0
        self._quarantines = 0
        self.held: str | None = None
        self._stop: JobState | None = None

    # Takes come in

    def add(self, takes: Iterable[Take]) -> None:
        """Adds takes that wait to be rendered, some of them for others (``Take.after``), in any order.

        One whose predecessors were given up is given up at once: see `take_orphans`.
        """
        for take in takes:
            course, entry = self._waiting.add(take)
            self.unloaded = max(0, self.unloaded - 1)
            self._tally.add(take.shard, course.state)
            self._gangless[course.state] += take.gangless
            self._keeping.enter(take)
            if self._keeping.enough(take):
                self._skip(course)
            else:
                self._waiting.place(course, entry)

    def add_settled(
        self, shard: int, *, cached: int = 0, quarantined: int = 0, skipped: int = 0, seconds: float = 0.0
    ) -> None:
        """Counts takes of a shard that need no rendering: commits found, and what those had cost; takes given up, or
        not wanted because enough others have passed.
        """
        self._tally.add(shard, State.CACHED, cached)
        self._tally.add(shard, State.QUARANTINED, quarantined)
        self._tally.add(shard, State.SKIPPED, skipped)
        self.accounts.book_cached(seconds)

    def note_settled(self, take: int, *, done: bool) -> None:
        """What became, before this job, of a take that others come after. Counted by `add_settled`, not here."""
        self._waiting.note(take, done=done)

    def note_passed(self, shot: tuple[str, str], takes: int) -> None:
        """So many takes of a shot with `keep` had passed before this job began. Comes before the shot's own takes."""
        self._keeping.passed(shot, takes)

    def charge(self, shot: tuple[str, str], seconds: float) -> None:
        """Counts what takes of a shot had cost before this job began towards the shot's budget, and nowhere else."""
        self._budgets.charge(shot, seconds)

    # Takes go out

    def next(self, slot: Slot, now: float, near: Shape | None = None) -> Assignment | None:
        """Hands a take to a slot, or None: nothing is due, the budget is in use, or the job is ending."""
        self.slots.add(slot)
        if self.slots.retired(slot):
            return None
        return self._hand_out(slot, now, near, gangless=False)

    def next_gangless(self, now: float) -> Assignment | None:
        """Hands out a take for which nothing is rendered; it counts as being finished from now on."""
        return self._hand_out(None, now, None, gangless=True)

    def next_copy(self, slot: Slot, now: float) -> Assignment | None:
        """Hands a slot that has nothing else to do a copy of the take that is latest, or None. See `Stragglers`."""
        self.slots.add(slot)
        if self.slots.retired(slot) or self._closed:
            return None
        late = [course for course in self._late(now) if all(tried.slot != slot for tried in course.tries.values())]
        for course in sorted(late, key=lambda course: next(iter(course.tries.values())).began or now):
            if self._budgets.room(course.take) is Room.FREE:
                course.copied = True
                return replace(self._start(course, slot), copy=True)
        return None

    def overdue(self, now: float) -> int:
        """Takes that a copy would be made of if a gang were idle."""
        return 0 if self._closed else sum(1 for _ in self._late(now))

    def hold(self, reason: str) -> None:
        """Hands nothing out until `go_on`; takes at work are not touched."""
        self.held = reason

    def go_on(self) -> None:
        """Hands takes out again."""
        self.held = None

    def take_orphans(self) -> list[Orphan]:
        """Takes given up with the one that they come after, since this was last asked."""
        return self._waiting.take_orphans()

    def take_skipped(self) -> list[Take]:
        """Takes skipped because enough others of their shots have passed, since this was last asked."""
        skipped, self._skipped = self._skipped, []
        return skipped

    def next_due(self, *, gangless: bool = False) -> float | None:
        """When the earliest take that waits (not_before, back-off) becomes due, of those for gangs or of the others."""
        return self._waiting.next_due(gangless=gangless)

    # Reports

    def began(self, take: int, attempt: int, now: float, ranks: int = 1) -> None:
        """A gang begins to render the take: from now on it may be late."""
        tried = self._courses[take].tries.get(attempt)
        if tried is not None:
            tried.began, tried.ranks = now, ranks

    def rendered(self, take: int, attempt: int, seconds: float) -> bool:
        """The gang has rendered the take and is free; finishing goes on. False: the attempt is not at work on it."""
        course, tried = self._courses[take], self._at(take, attempt, seconds)
        if tried is None or tried.finishing:
            return False
        tried.finishing, tried.seconds = True, seconds
        self._on_gangs -= 1
        self._stragglers.learn(course.take.cost, seconds)
        self._goes_on(course)
        return True

    def committed(
        self, take: int, attempt: int, *, adopted: bool = False, finisher: Slot = None, passed: bool = False
    ) -> Verdict:
        """The finished take stands in the store. ``adopted``: another's commit was there first. ``passed``: the verdict
        of the commit that stands lets it pass, so that its shot needs one take less.
        """
        course = self._courses[take]
        if not adopted and (late := course.losers.pop(attempt, None)) is not None:
            self.accounts.book_rendered(course.take.shot, late.seconds)  # it was the first in the store, not to report
            return _SUPERSEDED
        tried = self._at(take, attempt)
        if tried is None:
            return _SUPERSEDED
        book = self.accounts.book_duplicate if adopted else self.accounts.book_rendered
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
            self._leave(course, attempt)
            return self._outlived(course)
        if ours and course.lost_seconds:
            self.accounts.turn_failed_into_rendered(course.lost_seconds)
            self._succeeded(course, attempt, State.COMMITTED, passed=passed)
        else:
            self.accounts.book_cached(seconds)
            self._succeeded(course, attempt, State.CACHED, passed=passed)
        return Verdict("committed")

    def losers(self, take: int) -> tuple[int, ...]:
        """Attempts that are still at work on a take that is settled: their renders are for nothing."""
        return tuple(self._courses[take].losers)

    def failed(self, take: int, attempt: int, error: ErrorClass, now: float, seconds: float = 0.0) -> Verdict:
        """The attempt failed and its gang lives. ``seconds`` counts only while the take was being rendered."""
        course, tried = self._courses[take], self._at(take, attempt, seconds)
        if tried is None:
            return _SUPERSEDED
        self._book_failure(course, attempt, seconds)
        course.failures[str(error)] += 1
        if error.whose == "farm":
            course.farm_faults += 1
            return self._retry(course, error, now, self.policy.delay(take, course.farm_faults))
        course.own_faults += 1
        if not course.tries and self.policy.gives_up(error, course.own_faults, tried.precision):
            return self._give_up(course, error)
        if error in REDONE_IN_FP32:
            course.precision = FP32
        course.low_memory = course.low_memory or error is ErrorClass.OOM
        return self._retry(course, error, now, 0.0)

    def died(
        self, slot: Slot, now: float, take: int | None = None, attempt: int = 0, seconds: float = 0.0,
        error: ErrorClass = ErrorClass.GANG_LOST,
    ) -> Verdict:  # fmt: skip
        """A gang died, with the take it was rendering or with none (it was idle, or being built)."""
        tried = None if take is None else self._at(take, attempt, seconds)
        death = self.slots.died(slot, None if tried is None else take)
        if take is not None and tried is not None:
            verdict = self._died_with(take, attempt, death.counts, now, seconds, error)
        else:
            self._farm_fault(f"{error} on slot {slot}")
            verdict = _SUPERSEDED if take is not None else Verdict("retry", error)
        if self.slots.none_left():
            self.stop("failed", f"every slot was given up after {self.policy.slot_deaths} deaths in a row ({error})")
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
        self._put_back(course, now)
        return Verdict("retry")

    def stop(self, state: JobState, reason: str) -> None:
        """Hands nothing out from now on. The first reason stands."""
        if self._stop is None:
            self._stop, self.reason = state, reason

    # What is seen from outside

    @property
    def rendering(self) -> int:
        """Attempts that occupy a gang now."""
        return self._on_gangs

    @property
    def waiting(self) -> int:
        """Takes that are loaded and may be handed to a gang: those that wait for others are not among them."""
        return self._tally[State.PENDING] - self._gangless[State.PENDING] - self._waiting.parked

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
        waiting = self._tally[State.PENDING] + self.unloaded
        if waiting and not self._budgets.job_is_full:
            return "running"
        return "budget" if waiting or self._tally[State.HELD] or self._tally[State.BLOCKED] else "done"

    def counts(self) -> dict[str, int]:
        """Takes by state; the states are disjoint and add up to ``total``. Held takes count as pending."""
        return self._tally.counts(self.unloaded)

    def shards(self) -> list[dict[str, int]]:
        """Per shard, in order: shard, total, done (committed or cached), running, failed (quarantined), skipped."""
        return self._tally.shards()

    def state_of(self, take: int) -> State:
        return self._courses[take].state

    # Inside

    def _at(self, take: int, attempt: int, seconds: float = 0.0) -> Try | None:
        """The attempt where it is at work; else its report is too late, and what a loser used is booked."""
        course = self._courses[take]
        if (tried := course.tries.get(attempt)) is not None:
            return tried
        if (late := course.losers.pop(attempt, None)) is None:
            self.superseded += 1
            return None
        self._on_gangs -= not late.finishing
        self.accounts.book_duplicate(course.take.shot, late.seconds if late.finishing else seconds)
        return None

    @property
    def _closed(self) -> bool:
        """Nothing is handed out now, whoever asks."""
        return self._stop is not None or self.held is not None or self._budgets.job_is_full

    def _late(self, now: float) -> Iterator[Course]:
        """Takes with one attempt at work that renders for longer than it should, and that had no copy yet."""
        for take in self._at_work:
            course = self._courses[take]
            (tried, *others) = course.tries.values()
            if others or course.copied or tried.finishing or tried.began is None:
                continue
            if self._stragglers.overdue(course.take.cost, ran_s=now - tried.began, ranks=tried.ranks):
                yield course

    def _hand_out(self, slot: Slot, now: float, near: Shape | None, *, gangless: bool) -> Assignment | None:
        if self._closed:
            return None
        while (course := self._waiting.pop(now, near, gangless=gangless)) is not None:
            room = self._budgets.room(course.take) if self._keeping.room(course.take) else Room.WAIT
            if room is Room.FREE:
                return self._start(course, slot)
            if room is Room.NONE:
                self._move(course, State.HELD)
            else:
                self._waiting.park(course)
        self._look_for_knots()
        return None

    def _look_for_knots(self) -> None:
        """Takes that wait for one another, or for one that is in no plan, would wait for ever."""
        tally = self._tally
        stuck = tally[State.BLOCKED] and not (self.live or self.unloaded or tally[State.PENDING] or tally[State.HELD])
        if stuck:
            self.stop("failed", f"{tally[State.BLOCKED]} takes wait for others that this job does not have")

    def _start(self, course: Course, slot: Slot) -> Assignment:
        course.attempt += 1
        gangless = course.take.gangless
        self._keeping.began(course.take)
        course.tries[course.attempt] = Try(slot, course.precision, finishing=gangless)
        if not gangless:
            self._on_gangs += 1
            self._at_work.add(course.take.id)
        self._goes_on(course)
        retried = tuple(sorted(course.failures.items()))
        return Assignment(course.take, course.attempt, course.precision, course.low_memory, retried=retried)

    def _goes_on(self, course: Course) -> None:
        """The attempts at work on a take have changed: where it stands, and what it will have cost."""
        self._budgets.reserve(course.take, course.expected_seconds())
        self._move(course, course.live_state)

    def _leave(self, course: Course, attempt: int) -> Try:
        """An attempt is no longer at work on the take."""
        tried = course.tries.pop(attempt)
        self._on_gangs -= not tried.finishing
        if not course.tries:
            self._at_work.discard(course.take.id)
        return tried

    def _land(self, course: Course, state: State) -> None:
        """A live take comes to rest; takes of its shot that waited for the shot's budget are looked at again."""
        self._budgets.release(course.take)
        self._keeping.rests(course.take)
        self._move(course, state)
        self.planned_settled += course.take.cost if state in SETTLED else 0.0
        self._waiting.unpark(course.take.shot)
        if state in SETTLED:
            self._waiting.settled(course.take.id)

    def _skip(self, course: Course) -> None:
        """A take that waits is not wanted: it is settled, and so is what cannot be had without it."""
        self._waiting.withdraw(course)
        self._move(course, State.SKIPPED)
        self.planned_settled += course.take.cost
        self._skipped.append(course.take)
        self._waiting.settled(course.take.id)

    def _count_pass(self, take: Take) -> None:
        """One take more of a shot has passed. Once enough have, those that wait are skipped."""
        if take.keep is None:
            return
        self._keeping.passed(take.shot)
        for number in self._keeping.of(take.shot):
            course = self._courses[number]
            if course.state in WAITING and self._keeping.enough(course.take):
                self._skip(course)

    def _succeeded(self, course: Course, attempt: int, state: State, *, passed: bool) -> None:
        self._farm_faults = self._quarantines = 0
        slot = self._leave(course, attempt).slot
        if not course.take.gangless:
            self.slots.committed(slot)
        course.losers.update(course.tries)
        course.tries.clear()
        self._at_work.discard(course.take.id)
        self._land(course, state)
        if passed:
            self._count_pass(course.take)

    def _died_with(
        self, take: int, attempt: int, counts: bool, now: float, seconds: float, error: ErrorClass
    ) -> Verdict:  # fmt: skip
        course = self._courses[take]
        self._book_failure(course, attempt, seconds)
        course.failures[str(error)] += 1
        course.deaths += counts
        course.low_memory = course.low_memory or error is ErrorClass.OOM
        if not course.tries and course.deaths >= self.policy.take_deaths:
            return self._give_up(course, error)
        return self._retry(course, error, now, 0.0)

    def _book_failure(self, course: Course, attempt: int, seconds: float) -> None:
        tried = self._leave(course, attempt)
        spent = tried.seconds if tried.finishing else seconds
        course.lost_seconds = spent if tried.finishing else 0.0
        self.accounts.book_failed(course.take.shot, spent)

    def _retry(self, course: Course, error: ErrorClass, now: float, delay: float) -> Verdict:
        if error.whose == "farm":
            self._farm_fault(str(error))
        if course.tries:
            return self._outlived(course, error)
        self._put_back(course, now + delay)
        return Verdict("retry", error, delay)

    def _outlived(self, course: Course, error: ErrorClass | None = None) -> Verdict:
        """One attempt at a take has ended, and another is at work on it."""
        self._goes_on(course)
        return Verdict("outlived", error)

    def _put_back(self, course: Course, at: float) -> None:
        self._land(course, State.PENDING)
        course.due, course.copied = at, False
        if self._keeping.enough(course.take):
            self._skip(course)
        else:
            self._waiting.file(course)

    def _give_up(self, course: Course, error: ErrorClass) -> Verdict:
        self._quarantines += 1
        self._land(course, State.QUARANTINED)
        if self._quarantines >= self.policy.quarantines:
            self.stop("failed", f"{self._quarantines} takes were quarantined in a row and none was committed")
        return Verdict("quarantine", error)

    def _farm_fault(self, what: str) -> None:
        self._farm_faults += 1
        if self._farm_faults >= self.policy.farm_faults:
            self.stop("failed", f"{self._farm_faults} faults of the farm in a row and no take was committed ({what})")

    def _move(self, course: Course, state: State) -> None:
        self._tally.move(course.take.shard, course.state, state)
        if course.take.gangless:
            self._gangless[course.state] -= 1
            self._gangless[state] += 1
        course.state = state
