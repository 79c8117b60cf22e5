"""Who may help with which long take, and where the helpers' seconds go. No Ray."""

from __future__ import annotations

from typing import Any

from actors.dispatch.helping import PAUSE_S, Helping
from actors.gangs.rendering import Progress
from actors.logs import AttemptLog

ORDER: dict[str, Any] = {"id": 7, "attempt": 1, "steps": 20, "long_method": "hierarchical"}


def at(step: int, stage: str = "denoise") -> Progress:
    return Progress((7, 1), stage, step, 340, 0)


def opened(most: int = 2, **order: Any) -> tuple[Helping, dict[str, Any]]:
    helping, own = Helping(most), {**ORDER, **order}
    helping.began(own, AttemptLog("a take"))
    return helping, own


def test_a_take_is_open_once_its_keys_are_there() -> None:
    helping, order = opened()
    assert helping.room(0.0) == 0 and helping.next(0.0) is None
    helping.moved(order, at(19))
    assert helping.room(0.0) == 0
    helping.moved(order, at(20))
    assert helping.room(0.0) == 2
    helping.moved(order, at(0, "decode"))
    assert helping.room(0.0) == 0, "nothing is left to make"


def test_helpers_have_numbers_of_their_own_and_are_no_more_than_there_is_room_for() -> None:
    helping, order = opened()
    helping.moved(order, at(20))
    first, second = helping.next(0.0), helping.next(0.0)
    assert first == {**order, "helper": 1} and second is not None and second["helper"] == 2
    assert helping.next(0.0) is None and helping.room(0.0) == 0
    assert helping.back(first, 1.0, made=True, seconds=3.0)
    again = helping.next(1.0)
    assert again is not None and again["helper"] == 1


def test_a_helper_that_found_nothing_waits_a_little() -> None:
    helping, order = opened(1)
    helping.moved(order, at(20))
    given = helping.next(0.0)
    assert given is not None
    helping.back(given, 1.0, made=False, seconds=0.1)
    assert helping.next(1.0) is None and helping.room(1.0) == 0
    assert helping.next(1.0 + PAUSE_S) is not None


def test_what_goes_wrong_ends_the_help() -> None:
    helping, order = opened()
    helping.moved(order, at(20))
    given = helping.next(0.0)
    assert given is not None
    helping.back(given, 1.0, made=False, seconds=0.0, failed=True)
    assert helping.next(100.0) is None


def test_other_methods_get_no_help() -> None:
    for method in ("overlap", "co_denoise", None):
        helping, order = opened(long_method=method)
        helping.moved(order, at(20))
        assert helping.next(0.0) is None


def test_seconds_are_the_takes_as_long_as_it_is_rendered() -> None:
    helping, order = opened()
    helping.moved(order, at(20))
    first, second = helping.next(0.0), helping.next(0.0)
    assert first is not None and second is not None
    assert helping.back(first, 1.0, made=True, seconds=3.0)
    helping.ended(7)
    assert helping.spent(7) == 3.0 and helping.spent(7) == 0.0
    assert not helping.back(second, 2.0, made=True, seconds=4.0), "too late: it is for the caller to book"
    assert helping.spent(7) == 0.0


def test_help_for_an_earlier_attempt_does_not_count_for_the_next() -> None:
    helping, order = opened()
    helping.moved(order, at(20))
    given = helping.next(0.0)
    assert given is not None
    helping.ended(7)
    helping.began({**order, "attempt": 2}, AttemptLog("again"))
    assert not helping.back(given, 1.0, made=True, seconds=3.0)


def test_what_nobody_asks_for_is_told_at_the_end() -> None:
    helping, order = opened()
    helping.moved(order, at(20))
    given = helping.next(0.0)
    assert given is not None
    helping.back(given, 1.0, made=True, seconds=3.0)
    helping.ended(7)
    assert helping.unbooked() == [(7, 3.0)] and helping.unbooked() == []
