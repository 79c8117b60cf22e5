"""The scheduler: which take a slot renders next, and when a job is over. A pure state machine.

No Ray and no clock: times come in as seconds since the epoch, events come in as calls, decisions come back as values.
What became of an attempt is told to its ``outcomes``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from actors.scheduling.accounts import Accounts
from actors.scheduling.at_work import AtWork
from actors.scheduling.budgets import Room
from actors.scheduling.outcomes import Outcomes
from actors.scheduling.policy import Assignment, JobState, Orphan, Policy, State
from actors.scheduling.slots import Slot, Slots
from actors.scheduling.standing import Standing
from actors.scheduling.takes import Shape, Take


class Scheduler:
    """Takes of one job. ``expected`` counts takes that will be added later, so that the job is not done too early.

    Attributes:
        accounts: GPU seconds. slots: where gangs stand, with their deaths. at_work: the attempts at work.
        outcomes: takes reports on them. standing: where every take stands.
        reason: why the job stops, if it does. held: why nothing is handed out for the time being, if it is so.
        unloaded: takes that are still to be added.
    """

    def __init__(self, policy: Policy | None = None, *, expected: int = 0) -> None:
        policy = policy or Policy()
        self.accounts = Accounts()
        self.slots = Slots(policy.slot_deaths)
        self.standing = Standing(policy, self.accounts)
        self.at_work = AtWork(policy, self.standing)
        self.outcomes = Outcomes(
            policy, self.accounts, self.slots, self.standing, self.at_work, self.stop,
            pending=lambda: self.counts()["pending"] > 0,
        )  # fmt: skip
        self.unloaded = expected
        self.reason: str | None = None
        self.held: str | None = None
        self._stop: JobState | None = None

    # Takes come in

    def add(self, takes: Iterable[Take]) -> None:
        """Adds takes that wait to be rendered, some of them for others (``Take.after``), in any order.

        One whose predecessors were given up is given up at once: see `take_orphans`.
        """
        for take in takes:
            self.standing.add(take)
            self.unloaded = max(0, self.unloaded - 1)

    def add_settled(
        self, shard: int, *, cached: int = 0, quarantined: int = 0, skipped: int = 0, seconds: float = 0.0
    ) -> None:
        """Counts takes of a shard that need no rendering: commits found, and what those had cost; takes given up, or
        not wanted because enough others have passed.
        """
        tally = self.standing.tally
        tally.add(shard, State.CACHED, cached)
        tally.add(shard, State.QUARANTINED, quarantined)
        tally.add(shard, State.SKIPPED, skipped)
        self.accounts.book_cached(seconds)

    def note_settled(self, take: int, *, done: bool) -> None:
        """What became, before this job, of a take that others come after. Counted by `add_settled`, not here."""
        self.standing.waiting.note(take, done=done)

    def note_passed(self, shot: tuple[str, str], takes: int) -> None:
        """So many takes of a shot with `keep` had passed before this job began. Comes before the shot's own takes."""
        self.standing.keeping.passed(shot, takes)

    def charge(self, shot: tuple[str, str], seconds: float) -> None:
        """Counts what takes of a shot had cost before this job began towards the shot's budget, and nowhere else."""
        self.standing.budgets.charge(shot, seconds)

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
        late = [
            course for course in self.at_work.late(now) if all(tried.slot != slot for tried in course.tries.values())
        ]
        for course in sorted(late, key=lambda course: next(iter(course.tries.values())).began or now):
            if self.standing.budgets.room(course.take) is Room.FREE:
                course.copied = True
                return replace(self.at_work.start(course, slot), copy=True)
        return None

    def overdue(self, now: float) -> int:
        """Takes that a copy would be made of if a gang were idle."""
        return 0 if self._closed else sum(1 for _ in self.at_work.late(now))

    def hold(self, reason: str) -> None:
        """Hands nothing out until `go_on`; takes at work are not touched."""
        self.held = reason

    def go_on(self) -> None:
        """Hands takes out again."""
        self.held = None

    def take_orphans(self) -> list[Orphan]:
        """Takes given up with the one that they come after, since this was last asked."""
        return self.standing.waiting.take_orphans()

    def take_skipped(self) -> list[Take]:
        """Takes skipped because enough others of their shots have passed, since this was last asked."""
        return self.standing.take_skipped()

    def next_due(self, *, gangless: bool = False) -> float | None:
        """When the earliest take that waits (not_before, back-off) becomes due, of those for gangs or of the others."""
        return self.standing.waiting.next_due(gangless=gangless)

    def stop(self, state: JobState, reason: str) -> None:
        """Hands nothing out from now on. The first reason stands."""
        if self._stop is None:
            self._stop, self.reason = state, reason

    # What is seen from outside

    @property
    def rendering(self) -> int:
        """Attempts that occupy a gang now."""
        return self.at_work.on_gangs

    @property
    def waiting(self) -> int:
        """Takes that are loaded and may be handed to a gang: those that wait for others are not among them."""
        return self.standing.ready

    @property
    def live(self) -> int:
        """Takes being rendered or finished now."""
        return self.standing.tally.live

    @property
    def state(self) -> JobState:
        """``running`` until no take is live and none can be handed out any more."""
        if self.live:
            return "running"
        if self._stop:
            return self._stop
        tally = self.standing.tally
        waiting = tally[State.PENDING] + self.unloaded
        if waiting and not self.standing.budgets.job_is_full:
            return "running"
        return "budget" if waiting or tally[State.HELD] or tally[State.BLOCKED] else "done"

    def counts(self) -> dict[str, int]:
        """Takes by state; the states are disjoint and add up to ``total``. Held takes count as pending."""
        return self.standing.tally.counts(self.unloaded)

    def shards(self) -> list[dict[str, int]]:
        """Per shard, in order: shard, total, done (committed or cached), running, failed (quarantined), skipped."""
        return self.standing.tally.shards()

    def state_of(self, take: int) -> State:
        return self.standing.courses[take].state

    # Inside

    @property
    def _closed(self) -> bool:
        """Nothing is handed out now, whoever asks."""
        return self._stop is not None or self.held is not None or self.standing.budgets.job_is_full

    def _hand_out(self, slot: Slot, now: float, near: Shape | None, *, gangless: bool) -> Assignment | None:
        if self._closed:
            return None
        course = self.standing.next(now, near, gangless=gangless)
        if course is not None:
            return self.at_work.start(course, slot)
        self._look_for_knots()
        return None

    def _look_for_knots(self) -> None:
        """Takes that wait for one another, or for one that is in no plan, would wait for ever."""
        tally = self.standing.tally
        stuck = tally[State.BLOCKED] and not (self.live or self.unloaded or tally[State.PENDING] or tally[State.HELD])
        if stuck:
            self.stop("failed", f"{tally[State.BLOCKED]} takes wait for others that this job does not have")
