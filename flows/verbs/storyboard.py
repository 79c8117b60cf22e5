"""`rushes storyboard`: stills, people's decisions about them, and clips that begin with the chosen ones."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.report import ExitCode, JobReport
from flows.verbs.console import Output
from flows.verbs.failure import Failure
from flows.verbs.options import (
    Address,
    Allow,
    Budget,
    Config,
    Enhance,
    Gang,
    Gangs,
    Job,
    Json,
    Layout,
    Model,
    Out,
    Preset,
    Quiet,
    Verbose,
)
from flows.verbs.words import plural

if TYPE_CHECKING:
    from flows.planned import Planned
    from flows.storyboarding import Asked, Look
    from infra.settings import Settings
    from infra.store.storyboard import Waiting

LOOK_S = 3.0
"""Seconds between looks at whether somebody has decided something: a listing, unless somebody has."""
SAY_S = 600.0
MOST_SAID = 10


def storyboard(
    catalog: Annotated[str, typer.Argument(help="Rows of the task t2v: a clip each.", metavar="CATALOG")],
    out: Out,
    approve_by: Annotated[
        str | None,
        typer.Option(
            "--approve-by",
            help="Until when people may decide: a time (UTC), or how long from the beginning, such as 4h or 2d. "
            "Then the clips of approved stills are made, and the others left out.",
            metavar="DEADLINE",
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for decisions, or end; the same command goes on.")
    ] = True,
    stills: Annotated[
        int | None, typer.Option("--stills", help="Takes of each still; else as many as its row's.", min=1, metavar="N")
    ] = None,
    job: Job = None,
    model: Model = None,
    allow: Allow = None,
    enhance: Enhance = None,
    preset: Preset = None,
    gang: Gang = None,
    layout: Layout = None,
    gangs: Gangs = None,
    budget: Budget = None,
    address: Address = None,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Render a still of every shot, wait until people have approved them, render clips from the approved stills."""
    from flows.storyboarding import Asked, deadline
    from infra.settings import Settings

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    flags = {"gang": gang, "layout": layout, "gangs_max": gangs}
    settings = Settings.load(config, farm=flags, ray={"address": address})
    by = None if approve_by is None else deadline(approve_by)
    asked = Asked(catalog, out, stills, job, model, tuple(allow or ()), enhance, preset)
    return _Storyboard(asked, settings, output, budget).run(by, wait=wait)


@dataclass(frozen=True)
class _Board:
    """How far the stills are: the last look at what people decided, and until when they may."""

    stills: Planned
    report: JobReport
    waiting: Waiting
    seen: Look


