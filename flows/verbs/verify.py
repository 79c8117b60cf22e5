"""`rushes verify`: does the store hold what its commits say? And with `--repair`: make it so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.report import ExitCode, verify_dict
from flows.verbs.console import Output
from flows.verbs.options import Address, Budget, Config, Gang, Gangs, Json, Quiet, Store, Verbose, check_id
from flows.verbs.progress import Counted
from flows.verbs.words import plural

if TYPE_CHECKING:
    from infra.scratch import Scratch
    from infra.settings import Settings
    from infra.store import Store as OpenStore
    from infra.store.verify import Audit

MOST_SHOWN = 200


def verify(
    store: Store,
    job: Annotated[
        str | None, typer.Option("--job", help="Only this job's takes.", metavar="ID", callback=check_id)
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Orphans are faults too.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Move damaged commits aside and render their takes again.")
    ] = False,
    gang: Gang = None,
    gangs: Gangs = None,
    budget: Budget = None,
    address: Address = None,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Audit every commit, cut, deliverable and asset: its files are there, are what it says, and play. 1 if not."""
    from flows.verbs.target import choose_job, open_for_reading
    from infra.media import probe
    from infra.scratch import Scratch
    from infra.settings import Settings
    from infra.store.commits import committed_keys
    from infra.store.verify import audit

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    settings = Settings.load(config, farm={"gang": gang, "gangs_max": gangs}, ray={"address": address})
    opened = open_for_reading(store, settings)
    if job is not None:
        choose_job(opened, job)

    scratch = Scratch(settings.farm.scratch)
    scratch.clean()

    def look() -> Audit:
        total = len(committed_keys(opened)) if job is None else None
        with Counted("verified", "commit", total, output) as counted:
            found = audit(opened, strict=strict, job=job, prober=probe, scratch=scratch, on_progress=counted.update)
        return found if job is not None else _with_derived(opened, settings, found, scratch, output, strict=strict)

    found = look()
    if not repair:
        output.result(verify_dict(found))
        _print(found, strict, output)
        return ExitCode.FAULTS if found.faults else ExitCode.DONE

    from flows.verbs.repair import Repaired
    from flows.verbs.repair import repair as repair_faults

    done = Repaired()
    of_takes = [fault for fault in found.faults if not _is_derived(fault.kind)]
    if any(fault.kind != "orphan" for fault in of_takes):
        done = repair_faults(opened, settings, of_takes, output, job=job, prober=probe, budget=budget)
        found = look()
    output.result(verify_dict(found) | done.as_dict())
    for command in done.commands:
        output.line(command)
    _print(found, strict, output)
    if done.stopped is not None:
        return done.stopped
    return ExitCode.FAULTS if found.faults or done.missing else ExitCode.DONE


def _with_derived(
    store: OpenStore, settings: Settings, found: Audit, scratch: Scratch, output: Output, *, strict: bool
) -> Audit:
    """The audit of the takes, and of what was made from them: cuts, deliverables, side assets."""
    from infra.provenance import check_local, trusted
    from infra.store.derived import audit_derived
    from infra.store.layout import is_foreign
    from infra.store.verify import Fault

    anchors = trusted(settings.provenance)

    def validate(local: Path, record: Mapping[str, Any], beside: bytes | None) -> None:
        check_local(local, record, beside, anchors)

    with Counted("verified", "record", None, output) as counted:
        more = audit_derived(store, validator=validate, scratch=scratch, on_progress=counted.update)
    foreign = [path for path in more.orphans if is_foreign(path)]
    orphans = [path for path in more.orphans if path not in foreign]
    faults = found.faults + more.faults
    if strict:
        faults += [Fault("orphan", path, None, "no record names it") for path in orphans]
    if more.records:
        output.note(f"looked at {plural(more.records, 'record')} of cuts, deliverables and side assets")
    return found._replace(faults=faults, orphans=found.orphans + orphans, foreign=found.foreign + foreign)


def _is_derived(kind: str) -> bool:
    """Whether the fault is of what was made from takes: it is made again by the verb that made it."""
    return kind.startswith(("derived-", "provenance-"))


def _print(found: Audit, strict: bool, output: Output) -> None:
    """What an audit found, for people."""
    if found.faults:
        output.table(
            ("fault", "path", "what was found"),
            [(fault.kind, fault.path, fault.detail) for fault in found.faults[:MOST_SHOWN]],
        )
        if len(found.faults) > MOST_SHOWN:
            output.line(f"and {len(found.faults) - MOST_SHOWN:,} more faults; --json lists them all")
    if found.orphans and not strict:
        output.table(("orphan",), [(path,) for path in found.orphans[:MOST_SHOWN]])
        if len(found.orphans) > MOST_SHOWN:
            output.line(f"and {len(found.orphans) - MOST_SHOWN:,} more orphans; --json lists them all")
    output.foreign(found.foreign)
    kinds = ", ".join(
        f"{count:,} {kind}" for kind, count in Counter(fault.kind for fault in found.faults).most_common()
    )
    if any(_is_derived(fault.kind) for fault in found.faults):
        output.line("What was made from takes is made again by `rushes cut`, `rushes deliver` or `rushes assets`.")
    counts = [plural(found.commits, "commit"), plural(len(found.faults), "fault"), plural(len(found.orphans), "orphan")]
    output.line(", ".join(counts) + (f" ({kinds})" if kinds else ""))
