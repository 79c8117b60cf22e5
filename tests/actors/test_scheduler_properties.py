"""The scheduler under any order of events: nothing is lost, nothing happens twice, the books add up, and it ends."""

from __future__ import annotations

import math
from collections import Counter

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.errors import ErrorClass
from actors.scheduling.policy import WAITING, Assignment, Policy, State
from actors.scheduling.scheduler import Scheduler
from actors.scheduling.takes import Take

SLOTS = ("a", "b", "c")
seconds = st.floats(0.0, 50.0)
takes = st.lists(
    st.builds(
        lambda shot, shape, shard, cost, priority, deadline, wait, behind, enough, gangless: {
            "shot": ("show", f"s{shot}"), "shape": (shape, shape, 1), "shard": shard, "cost": cost,
            "priority": priority, "deadline": deadline, "not_before": wait, "behind": behind, "enough": enough,
            "gangless": gangless,
        },
        st.integers(0, 2), st.integers(1, 3), st.integers(0, 3), st.floats(0.5, 100), st.integers(-2, 2),
        st.none() | st.floats(0, 100), st.none() | st.floats(0, 100),
        # Takes that this one comes after, as steps back in the list, and whether one of them is enough.
        st.sets(st.integers(1, 8), max_size=3), st.booleans(), st.integers(0, 3).map(lambda number: number == 0),
    ),
    min_size=2, max_size=20,
)  # fmt: skip
keeps = st.fixed_dictionaries({shot: st.sampled_from([None, 1, 1, 2, 3]) for shot in range(3)})
budgets = st.dictionaries(st.integers(0, 2), st.floats(1, 120), max_size=2)


def made(number, row, caps, chained, keep):
    """A take of the list; what it comes after stands before it, so that no two wait for one another."""
    row = dict(row)
    behind, enough, gangless = row.pop("behind"), row.pop("enough"), row.pop("gangless")
    after = tuple(number - back for back in sorted(behind)) if chained else ()
    shot = int(row["shot"][1][1:])
    return Take(
        id=number, budget=caps.get(shot), keep=keep.get(shot), after=after, needs=1 if enough and after else None,
        gangless=gangless and chained, **row,
    )  # fmt: skip


