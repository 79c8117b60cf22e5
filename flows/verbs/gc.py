"""`rushes gc`: remove what killed processes and races left in a store."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.report import FORMAT, ExitCode
from flows.verbs.console import Output
from flows.verbs.failure import half_done
from flows.verbs.options import Config, DryRun, Json, Quiet, Store, Verbose
from flows.verbs.progress import Counted
from flows.verbs.words import plural, seconds, size

if TYPE_CHECKING:
    from infra.store.gc import Collected

MOST_SHOWN = 200


def gc(
    store: Store,
    dry_run: DryRun = False,
    older_than: Annotated[
        float | None,
        typer.Option(
            "--older-than",
            help="Seconds, in place of the longest lease; what a running job may want stays all the same.",
            min=0.0,
            max=1e10,
            metavar="S",
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Remove orphans that are older than the longest lease: films without a commit, temporaries, settled pieces."""
    from flows.verbs.target import open_for_reading
    from infra.settings import Settings
    from infra.store.gc import collect

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    settings = Settings.load(config)
    opened = open_for_reading(store, settings)
    with half_done(), Counted("removed", "object", None, output) as counted:
        found = collect(
            opened,
            lapse_s=settings.farm.lease_lapse_s,
            older_than_s=older_than,
            dry_run=dry_run,
            on_progress=counted.update,
        )
    output.result(gc_dict(opened.url, found, dry_run=dry_run))
    if found.removed and (dry_run or verbose):
        rows = [(gone.reason, gone.bytes, seconds(gone.age_s), gone.path) for gone in found.removed[:MOST_SHOWN]]
        output.table(("reason", ">bytes", ">age", "path"), rows)
        if len(found.removed) > MOST_SHOWN:
            output.line(f"and {len(found.removed) - MOST_SHOWN:,} more; --json lists them all")
    output.foreign(found.foreign)
    kinds = ", ".join(
        f"{count:,} {kind}" for kind, count in Counter(gone.reason for gone in found.removed).most_common()
    )
    done = f"{'would remove' if dry_run else 'removed'} {plural(len(found.removed), 'object')}, {size(found.bytes)}"
    output.line(done + (f" ({kinds})" if kinds else "") + f"; {found.kept:,} kept, too young or perhaps still wanted")
    return ExitCode.DONE


def gc_dict(store: str, found: Collected, *, dry_run: bool) -> dict[str, Any]:
    """The object that `--json` prints."""
    return {
        "format": FORMAT,
        "store": store,
        "dry_run": dry_run,
        "older_than_s": found.older_than_s,
        "removed": [gone._asdict() for gone in found.removed],
        "kept": found.kept,
        "foreign": found.foreign,
        "bytes": found.bytes,
    }
