"""The second half of `rushes verify --repair`: damaged takes are made pending, and rendered again."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.report import ExitCode, JobReport
from flows.verbs.console import Output
from flows.verbs.failure import explain
from flows.verbs.progress import JobProgress
from flows.verbs.words import plural

if TYPE_CHECKING:
    from infra.settings import Settings
    from infra.store import Store
    from infra.store.repair import Moved
    from infra.store.verify import Fault

_OF_VIEWS = ("manifest-unreadable", "commit-missing")


@dataclass
class Repaired:
    """What was done about the faults of an audit.

    Attributes:
        moved: commits that were moved aside.
        jobs: how the jobs ended that were run again, by name.
        commands: what somebody has to do by hand: a command, or why there is none.
        missing: keys that are still without a commit although their job was run.
    """

    moved: list[Moved] = field(default_factory=list)
    jobs: dict[str, int] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def stopped(self) -> int | None:
        """The exit code of the first job that was stopped before its end."""
        return next((code for code in self.jobs.values() if code not in (ExitCode.DONE, ExitCode.FAULTS)), None)

    def as_dict(self) -> dict[str, Any]:
        """What `--json` adds to an audit's result."""
        return {
            "repaired": [moved._asdict() for moved in self.moved],
            "jobs": [{"job_id": job_id, "exit": code} for job_id, code in self.jobs.items()],
            "commands": self.commands,
        }


def repair(
    store: Store,
    settings: Settings,
    faults: Iterable[Fault],
    output: Output,
    *,
    job: str | None = None,
    prober: Callable[[Path], Any] | None = None,
    budget: float | None = None,
) -> Repaired:
    """Moves damaged commits aside and runs the jobs that plan their takes.

    Args:
        job: the only job to be run, where the audit was of that one.
        prober: tells whether a film plays, as the audit's.

    Raises:
        StoreError: the store does not answer. What was moved by then is pending; give the command again.
    """
    from infra.store import layout
    from infra.store.claims import job_state
    from infra.store.repair import jobs_for, move_aside

    found = list(faults)
    done = Repaired()
    views = {fault.path.split("/")[1] for fault in found if fault.kind in _OF_VIEWS}
    damaged = [fault for fault in found if fault.kind not in _OF_VIEWS]
    keys = {fault.spec_key for fault in damaged if fault.spec_key is not None}
    for job_id in jobs_for(store, keys, views, only=job).jobs:
        if job_state(store, job_id).live:  # what it commits meanwhile must not be moved from under it
            output.note(f"{job_id} is being rendered; it is followed to its end first.")
            _run(store, job_id, settings, output, done, budget)
    done.moved = move_aside(store, damaged, prober)
    for moved in done.moved:
        output.note(f"moved {moved.path} to {moved.moved_to}")
    for fault in found:
        if fault.kind == "manifest-unreadable":
            store.delete(layout.manifest_path(fault.path.split("/")[1]))  # a view: made anew by the run
    again = jobs_for(store, {moved.spec_key for moved in done.moved if moved.spec_key is not None}, views, only=job)
    for job_id, wanted in again.jobs.items():
        _run(store, job_id, settings, output, done, budget)
        if job_id in done.jobs:
            done.missing += [key for key in wanted if store.stat(layout.commit_path(key)) is None]
    done.commands += _homeless(store, [moved for moved in done.moved if moved.spec_key in again.homeless])
    return done


def _run(store: Store, job_id: str, settings: Settings, output: Output, done: Repaired, budget: float | None) -> None:
    """Renders what a job lacks, or says which command does."""
    from flows.verbs.plan import replan

    try:
        planned = replan(store, job_id, settings)
    except Exception as error:
        failure = explain(error)
        if failure is None:
            raise
        done.commands.append(_by_hand(store, job_id, str(failure)))
        return
    # As in `flows.verbs.render`: Ray's core reads it once.
    os.environ.setdefault("RAY_AUTH_MODE", settings.ray.auth)
    from flows.render import run_job

    if pending := planned.takes().pending:
        output.note(f"{job_id}: {plural(pending, 'take')} to render")
    with JobProgress(planned.takes().total, output) as progress:
        report: JobReport = run_job(planned, settings, budget_gpu_s=budget, on_status=progress.update)
    done.jobs[job_id] = int(ExitCode.FAULT if report.exit is None else report.exit)


def _by_hand(store: Store, job_id: str, why: str) -> str:
    from flows.verbs.origin import Origin
    from infra.store.jobs import read_plan

    origin = Origin.of(read_plan(store, job_id))
    catalog = origin.catalog if origin is not None else "CATALOG"
    command = shlex.join(["rushes", "render", catalog, "--out", store.url, "--job", job_id])
    return f"{command}  # {why}"


def _homeless(store: Store, moved: Iterable[Moved]) -> list[str]:
    """What to say of takes that no job of this store plans."""
    from infra.store.repair import take_of

    said = []
    for one in moved:
        take = take_of(store, one)
        if take is not None:
            whose = f"{take.show}/{take.shot_id} take {take.take}"
            command = shlex.join(["rushes", "render", "CATALOG", "--out", store.url])
            said.append(f"{command}  # with the catalog that holds {whose}: no job of this store does")
    return said
