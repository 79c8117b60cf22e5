"""`rushes cancel`: stop a running job and wait until its gangs are gone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from flows.report import ExitCode
from flows.verbs.console import Output
from flows.verbs.failure import Failure
from flows.verbs.options import Config, Json, Quiet, Store, Verbose, WhichJob
from flows.verbs.words import summary

if TYPE_CHECKING:
    from infra.store import Store as OpenStore
    from infra.store.lease import LeaseInfo

POLL_S = 0.5


def cancel(
    store: Store,
    job: WhichJob = None,
    wait: Annotated[
        float, typer.Option("--wait", help="Seconds to wait for it to end; 0 only asks.", min=0, metavar="S")
    ] = 60.0,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Stop a running job, from any machine. What is committed stays; the same render command goes on later."""
    from flows.verbs.ledger import Ledger
    from flows.verbs.target import choose_job, open_for_reading
    from infra.settings import Settings
    from infra.store.lease import owner_is_gone, read_lease

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = open_for_reading(store, Settings.load(config))
    job_id = choose_job(opened, job)
    lease = read_lease(opened, job_id)
    if lease is None or lease.final or owner_is_gone(lease):
        output.note(f"{job_id} is not running; nothing to cancel.")
    else:
        ask(opened, lease, output)
        if wait and not _ended(opened, job_id, lease.epoch, wait):
            raise Failure(
                f"{job_id} still runs {wait:.0f} s after it was asked to stop, "
                f"on {lease.owner.host_name}, process {lease.owner.pid}",
                exit_code=ExitCode.FAULT,
                hint="It looks for that every few seconds. If it is stuck, end its process: the gangs follow in 30 s.",
            )
    report = Ledger.read(opened, job_id).report()
    output.result(report.as_dict())
    output.line(summary(report))
    return ExitCode.DONE


def ask(store: OpenStore, lease: LeaseInfo, output: Output) -> None:
    """Asks a job's owner to stop: by an object in the store, and by a signal where it is on this host."""
    from infra.store.lease import host_id

    request = {
        "epoch": lease.epoch,
        "asked": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": socket.gethostname(),
    }
    store.write(cancel_path(lease.job_id), json.dumps(request, indent=1).encode())
    if lease.owner.host == host_id():
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended; another user's reads the request
            os.kill(lease.owner.pid, signal.SIGTERM)
        output.note(f"Asked process {lease.owner.pid} to stop.")
    else:
        output.note(f"Left a request in the store for {lease.owner.host_name}, process {lease.owner.pid}.")


def cancel_path(job_id: str) -> str:
    """Where a request to stop a job stands. It counts for the epoch that it names, so it never stops a later run; one
    that names none is cleared by the next run.
    """
    from infra.store import layout

    return layout.cancel_path(job_id)


def cancel_requested(store: OpenStore, job_id: str, epoch: int) -> bool:
    """Whether somebody asked this run of a job to stop. One by hand that names no epoch is for whoever runs it.

    Raises:
        StoreUnavailable: nobody can tell now.
    """
    from infra.store.stopping import asked_epoch

    asked = asked_epoch(store, job_id)
    return asked is not None and asked >= epoch


def clear_stale_request(store: OpenStore, job_id: str, epoch: int) -> bool:
    """Remove a request that stood before this run took the job, and that would stop it all the same.

    That is one without an epoch that can be read, which was for an earlier run, or with a later epoch than there is:
    the epochs began anew. Without this it would stop every run to come. One for this very epoch is never removed.
    Returns whether there was one. Call it right after the lease is taken.

    Raises:
        StoreError: it cannot be read or removed now.
    """
    from infra.store.stopping import asked_epoch

    found = store.stat(cancel_path(job_id))
    asked = None if found is None else asked_epoch(store, job_id)
    return found is not None and asked is not None and asked > epoch and store.delete_unchanged(found)


def _ended(store: OpenStore, job_id: str, epoch: int, wait_s: float) -> bool:
    from infra.store.lease import owner_is_gone, read_lease

    deadline = time.monotonic() + wait_s
    while True:
        lease = read_lease(store, job_id)
        if lease is None or lease.final or lease.epoch != epoch or owner_is_gone(lease):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
