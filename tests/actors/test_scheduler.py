"""The scheduler's rules, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from actors.errors import ErrorClass
from actors.scheduling.policy import Policy, State
from actors.scheduling.scheduler import Scheduler
from actors.scheduling.takes import Take, TakeQueue

LARGE, SMALL = (64, 64, 17), (32, 32, 5)


def made(*takes: Take, **policy: Any) -> Scheduler:
    scheduler = Scheduler(Policy(**policy))
    scheduler.add(takes)
    return scheduler


def take(number: int, **more: Any) -> Take:
    return Take(number, ("show", f"s{number}"), **more)


def handed(scheduler: Scheduler, slot: str, now: float) -> int | None:
    """The take that a slot is handed; None where it gets none."""
    given = scheduler.next(slot, now)
    return None if given is None else given.take.id


def order(scheduler: Scheduler, now: float = 0.0) -> list[int]:
    """Hands out and commits all that is due."""
    ids = []
    while (given := scheduler.next("slot", now)) is not None:
        ids.append(given.take.id)
        scheduler.outcomes.rendered(given.take.id, given.attempt, 1.0)
        scheduler.outcomes.committed(given.take.id, given.attempt)
    return ids


def test_priority_then_deadline_then_the_largest_work() -> None:
    scheduler = made(
        take(0, cost=1.0), take(1, cost=9.0), take(2, cost=5.0, deadline=50.0), take(3, cost=1.0, deadline=20.0),
        take(4, cost=0.1, priority=1),
    )  # fmt: skip
    assert order(scheduler) == [4, 3, 2, 1, 0]
    assert scheduler.state == "done"


def test_a_take_is_not_handed_out_before_its_time() -> None:
    scheduler = made(take(0, not_before=100.0, priority=5), take(1))
    assert order(scheduler, now=99.0) == [1]
    assert (scheduler.next_due(), scheduler.state) == (100.0, "running")
    assert order(scheduler, now=100.0) == [0]


def test_a_gang_keeps_its_shape_until_much_larger_work_waits() -> None:
    queue = TakeQueue()
    for number, shape, cost in [(0, LARGE, 10.0), (1, SMALL, 6.0), (2, SMALL, 4.0)]:
        queue.push(take(number, shape=shape, cost=cost))
    first, second, third = (queue.pop(0.0, near=SMALL) for _ in range(3))
    assert [entry and entry.id for entry in (first, second, third)] == [1, 0, 2]
    assert queue.pop(0.0) is None


def test_a_retry_goes_first() -> None:
    scheduler = made(take(0, cost=1.0), take(1, cost=9.0))
    given = scheduler.next("a", 0.0)
    assert given is not None
    assert given.take.id == 1
    other = scheduler.next("b", 0.0)
    assert other is not None
    scheduler.outcomes.failed(0, 1, ErrorClass.INTERNAL, 0.0)
    scheduler.add([take(2, cost=99.0)])
    again = scheduler.next("b", 0.0)
    assert again is not None
    assert (again.take.id, again.attempt) == (0, 2)


@pytest.mark.parametrize(
    ("error", "attempts"),
    [("input", 1), ("policy", 1), ("nan", 2), ("oom", 3), ("quality", 2), ("internal", 3)],
)
def test_faults_of_the_shot_count_to_quarantine(error: str, attempts: int) -> None:
    scheduler = made(take(0))
    for number in range(1, attempts + 1):
        given = scheduler.next("a", 0.0)
        assert given is not None
        assert given.attempt == number
        verdict = scheduler.outcomes.failed(0, number, ErrorClass(error), 0.0, 2.0)
    assert verdict.kind == "quarantine"
    assert scheduler.counts()["quarantined"] == 1
    assert scheduler.state == "done"
    assert scheduler.accounts.failed == 2.0 * attempts


@pytest.mark.parametrize("error", ["nan", "quality"])
def test_what_came_out_unusable_is_tried_once_more_in_fp32(error: str) -> None:
    scheduler = made(take(0))
    scheduler.next("a", 0.0)
    assert scheduler.outcomes.failed(0, 1, ErrorClass.OOM, 0.0).kind == "retry"
    scheduler.next("a", 0.0)
    # What went wrong before does not take this chance away.
    assert scheduler.outcomes.failed(0, 2, ErrorClass(error), 0.0).kind == "retry"
    third = scheduler.next("a", 0.0)
    assert third is not None
    assert (third.precision, third.low_memory) == ("float32", True)
    assert scheduler.outcomes.failed(0, 3, ErrorClass(error), 0.0).kind == "quarantine"


def test_memory_that_ran_out_is_tried_with_less_of_it() -> None:
    scheduler = made(take(0))
    scheduler.next("a", 0.0)
    scheduler.outcomes.failed(0, 1, ErrorClass.OOM, 0.0)
    second = scheduler.next("a", 0.0)
    assert second is not None
    assert (second.precision, second.low_memory) == (None, True)


def test_faults_of_the_farm_never_quarantine_but_break_the_job() -> None:
    scheduler = made(take(0), farm_faults=20)
    now = 0.0
    for number in range(1, 21):
        given = scheduler.next("a", now)
        assert given is not None
        verdict = scheduler.outcomes.failed(0, number, ErrorClass.STORE, now)
        assert verdict.kind == "retry"
        assert 0.7 <= verdict.delay <= 75.0
        now += verdict.delay
    assert scheduler.state == "failed"
    assert scheduler.reason is not None
    assert "20 faults of the farm in a row" in scheduler.reason
    assert scheduler.counts()["pending"] == 1


def test_a_commit_closes_the_breaker_again() -> None:
    scheduler = made(take(0), take(1), farm_faults=3)
    for number in (1, 2):
        scheduler.next("a", 1e6 * number)
        scheduler.outcomes.failed(0, number, ErrorClass.NODE, 1e6 * number)
    scheduler.next("b", 0.0)
    scheduler.outcomes.rendered(1, 1, 1.0)
    scheduler.outcomes.committed(1, 1)
    scheduler.next("a", 1e8)
    scheduler.outcomes.failed(0, 3, ErrorClass.NODE, 1e8)
    assert scheduler.state == "running"


def test_three_deaths_quarantine_a_take_and_spare_the_slot() -> None:
    scheduler = made(take(0), take(1))
    verdicts = []
    for number in (1, 2, 3):
        given = scheduler.next("a", 0.0)
        assert given is not None
        assert given.take.id == 0
        verdicts.append(scheduler.outcomes.died("a", 0.0, 0, number, 1.0))
    assert [verdict.kind for verdict in verdicts] == ["retry", "retry", "quarantine"]
    assert not scheduler.slots.retired("a")
    given = scheduler.next("a", 0.0)
    assert given is not None
    assert given.take.id == 1


def test_a_machine_that_fails_its_gangs_loses_the_slot_and_no_take_is_blamed() -> None:
    scheduler = made(take(0), take(1))
    scheduler.slots.add("b")
    for number in range(1, 5):
        given = scheduler.next("a", 0.0)
        assert given is not None
        verdict = scheduler.outcomes.died("a", 0.0, 0, number, 1.0, ErrorClass.NODE, blames=False)
        assert (verdict.kind, verdict.slot_retired) == ("retry", number == 4)
    assert scheduler.counts()["quarantined"] == 0
    for number in (5, 6):  # nor does what went before count when its own deaths do
        assert scheduler.next("b", 0.0) is not None
        assert scheduler.outcomes.died("b", 0.0, 0, number, 1.0).kind == "retry"


def test_a_death_right_after_another_takes_speaks_against_the_slot() -> None:
    scheduler = made(*(take(number) for number in range(4)), slot_deaths=4)
    for number in range(4):
        given = scheduler.next("a", 0.0)
        assert given is not None
        verdict = scheduler.outcomes.died("a", 0.0, given.take.id, given.attempt)
        # The one that died goes to the front again: hand it to another slot, which commits it.
        other = scheduler.next("b", 0.0)
        assert other is not None
        assert verdict.slot_retired == (number == 3)
        scheduler.outcomes.rendered(other.take.id, other.attempt, 1.0)
        scheduler.outcomes.committed(other.take.id, other.attempt)
    assert scheduler.slots.retired("a")
    assert scheduler.next("a", 0.0) is None
    assert scheduler.counts()["quarantined"] == 0
    assert scheduler.state == "done"


def test_a_commit_on_the_slot_forgets_what_was_before() -> None:
    scheduler = made(take(0), take(1), take(2))
    for _ in range(2):
        given = scheduler.next("a", 0.0)
        assert given is not None
        scheduler.outcomes.died("a", 0.0, given.take.id, given.attempt)
    other = scheduler.next("b", 0.0)  # takes the one that died
    assert other is not None
    mine = scheduler.next("a", 0.0)
    assert mine is not None
    scheduler.outcomes.rendered(mine.take.id, mine.attempt, 1.0)
    scheduler.outcomes.committed(mine.take.id, mine.attempt)
    scheduler.outcomes.died("a", 0.0)
    assert not scheduler.slots.retired("a")


def test_a_job_without_slots_ends() -> None:
    scheduler = made(take(0))
    for _ in range(4):
        assert scheduler.state == "running"
        scheduler.outcomes.died("a", 0.0)
    assert scheduler.state == "failed"
    assert "every slot was given up" in str(scheduler.reason)


def test_slot_deaths_must_be_above_take_deaths() -> None:
    with pytest.raises(ValueError, match="slot_deaths"):
        Policy(take_deaths=4, slot_deaths=4)


def test_the_budget_of_a_shot_holds_its_other_takes() -> None:
    shot = ("show", "s")
    scheduler = made(*(Take(number, shot, cost=1.0, budget=10.0) for number in range(4)), take(9))
    one = scheduler.next("a", 0.0)
    assert one is not None
    scheduler.outcomes.rendered(one.take.id, one.attempt, 9.5)
    two = scheduler.next("a", 0.0)  # 9.5 of 10 are known to be used, though not booked yet
    assert two is not None
    assert two.take.id != 9
    three = scheduler.next("b", 0.0)  # 9.5 and an estimate of 1: the rest of the shot waits
    assert three is not None
    assert three.take.id == 9
    assert scheduler.next("c", 0.0) is None
    scheduler.outcomes.committed(one.take.id, one.attempt)
    scheduler.outcomes.rendered(two.take.id, two.attempt, 1.0)
    scheduler.outcomes.committed(two.take.id, two.attempt)
    assert scheduler.next("c", 0.0) is None
    assert [scheduler.state_of(number) for number in range(4)].count(State.HELD) == 2
    scheduler.outcomes.rendered(9, 1, 1.0)
    scheduler.outcomes.committed(9, 1)
    assert scheduler.state == "budget"
    assert scheduler.counts()["pending"] == 2


def test_earlier_takes_count_towards_the_budget_of_their_shot() -> None:
    scheduler = made(Take(0, ("show", "s"), budget=10.0))
    scheduler.charge(("show", "s"), 11.0)
    assert scheduler.next("a", 0.0) is None
    assert scheduler.state == "budget"
    assert scheduler.accounts.spent == 0.0


def test_the_budget_of_a_job_counts_failures_too() -> None:
    scheduler = made(take(0), take(1), take(2), budget_gpu_s=10.0)
    scheduler.next("a", 0.0)
    scheduler.outcomes.failed(0, 1, ErrorClass.INTERNAL, 0.0, 10.0)
    assert scheduler.next("a", 0.0) is None
    assert scheduler.state == "budget"


def test_a_lost_finisher_whose_commit_stood_is_booked_once() -> None:
    scheduler = made(take(0))
    scheduler.next("a", 0.0)
    scheduler.outcomes.rendered(0, 1, 7.0)
    scheduler.outcomes.finisher_died("node", 0.0, 0, 1)
    assert scheduler.accounts.as_dict() == {"rendered": 0.0, "failed": 7.0, "duplicate": 0.0, "cached": 0.0}
    scheduler.next("a", 0.0)
    scheduler.outcomes.found(0, 2, 7.0, ours=True)
    assert scheduler.accounts.as_dict() == {"rendered": 7.0, "failed": 0.0, "duplicate": 0.0, "cached": 0.0}
    assert scheduler.counts()["committed"] == 1


def test_a_take_that_kills_finishers_is_given_up_though_other_takes_are_finished() -> None:
    scheduler = made(take(0), take(1))
    for number in (1, 2, 3):
        given = scheduler.next("a", 0.0)
        assert given is not None
        assert given.take.id == 0
        scheduler.outcomes.rendered(0, number, 1.0)
        verdict = scheduler.outcomes.finisher_died("node", 0.0, 0, number)
    assert verdict.kind == "quarantine"
    assert order(scheduler) == [1]


def test_a_duplicate_is_booked_as_one() -> None:
    scheduler = made(take(0))
    scheduler.next("a", 0.0)
    scheduler.outcomes.rendered(0, 1, 4.0)
    scheduler.outcomes.committed(0, 1, adopted=True)
    assert scheduler.accounts.as_dict()["duplicate"] == 4.0
    assert scheduler.state == "done"


def test_stop_hands_nothing_out_and_waits_for_what_is_out() -> None:
    scheduler = made(take(0), take(1))
    scheduler.next("a", 0.0)
    scheduler.stop("stopped", "enough")
    scheduler.stop("failed", "a later reason does not count")
    assert scheduler.next("b", 0.0) is None
    assert scheduler.state == "running"
    scheduler.outcomes.released(0, 1, 0.0, 3.0)
    assert (scheduler.state, scheduler.reason) == ("stopped", "enough")
    assert scheduler.counts()["pending"] == 2
    assert scheduler.accounts.failed == 3.0


def test_a_job_is_not_done_while_takes_are_still_to_be_loaded() -> None:
    scheduler = Scheduler(expected=2)
    assert scheduler.state == "running"
    scheduler.add([take(0), take(1)])
    assert order(scheduler) == [0, 1]
    assert scheduler.state == "done"


def test_a_take_comes_in_once() -> None:
    scheduler = made(take(0))
    with pytest.raises(ValueError, match="added before"):
        scheduler.add([take(0)])


def done(scheduler: Scheduler, number: int, attempt: int = 1) -> None:
    scheduler.outcomes.rendered(number, attempt, 1.0)
    scheduler.outcomes.committed(number, attempt)


def test_a_take_waits_for_those_that_it_comes_after() -> None:
    scheduler = made(take(2, after=(1,), cost=9.0), take(1, after=(0,), cost=5.0), take(0), take(3, cost=0.5))
    assert scheduler.waiting == 2
    assert scheduler.counts()["pending"] == 4
    first, other = scheduler.next("a", 0.0), scheduler.next("b", 0.0)
    assert first is not None
    assert other is not None
    assert (first.take.id, other.take.id) == (0, 3)  # chains of their own run side by side
    assert scheduler.next("c", 0.0) is None
    assert scheduler.state == "running"
    done(scheduler, 0)
    second = scheduler.next("a", 0.0)
    assert second is not None
    assert second.take.id == 1
    scheduler.outcomes.failed(1, 1, ErrorClass.INTERNAL, 0.0)
    assert handed(scheduler, "a", 0.0) == 1
    done(scheduler, 1, 2)
    assert order(scheduler) == [2]
    done(scheduler, 3)
    assert scheduler.state == "done"


def test_a_take_given_up_takes_with_it_what_comes_after() -> None:
    scheduler = made(*(take(number, after=(number - 1,) if number else ()) for number in range(4)), take(9))
    assert handed(scheduler, "a", 0.0) == 0
    scheduler.outcomes.failed(0, 1, ErrorClass.INPUT, 0.0)
    assert [(orphan.take.id, orphan.upstream) for orphan in scheduler.take_orphans()] == [(1, 0), (2, 1), (3, 2)]
    assert scheduler.take_orphans() == []
    assert scheduler.counts()["quarantined"] == 4
    assert order(scheduler) == [9]
    assert scheduler.state == "done"
    scheduler.add([take(10, after=(3, 9))])  # loaded later
    assert [(orphan.take.id, orphan.upstream) for orphan in scheduler.take_orphans()] == [(10, 3)]


def test_one_take_of_several_is_enough_where_it_says_so_but_all_are_waited_for() -> None:
    scheduler = made(take(0), take(1), take(2, after=(0, 1), needs=1))
    given = [scheduler.next("a", 0.0), scheduler.next("b", 0.0)]
    assert [entry.take.id for entry in given if entry] == [0, 1]
    done(scheduler, 1)
    assert scheduler.next("a", 0.0) is None
    scheduler.outcomes.failed(0, 1, ErrorClass.INPUT, 0.0)
    assert scheduler.take_orphans() == []
    assert order(scheduler) == [2]
    scheduler = made(take(0), take(1), take(2, after=(0, 1), needs=1))
    for number, slot in enumerate("ab"):
        scheduler.next(slot, 0.0)
        scheduler.outcomes.failed(number, 1, ErrorClass.INPUT, 0.0)
    assert [(orphan.take.id, orphan.upstream) for orphan in scheduler.take_orphans()] == [(2, 1)]


def test_what_was_settled_before_the_job_is_known() -> None:
    scheduler = Scheduler(expected=2)
    scheduler.note_settled(0, done=True)
    scheduler.note_settled(1, done=False)
    scheduler.add([take(10, after=(0,)), take(11, after=(0, 1))])
    assert [(orphan.take.id, orphan.upstream) for orphan in scheduler.take_orphans()] == [(11, 1)]
    assert order(scheduler) == [10]


def test_a_take_is_as_urgent_as_the_most_urgent_one_that_waits_for_it() -> None:
    scheduler = made(take(0), take(1, after=(0,)), take(2, cost=50.0, priority=3))
    scheduler.add([take(3, after=(1,), priority=5), take(4, after=(5,), deadline=9.0), take(5), take(6, deadline=7.0)])
    assert order(scheduler) == [0, 1, 3, 2, 6, 5, 4]


def test_hurry_does_not_shorten_a_back_off() -> None:
    scheduler = made(take(0, not_before=50.0))
    scheduler.add([take(1, after=(0,), priority=5)])
    assert order(scheduler, 49.0) == []
    assert handed(scheduler, "a", 50.0) == 0
    verdict = scheduler.outcomes.failed(0, 1, ErrorClass.STORE, 50.0)
    scheduler.add([take(2, after=(0,), priority=9)])
    assert scheduler.next("a", 50.0) is None
    assert order(scheduler, 50.0 + verdict.delay) == [0, 2, 1]


def test_takes_that_wait_for_one_another_stop_the_job_with_a_reason() -> None:
    scheduler = made(take(0, after=(1,)), take(1, after=(0,)), take(2))
    assert order(scheduler) == [2]
    assert scheduler.state == "failed"
    assert scheduler.reason is not None
    assert "2 takes wait for others" in scheduler.reason
    with pytest.raises(ValueError, match="waits for itself"):
        made(take(0, after=(0,)))


def test_a_take_whose_upstream_is_out_of_budget_waits_for_more_of_it() -> None:
    scheduler = made(take(0, budget=1.0), take(1, after=(0,)))
    scheduler.charge(("show", "s0"), 2.0)
    assert scheduler.next("a", 0.0) is None
    assert (scheduler.state, scheduler.counts()["pending"]) == ("budget", 2)


def test_a_take_without_a_picture_of_its_own_asks_for_no_gang() -> None:
    scheduler = made(take(0), take(1, after=(0,), gangless=True, cost=0.0))
    assert order(scheduler) == [0]
    assert (scheduler.waiting, scheduler.rendering, scheduler.state) == (0, 0, "running")
    assert scheduler.next("a", 0.0) is None
    given = scheduler.next_gangless(0.0)
    assert given is not None
    assert (given.take.id, scheduler.live, scheduler.rendering) == (1, 1, 0)
    scheduler.outcomes.failed(1, 1, ErrorClass.STORE, 0.0)
    assert scheduler.next_gangless(0.0) is None
    given = scheduler.next_gangless(scheduler.next_due(gangless=True) or 0.0)
    assert given is not None
    assert given.attempt == 2
    assert scheduler.outcomes.committed(1, 2).kind == "committed"
    assert (scheduler.state, scheduler.counts()["committed"]) == ("done", 2)
