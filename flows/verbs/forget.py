"""`rushes forget`: remove a show from a store."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.report import FORMAT, ExitCode
from flows.verbs.console import Output
from flows.verbs.failure import Failure, half_done
from flows.verbs.options import Config, DryRun, Json, Quiet, Store, Verbose, check_id
from flows.verbs.progress import Counted
from flows.verbs.words import plural, size

if TYPE_CHECKING:
    from infra.store import Store as OpenStore
    from infra.store.forget import Forgotten

log = logging.getLogger("rushes.forget")


def forget(
    store: Store,
    show: Annotated[str, typer.Option("--show", help="The show to remove.", metavar="NAME", callback=check_id)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where there is no terminal.")] = False,
    dry_run: DryRun = False,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Remove a show for good: its commits first, then its films, posters, logs, decisions and jobs."""
    from flows.verbs.target import open_for_reading
    from infra.settings import Settings
    from infra.store.forget import forget as forget_show

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = open_for_reading(store, Settings.load(config))
    if dry_run or not yes:
        told = forget_show(opened, show, dry_run=True)
    if dry_run:
        _tell(output, opened.url, show, told, dry_run=True)
        return ExitCode.DONE
    if not yes:
        _ask(opened.url, show, told)
    with half_done(), Counted("removed", "object", None, output) as counted:
        done = forget_show(opened, show, on_progress=counted.update)
    for job_id in done.left:
        _renew_views(opened, job_id)
    _tell(output, opened.url, show, done, dry_run=False)
    return ExitCode.DONE


def _ask(url: str, show: str, told: Forgotten) -> None:
    """Raises Failure unless somebody at a terminal says yes."""
    what = f"{plural(sum(told.removed.values()), 'object')}, {size(told.bytes)}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Failure(
            f"forgetting {show} would remove {what} for good", hint="Say so with --yes; --dry-run only looks."
        )
    if not typer.confirm(f"Remove the show {show} from {url} for good ({what})?", err=True):
        raise Failure("nothing was removed", exit_code=ExitCode.CANCELLED)


def _renew_views(store: OpenStore, job_id: str) -> None:
    """Manifest, board and contact sheet of a job that holds other shows too. They are views: a fault is a warning."""
    from flows.outputs import Outputs
    from flows.verbs.ledger import Ledger
    from infra.store.errors import StoreError

    try:
        ledger = Ledger.read(store, job_id)
        Outputs(store, job_id, epoch=ledger.lease.epoch if ledger.lease else 0).refresh(ledger.verdict()[0], last=True)
    except (StoreError, Failure) as error:
        log.warning("manifest and board of %s still tell of the show: %s", job_id, error)


def _tell(output: Output, url: str, show: str, found: Forgotten, *, dry_run: bool) -> None:
    output.result(forget_dict(url, show, found, dry_run=dry_run))
    output.table(("what", ">objects"), [(kind, count) for kind, count in found.removed.items()])
    for job_id in found.left:
        output.note(f"The plan of {job_id} holds other shows too and stays, with this show's prompts in it.")
    total = plural(sum(found.removed.values()), "object")
    output.line(f"{show}: {'would remove' if dry_run else 'removed'} {total}, {size(found.bytes)}")


def forget_dict(store: str, show: str, found: Forgotten, *, dry_run: bool) -> dict[str, Any]:
    """The object that `--json` prints."""
    return {
        "format": FORMAT,
        "store": store,
        "show": show,
        "dry_run": dry_run,
        "removed": found.removed,
        "bytes": found.bytes,
        "jobs": found.jobs,
        "left": found.left,
    }
