"""Where every take of a job stands, and what follows when one moves: for budgets, counts and those that wait. Pure."""

from __future__ import annotations

from collections import Counter

from actors.scheduling.accounts import Accounts
from actors.scheduling.budgets import Budgets, Room
from actors.scheduling.courses import Course
from actors.scheduling.keeping import Keeping
from actors.scheduling.policy import SETTLED, WAITING, Policy, State
from actors.scheduling.takes import Shape, Take
from actors.scheduling.tally import Tally
from actors.scheduling.waiting import Waiting


class Standing:
    """The takes of a job by state.

    Attributes:
        waiting: those that wait, and the courses of all.
        tally: how many are in which state.
        budgets: what may still be spent.
        keeping: how many of a shot have passed.
        planned_settled: planned costs of takes that are over.
    """

    def __init__(self, policy: Policy, accounts: Accounts) -> None:
        self.waiting = Waiting(self._move)
        self.courses = self.waiting.courses
        self.tally = Tally()
        self.budgets = Budgets(accounts, policy.budget_gpu_s)
        self.keeping = Keeping(policy.keep_ahead)
        self.planned_settled = 0.0
        self._gangless: Counter[State] = Counter()
        self._skipped: list[Take] = []

    def add(self, take: Take) -> None:
        """A new take that waits to be rendered, for others (``Take.after``) where it comes after them."""
        course, entry = self.waiting.add(take)
        self.tally.add(take.shard, course.state)
        self._gangless[course.state] += take.gangless
        self.keeping.enter(take)
        if self.keeping.enough(take):
            self._skip(course)
        else:
            self.waiting.place(course, entry)

    def next(self, now: float, near: Shape | None, *, gangless: bool) -> Course | None:
        """The take to start now. Those that budget or `keep` have no room for are held, or parked until there is."""
        while (course := self.waiting.pop(now, near, gangless=gangless)) is not None:
            room = self.budgets.room(course.take) if self.keeping.room(course.take) else Room.WAIT
            if room is Room.FREE:
                return course
            if room is Room.NONE:
                self._move(course, State.HELD)
            else:
                self.waiting.park(course)
        return None

    def goes_on(self, course: Course) -> None:
        """The attempts at work on a take have changed: where it stands, and what it will have cost."""
        self.budgets.reserve(course.take, course.expected_seconds())
        self._move(course, course.live_state)

    def land(self, course: Course, state: State) -> None:
        """A live take comes to rest; takes of its shot that waited for the shot's budget are looked at again."""
        self.budgets.release(course.take)
        self.keeping.rests(course.take)
        self._move(course, state)
        self.planned_settled += course.take.cost if state in SETTLED else 0.0
        self.waiting.unpark(course.take.shot)
        if state in SETTLED:
            self.waiting.settled(course.take.id)

    def put_back(self, course: Course, at: float) -> None:
        """A live take waits again, until ``at``; it is skipped where it is not wanted any more."""
        self.land(course, State.PENDING)
        course.due, course.copied = at, False
        if self.keeping.enough(course.take):
            self._skip(course)
        else:
            self.waiting.file(course)

    def count_pass(self, take: Take) -> None:
        """One take more of a shot has passed. Once enough have, those that wait are skipped."""
        if take.keep is None:
            return
        self.keeping.passed(take.shot)
        for number in self.keeping.of(take.shot):
            course = self.courses[number]
            if course.state in WAITING and self.keeping.enough(course.take):
                self._skip(course)

    def take_skipped(self) -> list[Take]:
        """Takes skipped because enough others of their shots have passed, since this was last asked."""
        skipped, self._skipped = self._skipped, []
        return skipped

    @property
    def ready(self) -> int:
        """Takes that may be handed to a gang: those that wait for others are not among them."""
        return self.tally[State.PENDING] - self._gangless[State.PENDING] - self.waiting.parked

    def _skip(self, course: Course) -> None:
        """A take that waits is not wanted: it is settled, and so is what cannot be had without it."""
        self.waiting.withdraw(course)
        self._move(course, State.SKIPPED)
        self.planned_settled += course.take.cost
        self._skipped.append(course.take)
        self.waiting.settled(course.take.id)

    def _move(self, course: Course, state: State) -> None:
        self.tally.move(course.take.shard, course.state, state)
        if course.take.gangless:
            self._gangless[course.state] -= 1
            self._gangless[state] += 1
        course.state = state
