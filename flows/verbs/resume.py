"""`rushes resume`: a paused job goes on."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from flows.report import ExitCode
from flows.verbs.console import Output
from flows.verbs.failure import Failure
from flows.verbs.options import Config, Json, Quiet, Store, Verbose, WhichJob
from flows.verbs.pause import Wait, not_running, within
from flows.verbs.words import summary

if TYPE_CHECKING:
    from flows.verbs.ledger import Ledger


def resume(
    store: Store,
    job: WhichJob = None,
    wait: Wait = 120.0,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Let a paused job go on, from any machine."""
    from flows.pausing import clear_pause, pause_state
    from flows.verbs.ledger import Ledger
    from flows.verbs.target import choose_job, open_for_reading
    from infra.settings import Settings
    from infra.store.lease import LeaseInfo, read_lease

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = open_for_reading(store, Settings.load(config))
    job_id = choose_job(opened, job)
    pause = clear_pause(opened, job_id)
    ledger = Ledger.read(opened, job_id)
    if not ledger.running:
        output.note(f"{job_id} is not running; nothing to resume.")
        if ledger.counts().pending:
            output.note(f"This goes on with what is missing: {again(ledger, store)}")
    elif pause is None:
        output.note(f"{job_id} is not paused.")
    else:

        def goes_on() -> bool:
            found = read_lease(opened, job_id)
            return not_running(found) or pause_state(found.note if isinstance(found, LeaseInfo) else {}) is None

        if wait and not within(wait, goes_on):
            owner = ledger.lease.owner if ledger.lease is not None else None
            where = f", on {owner.host_name}, process {owner.pid}" if owner is not None else ""
            raise Failure(
                f"{job_id} has not gone on {wait:.0f} s after it was asked to{where}",
                exit_code=ExitCode.FAULT,
                hint="It looks for that every few seconds. If its process is stuck, end it and render again.",
            )
        output.note(f"{job_id} goes on; it was {pause.reason}.")
    report = Ledger.read(opened, job_id).report()
    output.result(report.as_dict())
    output.line(summary(report))
    return ExitCode.DONE


def again(ledger: Ledger, store: str) -> str:
    """The command that goes on with a job whose process is gone."""
    job = ["--job", ledger.job_id]
    if ledger.origin is None or ledger.origin.catalog == "prompt":
        return shlex.join(["rushes", "retry", store, *job])
    model = [] if ledger.origin.model == "default" else ["--model", ledger.origin.model]
    return shlex.join(["rushes", "render", ledger.origin.catalog, "--out", store, *job, *model])
