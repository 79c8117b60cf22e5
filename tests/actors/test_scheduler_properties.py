"""The scheduler under any order of events: nothing is lost, nothing happens twice, the books add up, and it ends."""

from __future__ import annotations

import math
from collections import Counter

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.errors import ErrorClass
from actors.policy import Assignment, Policy, State
from actors.scheduler import Scheduler
from actors.takes import Take

SLOTS = ("a", "b", "c")
seconds = st.floats(0.0, 50.0)
takes = st.lists(
    st.builds(
        lambda shot, shape, shard, cost, priority, deadline, wait: {
            "shot": ("show", f"s{shot}"), "shape": (shape, shape, 1), "shard": shard, "cost": cost,
            "priority": priority, "deadline": deadline, "not_before": wait,
        },
        st.integers(0, 5), st.integers(1, 3), st.integers(0, 3), st.floats(0.5, 100), st.integers(-2, 2),
        st.none() | st.floats(0, 100), st.none() | st.floats(0, 100),
    ),
    min_size=1, max_size=20,
)  # fmt: skip
budgets = st.dictionaries(st.integers(0, 5), st.floats(1, 120), max_size=3)


class SchedulerMachine(RuleBasedStateMachine):
    """Drives a scheduler as a farm would, and keeps books of its own beside it."""

    live = Bundle("live")

    @initialize(
        rows=takes, caps=budgets, cap=st.none() | st.floats(1, 500), farm=st.integers(3, 30),
        given_up=st.integers(2, 50), done=st.sets(st.integers(0, 19), max_size=4),
        gone=st.sets(st.integers(0, 19), max_size=2),
    )  # fmt: skip
    def start(self, rows, caps, cap, farm, given_up, done, gone):
        self.takes = [Take(id=i, budget=caps.get(int(row["shot"][1][1:])), **row) for i, row in enumerate(rows)]
        self.settled = len(done) + len(gone)
        self.policy = Policy(budget_gpu_s=cap, farm_faults=farm, quarantines=given_up)
        self.scheduler = Scheduler(self.policy, expected=len(self.takes))
        self.scheduler.add_settled(0, cached=len(done), seconds=7.0 * len(done))
        self.scheduler.add_settled(1, quarantined=len(gone))
        self.scheduler.add(self.takes)
        self.now = 0.0
        self.out: dict[str, Assignment] = {}
        self.finishing: list[tuple[Assignment, float]] = []
        self.spent = 0.0
        self.cached = 7.0 * len(done)
        self.committed: Counter[int] = Counter()
        self.handed: Counter[int] = Counter()

    @rule(by=st.floats(0, 100))
    def wait(self, by):
        self.now += by

    @rule(slot=st.sampled_from(SLOTS), near=st.none() | st.integers(1, 3))
    def take_next(self, slot, near):
        if slot in self.out:
            return
        given = self.scheduler.next(slot, self.now, near and (near, near, 1))
        if given is None:
            return
        take = given.take
        assert take.id not in {other.take.id for other in self.out.values()}
        assert take.id not in {other.take.id for other, _ in self.finishing}
        assert not self.committed[take.id]
        assert take.not_before is None or take.not_before <= self.now
        self.handed[take.id] += 1
        assert given.attempt == self.handed[take.id]
        self.out[slot] = given

    @precondition(lambda self: self.out)
    @rule(data=st.data(), spent=seconds)
    def finish_rendering(self, data, spent):
        slot = data.draw(st.sampled_from(sorted(self.out)))
        given = self.out.pop(slot)
        assert self.scheduler.rendered(given.take.id, given.attempt, spent)
        self.finishing.append((given, spent))

    @precondition(lambda self: self.finishing)
    @rule(data=st.data(), how=st.sampled_from(["commit", "adopt", "store", "disk", "internal", "finisher"]))
    def finish(self, data, how):
        given, spent = self.finishing.pop(data.draw(st.integers(0, len(self.finishing) - 1)))
        take, attempt = given.take.id, given.attempt
        self.spent += spent
        if how in ("commit", "adopt"):
            verdict = self.scheduler.committed(take, attempt, adopted=how == "adopt", finisher="f")
            assert verdict.kind == "committed"
            self.committed[take] += 1
        elif how == "finisher":
            self.scheduler.finisher_died("f", self.now, take, attempt)
        else:
            self.scheduler.failed(take, attempt, ErrorClass(how), self.now)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), error=st.sampled_from(list(ErrorClass)), spent=seconds)
    def fail(self, data, error, spent):
        given = self.out.pop(data.draw(st.sampled_from(sorted(self.out))))
        verdict = self.scheduler.failed(given.take.id, given.attempt, error, self.now, spent)
        self.spent += spent
        assert (verdict.kind == "quarantine") == (self.scheduler.state_of(given.take.id) is State.QUARANTINED)
        assert error.whose == "shot" or verdict.kind == "retry"

    @precondition(lambda self: self.out)
    @rule(data=st.data(), spent=seconds, how=st.sampled_from(["die", "release", "found"]))
    def end_otherwise(self, data, spent, how):
        slot = data.draw(st.sampled_from(sorted(self.out)))
        given = self.out.pop(slot)
        take, attempt = given.take.id, given.attempt
        if how == "die":
            self.scheduler.died(slot, self.now, take, attempt, spent)
            self.spent += spent
        elif how == "release":
            self.scheduler.released(take, attempt, self.now, spent)
            self.spent += spent
        else:
            assert self.scheduler.found(take, attempt, 7.0, ours=False).kind == "committed"
            self.cached += 7.0
            self.committed[take] += 1

    @rule(take=st.integers(0, 19), late=st.integers(1, 3))
    def late_report(self, take, late):
        """A zombie's report changes nothing."""
        if take >= len(self.takes):
            return
        attempt = self.handed[take] - late
        before = self.scheduler.counts(), self.scheduler.accounts.as_dict()
        assert self.scheduler.committed(take, attempt).kind == "superseded"
        assert self.scheduler.failed(take, attempt, ErrorClass.INTERNAL, self.now, 9.0).kind == "superseded"
        assert (self.scheduler.counts(), self.scheduler.accounts.as_dict()) == before

    @invariant()
    def nothing_is_lost(self):
        counts = self.scheduler.counts()
        assert (
            sum(counts[name] for name in counts if name != "total") == counts["total"] == len(self.takes) + self.settled
        )
        assert counts["running"] == len(self.out) + len(self.finishing)
        shards = self.scheduler.shards()
        assert sum(row["total"] for row in shards) == counts["total"]
        assert sum(row["done"] for row in shards) == counts["committed"] + counts["cached"]
        assert sum(row["failed"] for row in shards) == counts["quarantined"]

    @invariant()
    def nothing_is_done_twice(self):
        assert all(times == 1 for times in self.committed.values())

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
            self.scheduler.committed(given.take.id, given.attempt)
        self.finishing.clear()
        for slot in SLOTS:
            given = self.out.pop(slot, None) or self.scheduler.next(slot, self.now)
            if given is None:
                continue
            if sick:
                self.scheduler.died(slot, self.now, given.take.id, given.attempt, 1.0)
            else:
                assert self.scheduler.rendered(given.take.id, given.attempt, 1.0)
                assert self.scheduler.committed(given.take.id, given.attempt).kind == "committed"
        self.now = max(self.now, self.scheduler.next_due() or self.now)


SchedulerMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestScheduler = SchedulerMachine.TestCase
