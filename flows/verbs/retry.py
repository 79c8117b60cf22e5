"""`rushes retry`: another round for the takes that were given up."""

from __future__ import annotations

from dataclasses import replace
from shlex import quote
from typing import Annotated

import typer

from flows.report import STATES, ExitCode, JobReport
from flows.verbs.console import Output
from flows.verbs.failure import Failure
from flows.verbs.options import Address, Budget, Config, Gang, Gangs, Json, Layout, Quiet, Store, Verbose, WhichJob
from flows.verbs.words import plural, summary


def retry(
    store: Store,
    job: WhichJob = None,
    render: Annotated[
        bool, typer.Option("--render/--no-render", help="Render them now, or only open the round.")
    ] = True,
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
    """A new round for quarantined takes: they are pending again, and rendered."""
    from flows.verbs.ledger import Ledger
    from flows.verbs.plan import replan
    from flows.verbs.render import render_planned
    from flows.verbs.target import choose_job, open_for_reading
    from infra.settings import Settings
    from infra.store.jobs import open_round

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    flags = {"gang": gang, "layout": layout, "gangs_max": gangs}
    settings = Settings.load(config, farm=flags, ray={"address": address})
    opened = open_for_reading(store, settings)
    job_id = choose_job(opened, job)
    ledger = Ledger.read(opened, job_id)
    if ledger.running:
        owner = ledger.lease.owner if ledger.lease else None
        where = f" on {owner.host_name}, process {owner.pid}" if owner else ""
        raise Failure(f"{job_id} is running{where}", hint="Wait for its end, or stop it: rushes cancel " + quote(store))
    if not ledger.quarantined:
        output.note(f"{job_id} has no quarantined takes.")
    else:
        number = open_round(opened, job_id)
        output.note(f"{plural(len(ledger.quarantined), 'take')} of {job_id} pending again in round {number}.")
    if render and (ledger.quarantined or ledger.counts().pending):
        return render_planned(replan(opened, job_id, settings), settings, output, budget=budget)
    report = as_rendered(Ledger.read(opened, job_id).report())
    output.result(report.as_dict())
    output.line(summary(report))
    return ExitCode.DONE if report.exit is None else report.exit


def as_rendered(report: JobReport) -> JobReport:
    """A job that nobody renders now, as `render` would tell of it: with nothing left, its takes say how it ended.

    With takes pending it has none: what ended its last run, such as a budget, says nothing of this command.
    """
    if report.takes.pending:
        return replace(report, state="pending", exit=None)
    code = ExitCode.FAULTS if report.takes.quarantined or report.rows.refused else ExitCode.DONE
    return replace(report, state=STATES[code], exit=code)
