"""Copies of takes that run far past their estimate, and jobs that are held: the scheduler's rules, one by one."""

from __future__ import annotations

import pytest

from actors.errors import ErrorClass
from actors.scheduling.policy import Assignment, Policy, State
from actors.scheduling.scheduler import Scheduler
from actors.scheduling.stragglers import Stragglers
from actors.scheduling.takes import Take

RULES = {"straggler_factor": 3.0, "straggler_s": 20.0}


def take(number: int, **more: object) -> Take:
    return Take(number, ("show", f"s{number}"), **{"cost": 2.0, **more})


def given(scheduler: Scheduler, slot: str, now: float = 0.0) -> Assignment:
    found = scheduler.next(slot, now)
    assert found is not None
    return found


def straggling(*more: Take, **policy: object) -> Scheduler:
    """Take 0 was rendered in 10 s; take 1 has been at it since second 0 on slot b. Both cost the same."""
    scheduler = Scheduler(Policy(**{**RULES, **policy}))
    scheduler.add([take(0), take(1), *more])
    first, second = given(scheduler, "a"), given(scheduler, "b")
    scheduler.at_work.began(1, second.attempt, 0.0)
    scheduler.at_work.began(0, first.attempt, 0.0)
    scheduler.outcomes.rendered(0, first.attempt, 10.0)
    scheduler.outcomes.committed(0, first.attempt)
    return scheduler


def copied(scheduler: Scheduler, now: float = 31.0) -> Assignment:
    copy = scheduler.next_copy("a", now)
    assert copy is not None
    scheduler.at_work.began(copy.take.id, copy.attempt, now)
    return copy


def test_the_estimate_is_the_median_of_what_renders_took_per_unit_of_cost() -> None:
    stragglers = Stragglers(factor=3.0, least_s=20.0)
    assert stragglers.estimate(4.0) is None
    assert not stragglers.overdue(4.0, ran_s=1e6, ranks=1)
    for seconds in (2.0, 4.0, 400.0):
        stragglers.learn(2.0, seconds)
    stragglers.learn(0.0, 50.0)  # says nothing
    assert stragglers.estimate(4.0) == 8.0
    assert not stragglers.overdue(4.0, ran_s=23.9, ranks=1)
    assert stragglers.overdue(4.0, ran_s=24.1, ranks=1)
    assert stragglers.overdue(4.0, ran_s=20.1, ranks=2), "GPU seconds count: two ranks are twice as many"
    assert not stragglers.overdue(0.5, ran_s=19.9, ranks=1), "and never before the least time"


def test_one_copy_of_a_straggler_goes_to_an_idle_gang_elsewhere() -> None:
    scheduler = straggling()
    assert scheduler.next_copy("a", 30.0) is None
    assert scheduler.overdue(30.0) == 0
    assert scheduler.overdue(31.0) == 1
    assert scheduler.next_copy("b", 31.0) is None, "not on the slot that is at it"
    copy = copied(scheduler)
    assert (copy.take.id, copy.attempt, copy.copy) == (1, 2, True)
    assert scheduler.rendering == 2
    assert scheduler.counts()["running"] == 1
    assert scheduler.overdue(1e6) == 0
    assert scheduler.next_copy("c", 1e6) is None, "one copy, and never of a copy"


@pytest.mark.parametrize("winner", ["first", "copy"])
def test_the_first_commit_wins_and_the_other_is_duplicate(winner: str) -> None:
    scheduler = straggling()
    copy = copied(scheduler)
    attempts = (1, copy.attempt) if winner == "first" else (copy.attempt, 1)
    assert scheduler.outcomes.rendered(1, attempts[0], 12.0)
    assert scheduler.outcomes.committed(1, attempts[0]).kind == "committed"
    assert scheduler.state_of(1) is State.COMMITTED
    assert scheduler.at_work.losers(1) == (attempts[1],)
    assert scheduler.rendering == 1, "the other still holds its gang"
    assert scheduler.outcomes.released(1, attempts[1], 40.0, 33.0).kind == "superseded"
    assert scheduler.at_work.losers(1) == ()
    assert (scheduler.rendering, scheduler.state) == (0, "done")
    assert scheduler.accounts.as_dict() == {"rendered": 22.0, "failed": 0.0, "duplicate": 33.0, "cached": 0.0}
    assert scheduler.outcomes.superseded == 0


def test_both_rendered_and_the_store_took_the_second() -> None:
    """The copy's commit was there first, and the first attempt, which adopted it, is the first to report."""
    scheduler = straggling()
    copy = copied(scheduler)
    assert scheduler.outcomes.rendered(1, 1, 40.0)
    assert scheduler.outcomes.rendered(1, copy.attempt, 9.0)
    assert scheduler.rendering == 0
    assert scheduler.outcomes.committed(1, 1, adopted=True).kind == "committed"
    assert scheduler.outcomes.committed(1, copy.attempt).kind == "superseded"
    assert scheduler.accounts.as_dict() == {"rendered": 19.0, "failed": 0.0, "duplicate": 40.0, "cached": 0.0}
    assert scheduler.counts()["committed"] == 2


