"""The scheduler's rules, one by one."""

from __future__ import annotations

import pytest

from actors.errors import ErrorClass
from actors.policy import Policy, State
from actors.scheduler import Scheduler
from actors.takes import Take, TakeQueue

LARGE, SMALL = (64, 64, 17), (32, 32, 5)


def made(*takes: Take, **policy: object) -> Scheduler:
    scheduler = Scheduler(Policy(**policy))  # type: ignore[arg-type]
    scheduler.add(takes)
    return scheduler


def take(number: int, **more: object) -> Take:
    return Take(number, ("show", f"s{number}"), **more)  # type: ignore[arg-type]


def order(scheduler: Scheduler, now: float = 0.0) -> list[int]:
    """Hands out and commits all that is due."""
    ids = []
    while (given := scheduler.next("slot", now)) is not None:
        ids.append(given.take.id)
        scheduler.rendered(given.take.id, given.attempt, 1.0)
        scheduler.committed(given.take.id, given.attempt)
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
    scheduler.failed(0, 1, ErrorClass.INTERNAL, 0.0)
    scheduler.add([take(2, cost=99.0)])
    again = scheduler.next("b", 0.0)
    assert again is not None
    assert (again.take.id, again.attempt) == (0, 2)


@pytest.mark.parametrize(
    ("error", "attempts"),
    [("input", 1), ("policy", 1), ("nan", 2), ("oom", 3), ("quality", 3), ("internal", 3)],
)
def test_faults_of_the_shot_count_to_quarantine(error: str, attempts: int) -> None:
    scheduler = made(take(0))
    for number in range(1, attempts + 1):
        given = scheduler.next("a", 0.0)
        assert given is not None
        assert given.attempt == number
        verdict = scheduler.failed(0, number, ErrorClass(error), 0.0, 2.0)
    assert verdict.kind == "quarantine"
    assert scheduler.counts()["quarantined"] == 1
    assert scheduler.state == "done"
    assert scheduler.accounts.failed == 2.0 * attempts


def test_nan_is_tried_in_fp32_and_memory_with_less_of_it() -> None:
    scheduler = made(take(0))
    scheduler.next("a", 0.0)
    scheduler.failed(0, 1, ErrorClass.NAN, 0.0)
    second = scheduler.next("a", 0.0)
    assert second is not None
    assert (second.precision, second.low_memory) == ("float32", False)
    scheduler = made(take(0))
    scheduler.next("a", 0.0)
    scheduler.failed(0, 1, ErrorClass.OOM, 0.0)
    second = scheduler.next("a", 0.0)
    assert second is not None
    assert (second.precision, second.low_memory) == (None, True)


def test_faults_of_the_farm_never_quarantine_but_break_the_job() -> None:
    scheduler = made(take(0), farm_faults=20)
    now = 0.0
    for number in range(1, 21):
        given = scheduler.next("a", now)
        assert given is not None
        verdict = scheduler.failed(0, number, ErrorClass.STORE, now)
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
        scheduler.failed(0, number, ErrorClass.NODE, 1e6 * number)
    scheduler.next("b", 0.0)
    scheduler.rendered(1, 1, 1.0)
    scheduler.committed(1, 1)
    scheduler.next("a", 1e8)
    scheduler.failed(0, 3, ErrorClass.NODE, 1e8)
    assert scheduler.state == "running"


def test_three_deaths_quarantine_a_take_and_spare_the_slot() -> None:
    scheduler = made(take(0), take(1))
    verdicts = []
    for number in (1, 2, 3):
        given = scheduler.next("a", 0.0)
        assert given is not None
        assert given.take.id == 0
        verdicts.append(scheduler.died("a", 0.0, 0, number, 1.0))
    assert [verdict.kind for verdict in verdicts] == ["retry", "retry", "quarantine"]
    assert not scheduler.slots.retired("a")
    given = scheduler.next("a", 0.0)
    assert given is not None
    assert given.take.id == 1


