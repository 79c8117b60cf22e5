"""Takes that wait: in the queues, for takes that they come after, or for their shot's budget. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from actors.scheduling.courses import Course
from actors.scheduling.gates import Entry, Gates
from actors.scheduling.policy import DONE, SETTLED, Orphan, State
from actors.scheduling.takes import Shape, Take, TakeQueue, Urgency


class Waiting:
    """All takes of a job, and the order in which those that wait are handed out.

    Attributes:
        courses: every take that was added, by id.
        parked: takes for gangs that wait for others of their shots to come to rest.

    Args:
        move: tells of a take that goes from one state to another.
    """

    def __init__(self, move: Callable[[Course, State], None]) -> None:
        self.courses: dict[int, Course] = {}
        self._move = move
        self._queue, self._gangless_queue = TakeQueue(), TakeQueue()
        self._parked: dict[tuple[str, str], dict[int, None]] = defaultdict(dict)
        self.parked = 0
        self._gates = Gates(self._fate)
        self._orphans: list[Orphan] = []

    def add(self, take: Take) -> tuple[Course, Entry]:
        """A new take, blocked until `place` is called, and whether it may start, has to wait, or never will."""
        if take.id in self.courses:
            raise ValueError(f"take {take.id} was added before")
        entry = self._gates.enter(take)
        course = self.courses[take.id] = Course(take, State.BLOCKED, due=take.not_before)
        return course, entry

    def place(self, course: Course, entry: Entry) -> None:
        """Puts a new take where it belongs; what it waits for becomes as urgent as it is."""
        take = course.take
        for number in self._gates.waiting_for(take.id):
            self._hurry(take.id, self.courses[number].take.urgency)
        if entry == "shut":
            for other in self._gates.waits_for(take.id):
                self._hurry(other, course.take.urgency)
        elif entry == "open":
            self._open(course)
        else:
            self._orphan(course, self._gates.first_lost(take))

    def note(self, take: int, *, done: bool) -> None:
        """What became, before this job, of a take that others come after."""
        self._gates.note(take, done=done)

    def pop(self, now: float, near: Shape | None, *, gangless: bool) -> Course | None:
        """The take to hand out next; it is no longer filed. None while nothing is due."""
        queue = self._gangless_queue if gangless else self._queue
        while (take := queue.pop(now, near)) is not None:
            course = self.courses[take.id]
            if course.filed is take:  # else it stands elsewhere, more urgent
                self.withdraw(course)
                return course
        return None

    def next_due(self, *, gangless: bool) -> float | None:
        """When the earliest take that waits for its time becomes due."""
        return (self._gangless_queue if gangless else self._queue).next_due()

    def park(self, course: Course) -> None:
        """The take waits until `unpark` is called for its shot: others of it use up what it may cost, or may do."""
        parked = self._parked[course.take.shot]
        self.parked += course.take.id not in parked and not course.take.gangless
        parked[course.take.id] = None

    def unpark(self, shot: tuple[str, str]) -> None:
        """Takes of the shot are looked at again."""
        for number in self._parked.pop(shot, ()):
            self.parked -= not self.courses[number].take.gangless
            self.file(self.courses[number])

    def withdraw(self, course: Course) -> None:
        """A take that waits stands in no queue any more, and is not parked."""
        course.filed = course.due = None
        parked = self._parked.get(course.take.shot)
        if parked and course.take.id in parked:
            del parked[course.take.id]
            self.parked -= not course.take.gangless

    def file(self, course: Course) -> None:
        """Puts a take into the queue, to be handed out when it is due; one that was tried before to the front."""
        if course.filed is course.take:
            course.take = replace(course.take)  # so that only the newest entry counts
        course.filed = course.take
        queue = self._gangless_queue if course.take.gangless else self._queue
        queue.push(course.take, front=course.attempt > 0, at=course.due)

    def settled(self, take: int) -> None:
        """A take is settled: those that waited for it may start, or are given up with it."""
        settled = [take]
        while settled:
            opened = self._gates.settle(number := settled.pop())
            for free in opened.free:
                self._open(self.courses[free])
            lost = [other for other in opened.lost if self.courses[other].state is State.BLOCKED]
            for other in lost:
                self._lose(self.courses[other], number)
            settled += lost

    def take_orphans(self) -> list[Orphan]:
        """Takes given up with the one that they come after, since this was last asked."""
        orphans, self._orphans = self._orphans, []
        return orphans

    def _fate(self, take: int) -> bool | None:
        course = self.courses.get(take)
        if course is None or course.state not in SETTLED:
            return None
        return course.state in DONE

    def _open(self, course: Course) -> None:
        """A take that waits for no other any more may be handed out when it is due."""
        if course.state is not State.BLOCKED:  # it was skipped while it waited
            return
        self._move(course, State.PENDING)
        self.file(course)

    def _hurry(self, take: int, urgency: Urgency) -> None:
        """A take, and all that it waits for, becomes as urgent as what waits for it."""
        numbers = [take]
        while numbers:
            course = self.courses.get(numbers.pop())
            if course is None or course.state in SETTLED or course.take.urgency <= urgency:
                continue
            course.take = course.take.hurried(urgency)
            if course.state is State.PENDING:
                self.file(course)
            numbers += self._gates.waits_for(course.take.id)

    def _orphan(self, course: Course, upstream: int) -> None:
        self._lose(course, upstream)
        self.settled(course.take.id)

    def _lose(self, course: Course, upstream: int) -> None:
        """A take is lost with one that it comes after: given up as that one was, or skipped as that one was."""
        above = self.courses.get(upstream)
        if above is not None and above.state is State.SKIPPED:
            self._move(course, State.SKIPPED)
        else:
            self._move(course, State.QUARANTINED)
            self._orphans.append(Orphan(course.take, upstream))
