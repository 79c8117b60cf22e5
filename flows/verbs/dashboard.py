"""`rushes dashboard`: the Prefect server of this machine, in the foreground."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flows.report import FORMAT, ExitCode
from flows.verbs.console import Output
from flows.verbs.failure import Failure
from flows.verbs.options import Config, Json, Quiet, Verbose

if TYPE_CHECKING:
    from flows.server import DashboardRecord


def dashboard(
    port: Annotated[
        int | None,
        typer.Option(
            "--port", help="Port of its pages; another one if it is taken. Else prefect.port.", min=1, max=65535
        ),
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; else prefect.host.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only say whether one runs: 0 if so, else 1.")] = False,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Start the Prefect server and say where it is; stops with Ctrl-C."""
    from flows.server import ServerError, running_dashboard, serve_dashboard
    from infra.settings import Settings

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    place = Settings.load(config, prefect={"host": host, "port": port}).prefect

    def say(record: DashboardRecord) -> None:
        output.result({"format": FORMAT, "running": True, **asdict(record)})
        output.line(f"{record.ui_url}")
        output.note(f"The dashboard runs (process {record.pid}); jobs started on this machine report to it.")

    if check:
        record = running_dashboard()
        if record is None:
            output.result({"format": FORMAT, "running": False})
            output.note("No dashboard runs on this Prefect home; start one with: rushes dashboard")
            return ExitCode.FAULTS
        say(record)
        return ExitCode.DONE
    try:
        code = serve_dashboard(host=place.host, port=place.port, on_ready=say)
    except ServerError as error:
        raise Failure(str(error)) from error
    if code:
        raise Failure(f"the Prefect server ended by itself with {code}", exit_code=ExitCode.FAULT)
    return ExitCode.DONE
