"""`rushes assets`: mattes, motion tracks and blurred backgrounds of takes, for compositors and re-framing."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.report import FORMAT, ExitCode
from flows.verbs.console import Output
from flows.verbs.failure import Failure, half_done
from flows.verbs.options import Config, Json, OnlyShots, OnlyShow, Quiet, Store, Verbose, check_id
from flows.verbs.progress import Counted
from flows.verbs.words import plural, size

if TYPE_CHECKING:
    from infra.media.side_assets import Kind
    from infra.store import Store as OpenStore


class AssetKind(StrEnum):
    """What can be made of a take; typer takes lists of enumerations alone."""

    MATTE = "matte"
    TRACK = "track"
    BLUR = "blur"


MOST_SHOWN = 50


def assets(
    store: Store,
    job: Annotated[
        str | None,
        typer.Option(
            "--job", help="Takes of this job alone; else of the whole store.", metavar="ID", callback=check_id
        ),
    ] = None,
    show: OnlyShow = None,
    shot: OnlyShots = None,
    kind: Annotated[list[AssetKind] | None, typer.Option("--kind", help="What to make; all three if left out.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Of every finished take, not of the chosen ones alone.")] = False,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Make mattes, motion tracks and versions with a blurred background of the chosen takes; what is there stays."""
    from flows.verbs.target import choose_job, open_for_reading
    from infra.assets import AssetFailed, AssetMaker
    from infra.provenance import ready
    from infra.scratch import Scratch
    from infra.settings import Settings

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    settings = Settings.load(config)
    opened = open_for_reading(store, settings)
    if job is not None:
        choose_job(opened, job)
    commits, missing = _takes(opened, job, show, every=every)
    if shot:
        known = {name["shot_id"] for name in (*commits, *missing)}
        if unknown := sorted(set(shot) - known):
            raise Failure(f"no such shot: {', '.join(unknown)}", hint=f"Shots here: {', '.join(sorted(known)[:8])}")
        commits = [commit for commit in commits if commit["shot_id"] in shot]
        missing = [gap for gap in missing if gap["shot_id"] in shot]
    if not commits and not missing:
        raise Failure(f"{opened.url} has no finished take of that kind", hint="`rushes render` makes takes.")
    scratch = Scratch(settings.farm.scratch, settings.farm.scratch_bytes)
    scratch.clean()
    if AssetKind.BLUR in (kind or AssetKind):
        ready(settings.provenance)
    maker = AssetMaker(opened, scratch, settings)
    wanted: list[Kind] = [found.value for found in dict.fromkeys(kind or AssetKind)]
    made: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    with half_done(), Counted("finished", "take", len(commits), output) as counted:
        for number, commit in enumerate(commits, 1):
            name = {field: commit[field] for field in ("show", "shot_id", "revision", "take")}
            try:
                for asset in maker.make(commit, wanted):
                    told = {"kind": asset.kind, "path": asset.path, "bytes": asset.bytes, "kept": asset.kept}
                    made.append(name | told | {"score": asset.record["method"].get("score")})
            except AssetFailed as error:
                failed.append(name | {"error": str(error)})
                counted.note(f"{commit['show']}/{commit['shot_id']} take {commit['take']}: {error}")
            counted.update(number)
    code = ExitCode.FAULTS if failed or missing else ExitCode.DONE
    head = {"format": FORMAT, "store": opened.url, "exit": int(code)}
    output.result(head | {"assets": made, "failed": failed, "missing": missing})
    _print(output, made, failed, missing)
    return code


def _takes(
    store: OpenStore, job: str | None, show: str | None, *, every: bool
) -> tuple[list[Mapping[str, Any]], list[dict[str, str]]]:
    """The commits that are meant, and the shots of which there is none."""
    if not every:
        from infra.store.selection import choose

        found = choose(store, job_id=job, show=show)
        return [chosen.commit for chosen in found.chosen], [
            {"show": gap.show, "shot_id": gap.shot_id, "why": gap.why} for gap in found.missing
        ]
    from infra.store.additions import read_takes
    from infra.store.commits import read_commits
    from infra.store.selection import job_keys

    found_keys = () if job is None else job_keys(store, job, read_takes(store, job))
    keys = None if job is None else [key for key in found_keys if key is not None]
    reads = (read.commit for read in read_commits(store, keys))
    commits = [commit for commit in reads if commit is not None and show in (None, commit["show"])]
    return sorted(commits, key=lambda commit: (commit["show"], commit["shot_id"], commit["take"])), []


def _print(
    output: Output, made: list[dict[str, Any]], failed: list[dict[str, Any]], missing: list[dict[str, str]]
) -> None:
    new = [asset for asset in made if not asset["kept"]]
    rows = [(asset["kind"], asset["path"], size(asset["bytes"]), asset["score"]) for asset in new[:MOST_SHOWN]]
    if rows:
        output.table(("kind", "path", ">size", ">subject"), rows)
    if len(new) > MOST_SHOWN:
        output.line(f"and {len(new) - MOST_SHOWN:,} more; --json lists them all")
    for gap in missing[:MOST_SHOWN]:
        output.line(f"{gap['show']}/{gap['shot_id']}: {gap['why']}")
    for gone in failed[:MOST_SHOWN]:
        output.line(f"{gone['show']}/{gone['shot_id']} take {gone['take']}: {gone['error']}")
    told = f"{plural(len(new), 'asset')} made, {len(made) - len(new):,} were there"
    output.line(told + (f", {len(failed):,} takes failed" if failed else ""))
