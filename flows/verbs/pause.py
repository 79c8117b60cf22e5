"""`rushes pause`: takes at work are rendered, nothing more is handed out, and the gangs are freed."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Annotated

import typer

from flows.report import ExitCode
from flows.verbs.console import Output
from flows.verbs.failure import Failure
from flows.verbs.options import Config, Json, Quiet, Store, Verbose, WhichJob
from flows.verbs.words import login, summary

POLL_S = 0.5
Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait until it is so; 0 only asks.", min=0, metavar="S")]


def pause(
    store: Store,
    job: WhichJob = None,
    wait: Wait = 120.0,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Pause a running job, from any machine: its gangs are freed. `rushes resume` lets it go on."""
    from flows.pausing import pause_state, put_pause
    from flows.verbs.ledger import Ledger
    from flows.verbs.target import choose_job, open_for_reading
    from infra.settings import Settings
    from infra.store.lease import LeaseInfo, owner_is_gone, read_lease

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = open_for_reading(store, Settings.load(config))
    job_id = choose_job(opened, job)
    lease = read_lease(opened, job_id)
    if lease is None or lease.final or owner_is_gone(lease):
        output.note(f"{job_id} is not running; nothing to pause.")
    else:
        put_pause(opened, job_id, whoever())
        where = f"{lease.owner.host_name}, process {lease.owner.pid}"
        output.note(f"Asked {where}, to pause. Takes at work are rendered first.")

        def paused() -> bool:
            found = read_lease(opened, job_id)
            return not_running(found) or pause_state(found.note if isinstance(found, LeaseInfo) else {}) == "paused"

        if wait and not within(wait, paused):
            raise Failure(
                f"{job_id} is not paused {wait:.0f} s after it was asked to, on {where}",
                exit_code=ExitCode.FAULT,
                hint="It will be when its takes at work are rendered, farm.drain_s at most: see `rushes status`.",
            )
    report = Ledger.read(opened, job_id).report()
    output.result(report.as_dict())
    output.line(summary(report))
    return ExitCode.DONE


def not_running(lease: object) -> bool:
    """Whether nobody works on a job any more, as its lease tells."""
    from infra.store.lease import LeaseInfo, owner_is_gone

    return not isinstance(lease, LeaseInfo) or lease.final or owner_is_gone(lease)


def within(seconds: float, check: Callable[[], bool]) -> bool:
    """Whether it comes true in that time."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def whoever() -> str:
    """Who asks, in words: user and host."""
    return f"{login()} on {socket.gethostname()}"
