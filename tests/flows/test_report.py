"""The result objects: exactly the keys that scripts rely on, and counts that add up."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from actors.scheduling.accounts import Accounts
from catalogs import Refusal
from flows.accounts import Books, books_of
from flows.farm import RenderOptions
from flows.report import STATES, ExitCode, GpuSeconds, JobReport, Rows, Takes, failure_dict, refusal_dict, verify_dict
from flows.running import Run, View
from flows.signals import StopSignals
from infra.settings import Settings
from infra.store import open_store
from infra.store.lease import Lease, Owner, read_lease
from infra.store.verify import Audit, Fault


def test_exit_codes_are_those_of_the_design() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "DONE": 0,
        "FAULTS": 1,
        "REFUSED": 2,
        "BUDGET": 3,
        "FAULT": 4,
        "CANCELLED": 130,
    }
    assert set(STATES) == set(ExitCode) and len(set(STATES.values())) == len(STATES)


def test_job_report_is_exactly_the_object_of_the_design() -> None:
    report = JobReport(
        job_id="demo-0123456789ab",
        store="s3://bucket/x",
        state="finished",
        exit=ExitCode.FAULTS,
        board="s3://bucket/x/jobs/demo-0123456789ab/board.html",
        takes=Takes.of(total=10, committed=8, cached=3, quarantined=1),
        rows=Rows(9, [Refusal(4, "width", "33", "an even number")]),
        gpu_s=GpuSeconds(12.34567, 1.0, 0.0, 3.5),
    )
    assert json.loads(json.dumps(report.as_dict())) == {
        "format": 1,
        "job_id": "demo-0123456789ab",
        "store": "s3://bucket/x",
        "state": "finished",
        "exit": 1,
        "board": "s3://bucket/x/jobs/demo-0123456789ab/board.html",
        "takes": {"total": 10, "committed": 8, "rendered": 5, "cached": 3, "quarantined": 1, "pending": 1},
        "rows": {"total": 9, "refused": [{"row": 4, "column": "width", "value": "33", "legal": "an even number"}]},
        "gpu_s": {"rendered": 12.346, "failed": 1.0, "duplicate": 0.0, "cached": 3.5},
    }


def test_an_error_is_a_key_only_where_there_is_one() -> None:
    assert "error" not in JobReport("j", "s", "running", None).as_dict()
    assert JobReport("j", "s", "failed", 4, error="store gone").as_dict()["error"] == "store gone"


@pytest.mark.parametrize("code", list(ExitCode))
def test_failure_says_state_exit_and_error(code: ExitCode) -> None:
    found = failure_dict(code, "why")
    assert (found["format"], found["state"], found["exit"], found["error"]) == (1, STATES[code], int(code), "why")
    assert set(found) - {"error"} == set(JobReport("j", "s", "done", 0).as_dict()), "the keys of every result"


def test_failure_of_a_catalog_lists_its_rows() -> None:
    found = failure_dict(2, "why", [Refusal(0, "a", "b", "c")], 5)
    assert found["rows"] == {"total": 5, "refused": [refusal_dict(Refusal(0, "a", "b", "c"))]}


def test_verify_report_is_exactly_the_object_of_the_design() -> None:
    audit = Audit(7, [Fault("media-hash", "shots/a.mp4", "ab" * 32, "found another")], ["posters/x.jpg"], [])
    expected = {
        "commits": 7,
        "faults": [{"kind": "media-hash", "path": "shots/a.mp4", "spec_key": "ab" * 32}],
        "orphans": ["posters/x.jpg"],
    }
    assert verify_dict(audit) == expected
    assert verify_dict(audit._replace(foreign=["commits/.DS_Store"])) == expected | {"foreign": ["commits/.DS_Store"]}


@pytest.mark.parametrize(
    ("given", "pending", "rendered"),
    [
        ({"total": 5, "committed": 0}, 5, 0),
        ({"total": 5, "committed": 5, "cached": 5}, 0, 0),
        ({"total": 5, "committed": 3, "cached": 1, "quarantined": 2}, 0, 2),
        ({"total": 0, "committed": 0}, 0, 0),
    ],
)
def test_takes_add_up(given: dict[str, int], pending: int, rendered: int) -> None:
    takes = Takes.of(**given)
    assert (takes.pending, takes.rendered) == (pending, rendered)
    assert takes.committed == takes.rendered + takes.cached
    assert takes.total == takes.committed + takes.quarantined + takes.pending


def test_spent_leaves_out_what_the_cache_saved() -> None:
    assert GpuSeconds(1.0, 2.0, 4.0, 8.0).spent == 7.0


def test_books_outlive_a_dispatcher_that_starts_again_with_empty_ones() -> None:
    books = Books(GpuSeconds(rendered=5.0, failed=1.0, cached=9.0))
    assert books.total == GpuSeconds(rendered=5.0, failed=1.0)
    books.hear({"dispatcher": "a", "gpu_s": {"rendered": 2.0, "cached": 5.0}})
    books.hear({"dispatcher": "a", "gpu_s": {"rendered": 4.0, "failed": 0.5, "cached": 5.0}})
    assert books.total == GpuSeconds(rendered=9.0, failed=1.5, cached=5.0)
    books.hear({"dispatcher": "b", "gpu_s": {"cached": 9.0}})  # it counts what "a" had rendered as cached
    assert books.total == GpuSeconds(rendered=9.0, failed=1.5, cached=9.0)
    books.hear({"dispatcher": "b", "gpu_s": {"rendered": 3.0, "duplicate": 1.0, "cached": 9.0}})
    assert books.total == GpuSeconds(rendered=12.0, failed=1.5, duplicate=1.0, cached=9.0)


def test_a_dispatcher_that_has_soon_used_more_than_the_one_before_is_another_all_the_same() -> None:
    books = Books()
    books.hear({"dispatcher": "a", "gpu_s": {"rendered": 2.0}})
    books.hear({"dispatcher": "b", "gpu_s": {"rendered": 7.0, "cached": 2.0}})
    assert books.total == GpuSeconds(rendered=9.0, cached=2.0)


def test_seconds_that_change_their_column_are_not_booked_again() -> None:
    """Each column is rounded, so that the sum of them is a millisecond less afterwards."""
    accounts, books = Accounts(), Books()
    accounts.book_rendered(("show", "a"), 43.1706)
    accounts.book_failed(("show", "b"), 4.1536)  # its finisher died
    books.hear({"dispatcher": "a", "gpu_s": accounts.as_dict()})
    before = books.total.spent
    accounts.turn_failed_into_rendered(4.1536)  # and had committed before
    books.hear({"dispatcher": "a", "gpu_s": accounts.as_dict()})
    assert books.total.spent < before, "or it is not the case that is meant"
    assert books.total == GpuSeconds(rendered=47.324)


class Killed(BaseException):
    """Where a process would be killed: before it has said anything."""


@pytest.mark.parametrize("followed", [False, True])
def test_who_takes_a_job_over_has_the_books_before_it_says_anything(
    followed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run after another is killed right after it has taken the lease: the books of the first are there still."""
    monkeypatch.setattr("flows.tenure.FOLLOW_POLL_S", 0.01)
    store, living = open_store(str(tmp_path)), Owner.this_process()
    planned = SimpleNamespace(store=store, job_id="job", put=lambda: None)
    first = Lease.acquire(store, "job", living, note={"gpu_s": {"rendered": 3.0}, "run_page": "of the first"})
    assert isinstance(first, Lease)

    def dies(*_: object) -> None:
        if first.info.owner == living:
            first.info = replace(first.info, owner=replace(living, start_time=0.0))
            first.renew(note={"gpu_s": {"rendered": 4.0, "failed": 1.0}})

    if not followed:
        dies()
    for epoch in (2, 3):
        run = Run(planned, Settings(), RenderOptions(), dies, StopSignals())

        def killed(mine: Run = run, epoch: int = epoch) -> AbstractContextManager[View]:
            left = read_lease(store, "job")
            assert left is not None and left.epoch == epoch
            assert books_of(left) == mine._books.total == GpuSeconds(rendered=4.0, failed=1.0)
            assert "run_page" not in left.note
            raise Killed

        with pytest.raises(Killed):
            run.run(killed)
