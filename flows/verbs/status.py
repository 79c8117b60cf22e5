"""`rushes status`: how far a job is and what it cost, read from the store alone."""

from __future__ import annotations

from shlex import quote

from flows.report import ExitCode
from flows.verbs.console import Output
from flows.verbs.options import Config, Json, Quiet, Store, Verbose, WhichJob
from flows.verbs.words import moment, money, plural

MOST_FAILURES = 20


def status(
    store: Store,
    job: WhichJob = None,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """How far a job is, what failed, what it cost. 0 whenever it could be told; the job's exit code is in --json."""
    from flows.verbs.ledger import Ledger
    from flows.verbs.target import choose_job, open_for_reading
    from infra.settings import Settings

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    settings = Settings.load(config)
    opened = open_for_reading(store, settings)
    ledger = Ledger.read(opened, choose_job(opened, job))
    report = ledger.report()
    output.result(report.as_dict())
    if as_json:
        return ExitCode.DONE
    takes, gpu_s = report.takes, report.gpu_s
    ending = f" (exit {report.exit})" if report.exit else ""
    output.line(f"job       {report.job_id}: {report.state}{ending}")
    if ledger.lease is not None:
        owner, when = ledger.lease.owner, moment(ledger.renewed())
        word = "runs on" if ledger.running else "was last run on"
        output.line(f"          {word} {owner.host_name}, process {owner.pid}; heard of {when} UTC")
        if ledger.pause is not None and ledger.running:
            again = f"go on: rushes resume {quote(store)} --job {report.job_id}"
            output.line(f"          {ledger.pause.reason}, {ledger.pause.when}; {again}")
        if page := ledger.lease.note.get("run_page"):
            output.line(f"          {page}")
    counts = f"{takes.committed:,} of {takes.total:,} committed ({takes.rendered:,} rendered, {takes.cached:,} cached)"
    skipped = f", {takes.skipped:,} not needed" if takes.skipped else ""
    output.line(f"takes     {counts}, {takes.quarantined:,} quarantined{skipped}, {takes.pending:,} pending")
    spent = money(gpu_s.spent, settings.price)
    parts = f"{gpu_s.rendered:,.1f} rendered, {gpu_s.failed:,.1f} failed, {gpu_s.duplicate:,.1f} duplicate"
    output.line(f"GPU s     {parts}; {gpu_s.cached:,.1f} saved by the cache" + (f"; spent {spent}" if spent else ""))
    if ledger.origin is not None and ledger.origin.refused_total:
        output.line(f"rows      {ledger.origin.rows_total:,}, {ledger.origin.refused_total:,} refused")
    if report.board:
        output.line(f"board     {report.board}")
    failures = list(ledger.quarantined.values())
    if failures:
        output.table(
            ("show", "shot", ">take", "error", "message"),
            [
                (
                    record["show"],
                    record["shot_id"],
                    record["take"],
                    record.get("error_class"),
                    first_line(record.get("message")),
                )
                for record in failures[:MOST_FAILURES]
            ],
            title=f"{plural(len(failures), 'take')} quarantined in round {ledger.round}",
        )
        output.line(
            f"Why: rushes logs {quote(store)} --job {report.job_id} --shot SHOT; "
            f"again: rushes retry {quote(store)} --job {report.job_id}"
        )
    if report.state == "interrupted":
        output.note("Its owner is gone. The same render command again goes on with what is missing.")
    return ExitCode.DONE


def first_line(text: object, most: int = 200) -> str:
    """The first line of a message, cut."""
    line = next(iter(str(text or "").strip().splitlines()), "")
    return line if len(line) <= most else line[: most - 1] + "…"
