"""A farm that renders at once, in this process: bytes in place of films, committed as the real one commits them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.report import STATES, ExitCode, GpuSeconds, JobReport, Takes
from tests.flows.command_samples import commit, quarantine


class InstantFarm:
    """Stands for `flows.render.run_job`.

    Attributes:
        jobs: the names of the jobs that had something to render, in order.
        on_job: called with each planned job before it is rendered.
        spoiled: shots whose takes are given up.
    """

    def __init__(self, folder: Path) -> None:
        self.jobs: list[str] = []
        self.rendered: list[tuple[str, int]] = []
        self.on_job: Callable[[Any], None] = lambda planned: None
        self.spoiled: set[str] = set()
        self._folder = folder

    def __call__(self, planned: Any, settings: Any, **options: Any) -> JobReport:
        planned.store.probe()
        takes = planned.put()
        pending = [row for row in planned.plan.takes.to_pylist() if not row["cached"]]
        if pending:
            self.jobs.append(planned.job_id)
        self.on_job(planned)
        bad = 0
        for row in pending:
            if row["shot_id"] in self.spoiled:
                quarantine(planned.store, planned.job_id, row)
                bad += 1
                continue
            commit(planned, row, self._folder, notes={"draft": row["draft"]} if row["draft"] else {})
            self.rendered.append((row["shot_id"], row["take"]))
        code = ExitCode.FAULTS if bad or planned.plan.refused else ExitCode.DONE
        counts = Takes.of(total=takes.num_rows, committed=takes.num_rows - bad, quarantined=bad)
        return JobReport(
            planned.job_id, planned.store.url, STATES[code], code, None, counts, planned.rows(), GpuSeconds(1.0)
        )
