"""Takes given up one after another: when that stops a job, and when the job only ends with them."""

from __future__ import annotations

import pytest

from actors.errors import ErrorClass
from actors.scheduling.policy import Policy
from actors.scheduling.scheduler import Scheduler
from actors.scheduling.takes import Take


def given_up(error: ErrorClass, takes: int, *, unloaded: int = 0) -> Scheduler:
    """A job in which every take fails like this as long as one is handed out; the bound is 5 in a row."""
    scheduler = Scheduler(Policy(quarantines=5), expected=takes + unloaded)
    scheduler.add(Take(number, ("show", f"s{number}")) for number in range(takes))
    while (given := scheduler.next("slot", 0.0)) is not None:
        scheduler.outcomes.failed(given.take.id, given.attempt, error, 0.0)
    return scheduler


@pytest.mark.parametrize("takes", [4, 5])
def test_a_job_of_which_nothing_is_left_ends_with_what_was_given_up(takes: int) -> None:
    scheduler = given_up(ErrorClass.INTERNAL, takes)
    assert (scheduler.state, scheduler.reason) == ("done", None)
    assert scheduler.counts()["quarantined"] == takes


@pytest.mark.parametrize(("takes", "unloaded"), [(6, 0), (5, 1)])
def test_a_job_in_which_everything_is_given_up_spares_the_rest(takes: int, unloaded: int) -> None:
    scheduler = given_up(ErrorClass.INTERNAL, takes, unloaded=unloaded)
    assert scheduler.state == "failed"
    assert scheduler.reason == "5 takes were quarantined in a row and none was committed"
    assert scheduler.counts()["pending"] == 1


@pytest.mark.parametrize("error", [ErrorClass.INPUT, ErrorClass.POLICY])
def test_rows_that_cannot_be_rendered_or_may_not_be_stop_no_job(error: ErrorClass) -> None:
    scheduler = given_up(error, 50)
    assert (scheduler.state, scheduler.counts()["quarantined"]) == ("done", 50)
