"""Counts, GPU seconds and the report of a job, from what the farm, the lease and the planner tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from flows.job_view import Price
from flows.outputs import board_url
from flows.report import STATES, ExitCode, GpuSeconds, JobReport, Takes

if TYPE_CHECKING:
    from flows.live import LiveJob
    from flows.planned import Planned
    from infra.settings import Settings
    from infra.store.lease import LeaseInfo

COLUMNS = ("rendered", "failed", "duplicate", "cached")
BOOKS = "gpu_s"
"""Where the books of a job stand in the note of its lease. Every owner begins with those of the one before."""


def report(
    planned: Planned, takes: Takes, gpu_s: GpuSeconds, exit_code: ExitCode, error: str | None = None
) -> JobReport:
    """The report of a job that has ended."""
    return JobReport(
        job_id=planned.job_id,
        store=planned.store.url,
        state=STATES[exit_code],
        exit=exit_code,
        board=board_url(planned.store, planned.job_id),
        takes=takes,
        rows=planned.rows(),
        gpu_s=gpu_s,
        error=error if exit_code not in (ExitCode.DONE, ExitCode.FAULTS) else None,
    )


def price_of(settings: Settings) -> Price:
    """What GPU seconds cost."""
    return Price(settings.price.gpu_hour, settings.price.currency)


def books_of(info: LeaseInfo | None) -> GpuSeconds:
    """The books that former runs of the job left in its lease."""
    return GpuSeconds.told(info.note.get(BOOKS) if info is not None else None)


def gpu_seconds(status: Mapping[str, Any]) -> GpuSeconds:
    """GPU seconds of this run, from a dispatcher's status."""
    found = status.get("gpu_s") or {}
    return GpuSeconds(**{name: float(found.get(name, 0.0)) for name in COLUMNS})


def takes_of_run(live: LiveJob) -> Takes:
    """Counts at the end of a run."""
    counts = live.status.get("takes", {})
    return Takes.of(
        total=counts.get("total", 0),
        committed=counts.get("committed", 0),
        cached=counts.get("cached", 0),
        quarantined=counts.get("quarantined", 0),
        skipped=counts.get("skipped", 0),
    )


def together(before: GpuSeconds, now: GpuSeconds) -> GpuSeconds:
    """The books of a job over several runs; cached are those of the last, for earlier runs' renders are among them."""
    return GpuSeconds(
        before.rendered + now.rendered, before.failed + now.failed, before.duplicate + now.duplicate, now.cached
    )


class Books:
    """GPU seconds of a job over its runs, and of this run over its dispatchers: each begins with empty books.

    A dispatcher is known by its name. Its figures alone do not tell whether another has begun: seconds that change
    column are rounded anew, so that their sum may be a millisecond less; and a new one may soon have used more.
    """

    def __init__(self, before: GpuSeconds | None = None) -> None:
        """`before`: what former runs left."""
        self._before, self._now = before or GpuSeconds(), GpuSeconds()
        self._of: dict[str, GpuSeconds] = {}

    def hear(self, status: Mapping[str, Any]) -> None:
        """The status of the dispatcher that is there now: what it has used up until now."""
        self._now = self._of[str(status.get("dispatcher", ""))] = gpu_seconds(status)

    @property
    def total(self) -> GpuSeconds:
        """All of it; cached are those of the dispatcher that was heard last."""
        return replace(reduce(together, self._of.values(), self._before), cached=self._now.cached)