class _Storyboard:
    """One run of the verb."""

    def __init__(self, asked: Asked, settings: Settings, output: Output, budget: float | None) -> None:
        self._asked, self._settings, self._output, self._budget = asked, settings, output, budget
        self._wall_s = 0.0

    def run(self, by: datetime | timedelta | None, *, wait: bool) -> int:
        from flows.storyboarding import plan_clips, told
        from flows.verbs.render import faulty

        output = self._output
        board = self._stills(by, wait=wait)
        if board.report.exit not in (ExitCode.DONE, ExitCode.FAULTS):
            return self._ended(board.report, None)
        seen = board.seen
        storyboard = {"storyboard": told(board.stills, seen, board.waiting.approve_by)}
        if not seen.settled and not board.waiting.over(datetime.now(UTC)):
            state = {"state": "waiting", "exit": int(ExitCode.DONE)}
            output.result(board.report.as_dict() | state | storyboard)
            self._say(board)
            output.line("The same command goes on.")
            return ExitCode.DONE
        for missing in seen.left_out[:MOST_SAID]:
            output.note(f"left out: {missing.show}/{missing.shot_id}: {missing.why}")
        if not seen.approved:
            output.result(faulty(board.report).as_dict() | storyboard)
            output.line("No still is approved, so there are no clips to render.")
            return ExitCode.FAULTS
        report = self._render(plan_clips(self._asked, self._settings, board.stills, seen.approved))
        return self._ended(faulty(report) if seen.left_out else report, storyboard)

    def _stills(self, by: datetime | timedelta | None, *, wait: bool) -> _Board:
        """Renders the stills and, where that is asked for, waits until people have decided about all of them."""
        from flows.storyboarding import Look, look, plan_stills, retakes_of
        from infra.store.storyboard import Waiting, open_storyboard

        while True:
            stills = plan_stills(self._asked, self._settings)
            self._output.refused(stills.plan.refused, stills.plan.rows_total)
            report = self._render(stills)
            if report.exit not in (ExitCode.DONE, ExitCode.FAULTS):
                return _Board(stills, report, Waiting(datetime.now(UTC)), Look())
            waiting = open_storyboard(stills.store, stills.job_id, by=by)
            retakes = retakes_of(stills.store, stills.job_id)
            board = _Board(stills, report, waiting, look(stills.store, stills.job_id))
            if board.seen.settled or not wait or waiting.over(datetime.now(UTC)):
                return board
            self._say(board)
            board = replace(board, seen=self._wait(board, retakes))
            if retakes_of(stills.store, stills.job_id) == retakes:
                return board
            # Somebody asked for another still: it is rendered, and decided about like the others.

    def _render(self, planned: Planned) -> JobReport:
        """Renders what is missing of one of the two jobs."""
        from flows.verbs.progress import JobProgress

        os.environ.setdefault("RAY_AUTH_MODE", self._settings.ray.auth)  # before Ray is imported, as in render
        from flows.render import run_job

        takes = planned.takes()
        if takes.pending:
            self._output.note(f"{planned.job_id}: {plural(takes.pending, 'take')} to render")
        began = time.monotonic()
        with JobProgress(takes.total, self._output) as progress:
            report = run_job(planned, self._settings, budget_gpu_s=self._budget, on_status=progress.update)
        self._wall_s = time.monotonic() - began
        if self._budget is not None:
            self._budget = max(0.0, self._budget - report.gpu_s.spent)
        return report

    def _wait(self, board: _Board, retakes: int) -> Look:
        """Sleeps until every still is decided, the deadline has passed, or another take was asked for."""
        from flows.signals import StopSignals
        from flows.storyboarding import look, mark, retakes_of
        from infra.store.errors import StoreUnavailable

        store, job, waiting = board.stills.store, board.stills.job_id, board.waiting
        before, said = mark(store, job), time.monotonic()
        seen = look(store, job)
        with StopSignals() as signals:
            while not seen.settled and not waiting.over(datetime.now(UTC)):
                time.sleep(LOOK_S)
                if signals.reason is not None:
                    raise Failure(
                        f"{signals.reason} while waiting for decisions about {job}",
                        exit_code=ExitCode.CANCELLED,
                        hint="The same command goes on.",
                    )
                try:
                    now = mark(store, job)
                    if now != before:
                        before, seen = now, look(store, job)
                        if retakes_of(store, job) != retakes:
                            break
                except StoreUnavailable as error:  # nothing is held, so there is nothing to give up
                    self._output.note(f"the store is away, waiting goes on: {error}")
                if time.monotonic() - said > SAY_S:
                    self._say(replace(board, seen=seen))
                    said = time.monotonic()
        return seen

    def _say(self, board: _Board) -> None:
        seen, by = board.seen, board.waiting.approve_by
        until = "" if by is None else f", until {by:%Y-%m-%d %H:%M:%S} UTC"
        url, job = quote(board.stills.store.url), board.stills.job_id
        self._output.note(
            f"{plural(len(seen.waiting), 'still')} of {len(seen.waiting) + len(seen.approved)} to be decided"
            f"{until}: rushes review {url} --job {job}, or rushes select {url} --job {job}"
        )

    def _ended(self, report: JobReport, more: dict[str, Any] | None) -> int:
        from flows.verbs.render import print_report

        self._output.result(report.as_dict() | (more or {}))
        print_report(report, self._wall_s, self._settings, self._output)
        return ExitCode.FAULT if report.exit is None else report.exit