def test_while_another_is_at_work_a_failure_is_counted_and_costs_nothing_else() -> None:
    scheduler = straggling(take_deaths=1, slot_deaths=2)
    copy = copied(scheduler)
    assert scheduler.outcomes.failed(1, 1, ErrorClass.OOM, 40.0, 40.0).kind == "outlived"
    assert scheduler.state_of(1) is State.RUNNING
    assert scheduler.next("b", 40.0) is None
    verdict = scheduler.outcomes.failed(1, copy.attempt, ErrorClass.OOM, 41.0, 10.0)
    assert verdict.kind == "retry"
    again = given(scheduler, "b", 42.0)
    assert (again.take.id, again.attempt, again.low_memory, again.copy) == (1, 3, True, False)
    assert scheduler.outcomes.failed(1, 3, ErrorClass.OOM, 43.0, 1.0).kind == "quarantine", "three faults of its own"
    assert scheduler.accounts.failed == 51.0


def test_a_death_counts_and_the_copy_goes_on_alone() -> None:
    scheduler = straggling(take_deaths=2, slot_deaths=3)
    copy = copied(scheduler)
    assert scheduler.outcomes.died("b", 40.0, 1, 1, 40.0).kind == "outlived"
    assert scheduler.outcomes.died("a", 41.0, 1, copy.attempt, 10.0).kind == "quarantine"
    assert scheduler.accounts.failed == 50.0


def test_a_take_that_goes_back_may_straggle_again() -> None:
    scheduler = straggling()
    copy = copied(scheduler)
    assert scheduler.outcomes.released(1, copy.attempt, 40.0, 9.0).kind == "outlived"
    assert scheduler.next_copy("a", 1e6) is None, "one copy of an attempt"
    scheduler.outcomes.died("b", 40.0, 1, 1, 40.0)
    again = given(scheduler, "b", 50.0)
    scheduler.at_work.began(1, again.attempt, 50.0)
    assert scheduler.next_copy("a", 80.0) is None
    assert scheduler.next_copy("a", 81.0) is not None


def test_a_copy_that_finds_the_take_in_the_store() -> None:
    mine, others = straggling(), straggling()
    copy = copied(mine)
    mine.outcomes.rendered(1, 1, 40.0)
    assert mine.outcomes.found(1, copy.attempt, 40.0, ours=True).kind == "outlived", "the first attempt will tell of it"
    assert mine.outcomes.committed(1, 1).kind == "committed"
    assert mine.accounts.as_dict() == {"rendered": 50.0, "failed": 0.0, "duplicate": 0.0, "cached": 0.0}
    copy = copied(others)
    assert others.outcomes.found(1, copy.attempt, 7.0, ours=False).kind == "committed", (
        "another job was faster than both"
    )
    assert others.at_work.losers(1) == (1,)
    others.outcomes.released(1, 1, 50.0, 50.0)
    assert others.accounts.as_dict() == {"rendered": 10.0, "failed": 0.0, "duplicate": 50.0, "cached": 7.0}


def test_no_copy_past_a_budget_after_a_stop_or_on_a_retired_slot() -> None:
    assert straggling(budget_gpu_s=12.0).next_copy("a", 99.0) is None
    poor = Scheduler(Policy(**RULES))
    poor.add([take(0), take(1, budget=2.0)])
    first, second = given(poor, "a"), given(poor, "b")
    poor.at_work.began(1, second.attempt, 0.0)
    poor.outcomes.rendered(0, first.attempt, 10.0)
    poor.outcomes.committed(0, first.attempt)
    assert poor.next_copy("a", 99.0) is None, "what the shot may use is reserved by the first"
    ended = straggling()
    ended.stop("stopped", "enough")
    assert ended.next_copy("a", 99.0) is None
    tired = straggling()
    for _ in range(4):
        tired.outcomes.died("a", 50.0)
    assert tired.next_copy("a", 99.0) is None


def test_a_held_job_hands_nothing_out_and_loses_nothing() -> None:
    scheduler = straggling(take(2), take(3, gangless=True))
    scheduler.hold("rushes pause")
    assert scheduler.next("a", 50.0) is None
    assert scheduler.next_gangless(50.0) is None
    assert scheduler.next_copy("a", 50.0) is None
    assert scheduler.overdue(50.0) == 0
    assert (scheduler.held, scheduler.state) == ("rushes pause", "running")
    assert scheduler.outcomes.released(1, 1, 50.0, 50.0).kind == "retry"
    assert (scheduler.live, scheduler.state) == (0, "running")
    scheduler.go_on()
    assert scheduler.held is None
    again = given(scheduler, "a", 51.0)
    assert (again.take.id, again.attempt) == (1, 2), "what was released goes first"
    assert scheduler.next_gangless(51.0) is not None