class SchedulerMachine(RuleBasedStateMachine):
    """Drives a scheduler as a farm would, and keeps books of its own beside it."""

    live = Bundle("live")

    @initialize(
        rows=takes, caps=budgets, cap=st.none() | st.floats(1, 500), farm=st.integers(3, 30),
        given_up=st.integers(2, 50), done=st.sets(st.integers(0, 19), max_size=4),
        gone=st.sets(st.integers(0, 19), max_size=2), shuffle=st.randoms(use_true_random=False),
        chained=st.booleans(), keep=keeps, before=st.dictionaries(st.integers(0, 2), st.integers(1, 2), max_size=1),
        ahead=st.integers(0, 1),
    )  # fmt: skip
    def start(self, rows, caps, cap, farm, given_up, done, gone, shuffle, chained, keep, before, ahead):
        self.takes = [made(number, row, caps, chained, keep) for number, row in enumerate(rows)]
        self.settled = len(done) + len(gone)
        self.policy = Policy(
            budget_gpu_s=cap,
            farm_faults=farm,
            quarantines=given_up,
            straggler_factor=1.1,
            straggler_s=1.0,
            keep_ahead=ahead,
        )
        self.scheduler = Scheduler(self.policy, expected=len(self.takes))
        self.scheduler.add_settled(0, cached=len(done), seconds=7.0 * len(done))
        self.scheduler.add_settled(1, quarantined=len(gone))
        # Those before the first take were settled before the job: even ones done, odd ones given up.
        for number in {other for take in self.takes for other in take.after if other < 0}:
            self.scheduler.note_settled(number, done=number % 2 == 0)
        self.passed = Counter({("show", f"s{shot}"): number for shot, number in before.items()})
        for shot, number in self.passed.items():
            self.scheduler.note_passed(shot, number)
        arriving = list(self.takes)
        shuffle.shuffle(arriving)
        for piece in (arriving[::2], arriving[1::2]):
            self.scheduler.add(piece)
        self.now = 0.0
        self.out: dict[str, Assignment] = {}
        self.finishing: list[tuple[Assignment, float]] = []
        self.spent = 0.0
        self.cached = 7.0 * len(done)
        self.committed: Counter[int] = Counter()
        self.handed: Counter[int] = Counter()
        self.orphans: set[int] = set()
        self.losers: set[tuple[int, int]] = set()  # attempts at work on takes that another has settled
        self.held = False

    @rule(by=st.floats(0, 100))
    def wait(self, by):
        self.now += by

    @rule(near=st.none() | st.integers(1, 3), passes=st.lists(st.booleans(), max_size=4))
    def work(self, near, passes):
        """All idle gangs take what there is, and some of them have their takes committed: what a farm does most."""
        for passed in passes:
            for slot in SLOTS:
                self.hand_out(slot, near)
            if not self.out:
                return
            given = self.out.pop(min(self.out))
            lost = self.lost(given)
            assert self.scheduler.outcomes.rendered(given.take.id, given.attempt, 1.0) != lost
            self.spent += 1.0
            self.losers.discard((given.take.id, given.attempt))
            if not lost:
                verdict = self.scheduler.outcomes.committed(given.take.id, given.attempt, passed=passed)
                assert verdict.kind == "committed"
                self.settled_by(given, passed)

    @rule(slot=st.sampled_from(SLOTS), near=st.none() | st.integers(1, 3))
    def take_next(self, slot, near):
        self.hand_out(slot, near)

    def hand_out(self, slot, near):
        if slot in self.out:
            return
        given = self.scheduler.next(slot, self.now, near and (near, near, 1))
        if given is None:
            return
        assert not self.held
        take = given.take
        assert take.id not in {other.take.id for other in self.out.values()}
        assert take.id not in {other.take.id for other, _ in self.finishing}
        assert not self.committed[take.id]
        assert not take.gangless
        self.check_start(given)
        self.out[slot] = given

    @precondition(lambda self: self.out)
    @rule(data=st.data(), ranks=st.integers(1, 2))
    def begin(self, data, ranks):
        given = self.out[data.draw(st.sampled_from(sorted(self.out)))]
        self.scheduler.at_work.began(given.take.id, given.attempt, self.now, ranks)

    @rule(slot=st.sampled_from(SLOTS))
    def take_copy(self, slot):
        """Of a straggler, by a gang that is idle: of one attempt, elsewhere, once."""
        if slot in self.out:
            return
        late, given = self.scheduler.overdue(self.now), self.scheduler.next_copy(slot, self.now)
        assert given is None or late > 0
        if given is None:
            return
        take = given.take.id
        assert given.copy and not self.held and not self.committed[take]
        assert [other.take.id for other in self.out.values()].count(take) == 1
        assert take not in {other.take.id for other, _ in self.finishing}
        self.handed[take] += 1
        assert given.attempt == self.handed[take]
        self.out[slot] = given
        assert self.scheduler.next_copy("another", self.now) is None or self.scheduler.overdue(self.now) < late

    @rule()
    def hold(self):
        self.scheduler.hold("a pause")
        self.held = True

    @rule()
    def go_on(self):
        self.scheduler.go_on()
        self.held = False

    @rule()
    def take_gangless(self):
        given = self.scheduler.next_gangless(self.now)
        if given is not None:
            assert given.take.gangless and not self.held
            self.check_start(given)
            self.finishing.append((given, 0.0))

    def check_start(self, given):
        take = given.take
        assert take.not_before is None or take.not_before <= self.now
        states = [self.fate(other) for other in take.after]
        assert None not in states
        assert sum(states) >= (len(states) if take.needs is None else take.needs)
        self.handed[take.id] += 1
        assert given.attempt == self.handed[take.id]
        if take.keep is not None:
            beside = {other for other in self.at_work() if self.takes[other].shot == take.shot} - {take.id}
            assert len(beside) < take.keep - self.passed[take.shot] + self.policy.keep_ahead

    def fate(self, take):
        """True: done. False: given up. None: not settled."""
        if take < 0:
            return take % 2 == 0
        state = self.scheduler.state_of(take)
        fates = {State.COMMITTED: True, State.CACHED: True, State.QUARANTINED: False, State.SKIPPED: False}
        return fates.get(state)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), spent=seconds)
    def finish_rendering(self, data, spent):
        slot = data.draw(st.sampled_from(sorted(self.out)))
        given = self.out.pop(slot)
        assert self.scheduler.outcomes.rendered(given.take.id, given.attempt, spent) != self.lost(given)
        if self.lost(given):
            self.spent += spent
            self.losers.discard((given.take.id, given.attempt))
        else:
            self.finishing.append((given, spent))

    def lost(self, given):
        """Whether another attempt has settled the take: what this one has used is duplicate."""
        return (given.take.id, given.attempt) in self.losers

    def settled_by(self, given, passed):
        """The take is done: attempts beside this one are at work for nothing."""
        self.committed[given.take.id] += 1
        self.passed[given.take.shot] += passed and given.take.keep is not None
        beside = [*self.out.values(), *(other for other, _ in self.finishing)]
        self.losers |= {(other.take.id, other.attempt) for other in beside if other.take.id == given.take.id}

    @precondition(lambda self: self.finishing)
    @rule(
        data=st.data(), how=st.sampled_from(["commit", "adopt", "store", "disk", "internal", "finisher"]),
        passed=st.booleans(),
    )  # fmt: skip
    def finish(self, data, how, passed):
        given, spent = self.finishing.pop(data.draw(st.integers(0, len(self.finishing) - 1)))
        take, attempt = given.take.id, given.attempt
        self.spent += spent
        lost = self.lost(given)
        self.losers.discard((take, attempt))
        if how in ("commit", "adopt"):
            verdict = self.scheduler.outcomes.committed(
                take, attempt, adopted=how == "adopt", finisher="f", passed=passed
            )
            assert verdict.kind == ("superseded" if lost else "committed")
            if not lost:
                self.settled_by(given, passed)
        elif how == "finisher":
            self.scheduler.outcomes.finisher_died("f", self.now, take, attempt)
        else:
            self.scheduler.outcomes.failed(take, attempt, ErrorClass(how), self.now)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), error=st.sampled_from(list(ErrorClass)), spent=seconds)
    def fail(self, data, error, spent):
        given = self.out.pop(data.draw(st.sampled_from(sorted(self.out))))
        verdict = self.scheduler.outcomes.failed(given.take.id, given.attempt, error, self.now, spent)
        self.spent += spent
        assert (verdict.kind == "superseded") == self.lost(given)
        self.losers.discard((given.take.id, given.attempt))
        assert (verdict.kind == "quarantine") == (self.scheduler.state_of(given.take.id) is State.QUARANTINED)
        assert error.whose == "shot" or verdict.kind != "quarantine"
        if given.take.id in self.at_work():
            assert verdict.kind in ("outlived", "superseded"), "another attempt is at work: nothing is decided"

    @precondition(lambda self: self.out)
    @rule(data=st.data(), spent=seconds, how=st.sampled_from(["die", "release", "found"]), passed=st.booleans())
    def end_otherwise(self, data, spent, how, passed):
        slot = data.draw(st.sampled_from(sorted(self.out)))
        given = self.out.pop(slot)
        take, attempt = given.take.id, given.attempt
        lost = self.lost(given)
        self.losers.discard((take, attempt))
        if how == "die":
            self.scheduler.outcomes.died(slot, self.now, take, attempt, spent)
            self.spent += spent
        elif how == "release":
            self.scheduler.outcomes.released(take, attempt, self.now, spent)
            self.spent += spent
        else:
            verdict = self.scheduler.outcomes.found(take, attempt, 7.0, ours=False, passed=passed)
            assert verdict.kind == ("superseded" if lost else "committed")
            if not lost:
                self.cached += 7.0
                self.settled_by(given, passed)

    @rule(take=st.integers(0, 19), late=st.integers(1, 3))
    def late_report(self, take, late):
        """A zombie's report changes nothing."""
        if take >= len(self.takes):
            return
        attempt = self.handed[take] - late
        beside = [*self.out.values(), *(other for other, _ in self.finishing)]
        if (take, attempt) in {(other.take.id, other.attempt) for other in beside}:
            return  # not late: it has a copy beside it
        before = self.scheduler.counts(), self.scheduler.accounts.as_dict()
        assert self.scheduler.outcomes.committed(take, attempt).kind == "superseded"
        assert self.scheduler.outcomes.failed(take, attempt, ErrorClass.INTERNAL, self.now, 9.0).kind == "superseded"
        assert (self.scheduler.counts(), self.scheduler.accounts.as_dict()) == before

    def at_work(self):
        """Takes that an attempt is at work on which may still settle them."""
        beside = [*self.out.values(), *(other for other, _ in self.finishing)]
        return {other.take.id for other in beside if not self.lost(other)}

    @invariant()
    def nothing_is_lost(self):
        counts = self.scheduler.counts()
        assert (
            sum(counts[name] for name in counts if name != "total") == counts["total"] == len(self.takes) + self.settled
        )
        assert counts["running"] == len(self.at_work())
        assert self.scheduler.rendering == len(self.out)
        shards = self.scheduler.shards()
        assert sum(row["total"] for row in shards) == counts["total"]
        assert sum(row["done"] for row in shards) == counts["committed"] + counts["cached"]
        assert sum(row["failed"] for row in shards) == counts["quarantined"]
        assert sum(row["skipped"] for row in shards) == counts["skipped"]

    @invariant()
    def nothing_is_done_twice(self):
        assert all(times == 1 for times in self.committed.values())

    @invariant()
    def only_those_are_lost_that_cannot_have_what_they_need(self):
        for orphan in self.scheduler.take_orphans():
            assert orphan.take.id not in self.orphans
            assert orphan.upstream in orphan.take.after
            assert self.fate(orphan.upstream) is False
            self.orphans.add(orphan.take.id)
        for take in self.takes:
            fates = [self.fate(other) for other in take.after]
            hopeless = len(fates) - fates.count(False) < (len(fates) if take.needs is None else take.needs)
            skipped = self.scheduler.state_of(take.id) is State.SKIPPED
            assert (take.id in self.orphans) <= hopeless <= (take.id in self.orphans or skipped)
            assert not hopeless or not self.handed[take.id]

    @invariant()
    def takes_are_skipped_when_enough_have_passed_and_only_then(self):
        for take in self.takes:
            state = self.scheduler.state_of(take.id)
            enough = take.keep is not None and self.passed[take.shot] >= take.keep
            without = any(other >= 0 and self.scheduler.state_of(other) is State.SKIPPED for other in take.after)
            assert not (enough and state in WAITING)
            assert state is not State.SKIPPED or enough or without
        skipped = {take.id for take in self.takes if self.scheduler.state_of(take.id) is State.SKIPPED}
        told = [take.id for take in self.scheduler.take_skipped()]
        assert len(told) == len(set(told)) and set(told) <= skipped

    @invariant()
    def nobody_is_less_urgent_than_what_waits_for_it(self):
        courses = self.scheduler.standing.courses
        for take in self.takes:
            if courses[take.id].state is State.BLOCKED:
                for other in take.after:
                    if self.fate(other) is None:
                        assert courses[other].take.urgency <= courses[take.id].take.urgency

    @invariant()
    def books_add_up(self):
        books = self.scheduler.accounts
        assert math.isclose(books.spent, self.spent, abs_tol=1e-6)
        assert math.isclose(books.cached, self.cached, abs_tol=1e-6)
        assert math.isclose(sum(books.by_shot.values()), books.spent, abs_tol=1e-6)

    def teardown(self):
        """From wherever the farm is now, a healthy one comes to an end, and a sick one too."""
        if not hasattr(self, "scheduler"):
            return
        sick = len(self.takes) % 2
        self.scheduler.go_on()
        for _ in range(len(self.takes) * 200):
            if self.scheduler.state != "running":
                break
            self._go_on(sick=bool(sick))
        state, counts = self.scheduler.state, self.scheduler.counts()
        assert state != "running"
        assert counts["running"] == 0
        if state == "done":
            assert counts["pending"] == 0
        if state == "budget":
            assert counts["pending"] > 0

    def _go_on(self, *, sick: bool) -> None:
        for given, _ in self.finishing:
            self.scheduler.outcomes.committed(given.take.id, given.attempt, passed=given.take.id % 2 == 0)
        self.finishing.clear()
        if (given := self.scheduler.next_gangless(self.now)) is not None:
            self.finishing.append((given, 0.0))
        for slot in SLOTS:
            given = self.out.pop(slot, None) or self.scheduler.next(slot, self.now)
            given = given or self.scheduler.next_copy(slot, self.now)
            if given is None:
                continue
            if sick:
                self.scheduler.outcomes.died(slot, self.now, given.take.id, given.attempt, 1.0)
            elif self.scheduler.outcomes.rendered(given.take.id, given.attempt, 1.0):  # not so of a copy that has lost
                passed = given.take.id % 3 == 0
                verdict = self.scheduler.outcomes.committed(given.take.id, given.attempt, passed=passed)
                assert verdict.kind == "committed"
        for gangless in (False, True):
            self.now = max(self.now, self.scheduler.next_due(gangless=gangless) or self.now)


SchedulerMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestScheduler = SchedulerMachine.TestCase
