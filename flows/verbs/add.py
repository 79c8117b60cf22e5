"""`rushes add`: the shots of a catalog that a job does not have yet, put into the job."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from flows.report import FORMAT, ExitCode, refusal_dict
from flows.verbs.console import Output
from flows.verbs.options import Config, Json, Quiet, Store, Strict, Verbose, WhichJob
from flows.verbs.words import plural


def add(
    store: Store,
    catalog: Annotated[
        str, typer.Argument(help="Parquet, CSV or JSON lines: a path or any fsspec URL.", metavar="CATALOG")
    ],
    job: WhichJob = None,
    strict: Strict = False,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Add whole shots to a job that runs or has ended: those of a catalog that the job does not have yet."""
    from flows.adding import add_shots
    from flows.verbs.failure import naming
    from flows.verbs.target import choose_job, open_for_reading
    from infra.settings import Settings

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    settings = Settings.load(config)
    opened = open_for_reading(store, settings)
    job_id = choose_job(opened, job)
    with naming(opened):
        added = add_shots(opened, job_id, catalog, settings, strict=strict)
    exit_code = ExitCode.FAULTS if added.refused else ExitCode.DONE
    output.refused(added.refused, added.rows_total)
    output.result(
        {
            "format": FORMAT, "job_id": job_id, "store": opened.url, "exit": int(exit_code),
            "added": [{"show": show, "shot_id": shot, "takes": takes} for (show, shot), takes in added.shots.items()],
            "standing": added.standing,
            "rows": {"total": added.rows_total, "refused": [refusal_dict(row) for row in added.refused]},
        }
    )  # fmt: skip
    takes = sum(added.shots.values())
    there = f"; {plural(added.standing, 'shot')} it had already" if added.standing else ""
    output.line(f"{plural(len(added.shots), 'shot')} ({plural(takes, 'take')}) added to {job_id}{there}")
    if added.dropped:
        output.note(f"Left out, for the job has no such column: {', '.join(added.dropped)}")
    if added.shots:
        again = shlex.join(["rushes", "retry", opened.url, "--job", job_id])
        output.note(f"A job that runs now renders them by itself; else: {again}")
    return exit_code
