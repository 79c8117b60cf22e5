"""Shots of which a number of takes is to be kept: how many are at work, when others are skipped, and what follows."""

from __future__ import annotations

from typing import Any

from actors.errors import ErrorClass
from actors.scheduling.policy import Policy, State
from actors.scheduling.scheduler import Scheduler
from actors.scheduling.takes import Take

SHOT = ("show", "a")


def takes(count: int, keep: int | None, first: int = 0, **more: Any) -> list[Take]:
    return [Take(number, SHOT, keep=keep, **more) for number in range(first, first + count)]


def made(*listed: Take, **policy: Any) -> Scheduler:
    scheduler = Scheduler(Policy(**policy))
    scheduler.add(listed)
    return scheduler


def out(scheduler: Scheduler, *slots: str) -> list[int]:
    given = [scheduler.next(slot, 0.0) for slot in slots]
    return [one.take.id for one in given if one is not None]


def commit(scheduler: Scheduler, take: int, attempt: int = 1, *, passed: bool) -> None:
    assert scheduler.outcomes.rendered(take, attempt, 1.0)
    assert scheduler.outcomes.committed(take, attempt, passed=passed).kind == "committed"


def states(scheduler: Scheduler, count: int) -> list[str]:
    return [str(scheduler.state_of(number)) for number in range(count)]


def test_only_as_many_are_at_work_as_are_needed() -> None:
    scheduler = made(*takes(5, 2))
    assert out(scheduler, "x", "y", "z") == [0, 1]
    assert scheduler.waiting == 0, "no gang is wanted for takes that may not be needed"
    commit(scheduler, 0, passed=False)
    assert out(scheduler, "x", "z") == [2]
    commit(scheduler, 1, passed=True)
    assert out(scheduler, "y") == [], "one is at work, and one is needed"
    commit(scheduler, 2, passed=True)
    assert states(scheduler, 5) == ["committed", "committed", "committed", "skipped", "skipped"]
    assert [take.id for take in scheduler.take_skipped()] == [3, 4] and scheduler.take_skipped() == []
    counts = scheduler.counts()
    assert (counts["committed"], counts["skipped"], counts["pending"], counts["total"]) == (3, 2, 0, 5)
    assert scheduler.shards() == [{"shard": 0, "total": 5, "done": 3, "running": 0, "failed": 0, "skipped": 2}]
    assert scheduler.state == "done" and scheduler.standing.planned_settled == 5.0


def test_ahead_lets_more_be_at_work() -> None:
    assert out(made(*takes(5, 1), keep_ahead=2), "w", "x", "y", "z") == [0, 1, 2]


def test_what_is_at_work_when_enough_have_passed_is_finished_and_not_tried_again() -> None:
    scheduler = made(*takes(4, 1), keep_ahead=1)
    assert out(scheduler, "x", "y") == [0, 1]
    commit(scheduler, 0, passed=True)
    assert states(scheduler, 4) == ["committed", "running", "skipped", "skipped"]
    assert scheduler.outcomes.failed(1, 1, ErrorClass.STORE, 0.0).kind == "retry"
    assert scheduler.state_of(1) is State.SKIPPED and scheduler.state == "done"
    assert out(scheduler, "x", "y") == []


def test_all_are_spent_where_none_will_do() -> None:
    scheduler = made(*takes(3, 1))
    for number in range(3):
        assert out(scheduler, "x") == [number]
        commit(scheduler, number, passed=False)
    assert scheduler.state == "done" and scheduler.counts()["skipped"] == 0


def test_a_take_given_up_is_spent_and_makes_room() -> None:
    scheduler = made(*takes(2, 1))
    assert out(scheduler, "x") == [0]
    assert scheduler.outcomes.failed(0, 1, ErrorClass.INPUT, 0.0).kind == "quarantine"
    assert out(scheduler, "x") == [1]


def test_what_had_passed_before_counts_also_for_takes_that_come_later() -> None:
    scheduler = Scheduler()
    scheduler.note_passed(SHOT, 1)
    scheduler.add(takes(2, 2))
    assert out(scheduler, "x", "y") == [0]
    commit(scheduler, 0, passed=True)
    scheduler.add(takes(2, 2, first=2))
    assert states(scheduler, 4) == ["committed", "skipped", "skipped", "skipped"]


def test_takes_without_keep_are_none_of_it() -> None:
    scheduler = made(*takes(2, 1), *takes(2, None, first=2))
    assert sorted(out(scheduler, "w", "x", "y", "z")) == [0, 2, 3]
    commit(scheduler, 2, passed=True)
    assert scheduler.state_of(1) is State.PENDING, "people asked for that one: it spares none that the catalog wants"


def test_a_skipped_take_stays_so_when_what_it_waited_for_is_done() -> None:
    other = Take(9, ("show", "other"))
    scheduler = made(other, *takes(1, 1), *takes(1, 1, first=1, after=(9,)))
    assert sorted(out(scheduler, "x", "y")) == [0, 9]
    commit(scheduler, 0, passed=True)
    assert scheduler.state_of(1) is State.SKIPPED
    commit(scheduler, 9, passed=True)
    assert scheduler.state_of(1) is State.SKIPPED and scheduler.state == "done"


def test_a_copy_shares_the_fate_of_its_original() -> None:
    copies = [Take(10 + n, ("show", "copy"), keep=1, after=(n,), needs=1, gangless=True) for n in range(3)]
    scheduler = made(*takes(3, 1), *copies)
    assert out(scheduler, "x") == [0]
    assert scheduler.outcomes.failed(0, 1, ErrorClass.INPUT, 0.0).kind == "quarantine"
    assert [orphan.take.id for orphan in scheduler.take_orphans()] == [10]
    assert out(scheduler, "x") == [1]
    commit(scheduler, 1, passed=True)
    assert scheduler.state_of(12) is State.SKIPPED and scheduler.take_orphans() == []
    given = scheduler.next_gangless(0.0)
    assert given is not None and given.take.id == 11
    assert scheduler.outcomes.committed(11, 1, passed=True).kind == "committed"
    assert scheduler.state == "done" and scheduler.counts()["skipped"] == 2


def test_a_shot_that_starts_from_one_that_has_enough_may_start() -> None:
    after = Take(9, ("show", "next"), after=(0, 1, 2), needs=1)
    scheduler = made(*takes(3, 1), after)
    assert out(scheduler, "x", "y") == [0]
    commit(scheduler, 0, passed=True)
    assert out(scheduler, "x") == [9]


def test_a_budget_that_is_used_up_and_a_keep_that_is_not_met_end_as_a_budget() -> None:
    scheduler = made(*takes(3, 1, budget=0.5))
    assert out(scheduler, "x") == [0]
    commit(scheduler, 0, passed=False)
    assert out(scheduler, "x") == [] and scheduler.state == "budget"