def test_a_death_right_after_another_takes_speaks_against_the_slot() -> None:
    scheduler = made(*(take(number) for number in range(4)), slot_deaths=4)
    for number in range(4):
        given = scheduler.next("a", 0.0)
        assert given is not None
        verdict = scheduler.died("a", 0.0, given.take.id, given.attempt)
        # The one that died goes to the front again: hand it to another slot, which commits it.
        other = scheduler.next("b", 0.0)
        assert other is not None
        assert verdict.slot_retired == (number == 3)
        scheduler.rendered(other.take.id, other.attempt, 1.0)
        scheduler.committed(other.take.id, other.attempt)
    assert scheduler.slots.retired("a")
    assert scheduler.next("a", 0.0) is None
    assert scheduler.counts()["quarantined"] == 0
    assert scheduler.state == "done"


def test_a_commit_on_the_slot_forgets_what_was_before() -> None:
    scheduler = made(take(0), take(1), take(2))
    for _ in range(2):
        given = scheduler.next("a", 0.0)
        assert given is not None
        scheduler.died("a", 0.0, given.take.id, given.attempt)
    other = scheduler.next("b", 0.0)  # takes the one that died
    assert other is not None
    mine = scheduler.next("a", 0.0)
    assert mine is not None
    scheduler.rendered(mine.take.id, mine.attempt, 1.0)
    scheduler.committed(mine.take.id, mine.attempt)
    scheduler.died("a", 0.0)
    assert not scheduler.slots.retired("a")


def test_a_job_without_slots_ends() -> None:
    scheduler = made(take(0))
    for _ in range(4):
        assert scheduler.state == "running"
        scheduler.died("a", 0.0)
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
    scheduler.rendered(one.take.id, one.attempt, 9.5)
    two = scheduler.next("a", 0.0)  # 9.5 of 10 are known to be used, though not booked yet
    assert two is not None
    assert two.take.id != 9
    three = scheduler.next("b", 0.0)  # 9.5 and an estimate of 1: the rest of the shot waits
    assert three is not None
    assert three.take.id == 9
    assert scheduler.next("c", 0.0) is None
    scheduler.committed(one.take.id, one.attempt)
    scheduler.rendered(two.take.id, two.attempt, 1.0)
    scheduler.committed(two.take.id, two.attempt)
    assert scheduler.next("c", 0.0) is None
    assert [scheduler.state_of(number) for number in range(4)].count(State.HELD) == 2
    scheduler.rendered(9, 1, 1.0)
    scheduler.committed(9, 1)
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
    scheduler.failed(0, 1, ErrorClass.INTERNAL, 0.0, 10.0)
    assert scheduler.next("a", 0.0) is None
    assert scheduler.state == "budget"


def test_a_lost_finisher_whose_commit_stood_is_booked_once() -> None:
    scheduler = made(take(0))
    scheduler.next("a", 0.0)
    scheduler.rendered(0, 1, 7.0)
    scheduler.finisher_died("node", 0.0, 0, 1)
    assert scheduler.accounts.as_dict() == {"rendered": 0.0, "failed": 7.0, "duplicate": 0.0, "cached": 0.0}
    scheduler.next("a", 0.0)
    scheduler.found(0, 2, 7.0, ours=True)
    assert scheduler.accounts.as_dict() == {"rendered": 7.0, "failed": 0.0, "duplicate": 0.0, "cached": 0.0}
    assert scheduler.counts()["committed"] == 1


def test_a_take_that_kills_finishers_is_given_up_though_other_takes_are_finished() -> None:
    scheduler = made(take(0), take(1))
    for number in (1, 2, 3):
        given = scheduler.next("a", 0.0)
        assert given is not None
        assert given.take.id == 0
        scheduler.rendered(0, number, 1.0)
        verdict = scheduler.finisher_died("node", 0.0, 0, number)
    assert verdict.kind == "quarantine"
    assert order(scheduler) == [1]


def test_a_duplicate_is_booked_as_one() -> None:
    scheduler = made(take(0))
    scheduler.next("a", 0.0)
    scheduler.rendered(0, 1, 4.0)
    scheduler.committed(0, 1, adopted=True)
    assert scheduler.accounts.as_dict()["duplicate"] == 4.0
    assert scheduler.state == "done"


def test_stop_hands_nothing_out_and_waits_for_what_is_out() -> None:
    scheduler = made(take(0), take(1))
    scheduler.next("a", 0.0)
    scheduler.stop("stopped", "enough")
    scheduler.stop("failed", "a later reason does not count")
    assert scheduler.next("b", 0.0) is None
    assert scheduler.state == "running"
    scheduler.released(0, 1, 0.0, 3.0)
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
