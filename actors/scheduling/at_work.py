"""The attempts at work: on which takes, who holds a gang, and which of them are late. Pure.

A straggler has two of them. Once one has settled the take, the other is a loser: it works on for nothing until it is
called off or reports.
"""

from __future__ import annotations

from collections.abc import Iterator

from actors.scheduling.courses import Course, Try
from actors.scheduling.policy import Assignment, Policy
from actors.scheduling.slots import Slot
from actors.scheduling.standing import Standing
from actors.scheduling.stragglers import Stragglers


class AtWork:
    """The attempts of a job that have begun and have not ended.

    Attributes:
        on_gangs: attempts that occupy a gang now.
    """

    def __init__(self, policy: Policy, standing: Standing) -> None:
        self._standing, self._courses = standing, standing.courses
        self._stragglers = Stragglers(policy.straggler_factor, policy.straggler_s)
        self._takes: set[int] = set()
        self.on_gangs = 0

    def start(self, course: Course, slot: Slot) -> Assignment:
        """A new attempt at a take, by a slot; one that asks for no gang counts as being finished from now on."""
        course.attempt += 1
        gangless = course.take.gangless
        self._standing.keeping.began(course.take)
        course.tries[course.attempt] = Try(slot, course.precision, finishing=gangless)
        if not gangless:
            self.on_gangs += 1
            self._takes.add(course.take.id)
        self._standing.goes_on(course)
        retried = tuple(sorted(course.failures.items()))
        return Assignment(course.take, course.attempt, course.precision, course.low_memory, retried=retried)

    def began(self, take: int, attempt: int, now: float, ranks: int = 1) -> None:
        """A gang begins to render the take: from now on it may be late."""
        tried = self._courses[take].tries.get(attempt)
        if tried is not None:
            tried.began, tried.ranks = now, ranks

    def rendered(self, course: Course, tried: Try, seconds: float) -> None:
        """The gang is free; finishing goes on."""
        tried.finishing, tried.seconds = True, seconds
        self.on_gangs -= 1
        self._stragglers.learn(course.take.cost, seconds)
        self._standing.goes_on(course)

    def leave(self, course: Course, attempt: int) -> Try:
        """An attempt is no longer at work on the take."""
        tried = course.tries.pop(attempt)
        self.on_gangs -= not tried.finishing
        if not course.tries:
            self._takes.discard(course.take.id)
        return tried

    def settle(self, course: Course) -> None:
        """The take is settled: whoever is still at work on it has lost."""
        course.losers.update(course.tries)
        course.tries.clear()
        self._takes.discard(course.take.id)

    def losers(self, take: int) -> tuple[int, ...]:
        """Attempts that are still at work on a take that is settled: their renders are for nothing."""
        return tuple(self._courses[take].losers)

    def dismiss(self, course: Course, attempt: int) -> Try | None:
        """A loser has ended; None where the attempt is none."""
        late = course.losers.pop(attempt, None)
        if late is not None:
            self.on_gangs -= not late.finishing
        return late

    def late(self, now: float) -> Iterator[Course]:
        """Takes with one attempt at work that renders for longer than it should, and that had no copy yet."""
        for take in self._takes:
            course = self._courses[take]
            (tried, *others) = course.tries.values()
            if others or course.copied or tried.finishing or tried.began is None:
                continue
            if self._stragglers.overdue(course.take.cost, ran_s=now - tried.began, ranks=tried.ranks):
                yield course
