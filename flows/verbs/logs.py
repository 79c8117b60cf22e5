"""`rushes logs`: the logs of takes, one per attempt."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from flows.report import FORMAT, ExitCode
from flows.verbs.console import Output
from flows.verbs.failure import Failure
from flows.verbs.options import SELECT, Config, Json, Quiet, Store, Verbose, check_id
from flows.verbs.words import size

if TYPE_CHECKING:
    from infra.store import Stat
    from infra.store import Store as OpenStore

_LOG = re.compile(r"logs/([^/]+)/([^/]+)/([0-9a-f]{8})\.take-(\d+)\.(.+)\.(\d+)\.(\d+)\.log")


@dataclass(frozen=True)
class TakeLog:
    """One log in the store, by what its name says. Sorted, a take's newest attempt comes last."""

    show: str
    shot_id: str
    revision: str
    take: int
    job_id: str
    epoch: int
    attempt: int
    path: str
    bytes: int
    modified: str

    @classmethod
    def of(cls, stat: Stat) -> TakeLog | None:
        """From an object of the store; None for one that is no log of a take."""
        match = _LOG.fullmatch(stat.path)
        if match is None:
            return None
        show, shot_id, revision, take, job_id, epoch, attempt = match.groups()
        when = stat.modified.isoformat(timespec="seconds")
        return cls(show, shot_id, revision, int(take), job_id, int(epoch), int(attempt), stat.path, stat.size, when)


def logs(
    store: Store,
    job: Annotated[str | None, typer.Option("--job", help="Only of this job.", metavar="ID", callback=check_id)] = None,
    shot: Annotated[
        str | None,
        typer.Option(
            "--shot", help="Print the logs of this shot, in place of a list.", callback=check_id, rich_help_panel=SELECT
        ),
    ] = None,
    show: Annotated[
        str | None, typer.Option("--show", help="Only of this show.", callback=check_id, rich_help_panel=SELECT)
    ] = None,
    take: Annotated[int | None, typer.Option("--take", help="Only this take.", min=1, rich_help_panel=SELECT)] = None,
    attempt: Annotated[
        int | None,
        typer.Option("--attempt", help="This attempt; the last one if left out.", min=1, rich_help_panel=SELECT),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every attempt, not only the last.", rich_help_panel=SELECT)
    ] = False,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """List the logs of takes; with --shot, print them."""
    from flows.verbs.target import choose_job, open_for_reading
    from infra.settings import Settings

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = open_for_reading(store, Settings.load(config))
    if job is not None:
        choose_job(opened, job)
    found = [
        one
        for one in find_logs(opened, show, shot)
        if job in (None, one.job_id) and take in (None, one.take) and attempt in (None, one.attempt)
    ]
    if not every and attempt is None:
        found = list({(one.show, one.shot_id, one.take): one for one in found}.values())
    if not found:
        asked = {"--job": job, "--show": show, "--shot": shot, "--take": take, "--attempt": attempt}
        which = " ".join(f"{flag} {value}" for flag, value in asked.items() if value is not None)
        raise Failure(
            f"no log in {opened.url}" + (f" for {which}" if which else ""),
            hint=f"All there are: rushes logs {quote(store)} --all",
        )
    if shot is None:
        output.result({"format": FORMAT, "store": opened.url, "logs": [asdict(one) for one in found]})
        output.table(
            ("show", "shot", ">take", ">attempt", "job", ">size", "written (UTC)"),
            [
                (
                    one.show,
                    one.shot_id,
                    one.take,
                    one.attempt,
                    one.job_id,
                    size(one.bytes),
                    one.modified[:19].replace("T", " "),
                )
                for one in found
            ],
        )
        return ExitCode.DONE
    texts = [opened.read(one.path).decode("utf-8", "replace") for one in found]
    entries = [{**asdict(one), "text": text} for one, text in zip(found, texts, strict=True)]
    output.result({"format": FORMAT, "store": opened.url, "logs": entries})
    for one, text in zip(found, texts, strict=True):
        if len(found) > 1:
            output.line(f"==> {one.path} <==")
        output.raw(text if text.endswith("\n") else text + "\n")
    return ExitCode.DONE


def find_logs(store: OpenStore, show: str | None, shot: str | None) -> list[TakeLog]:
    """Logs of a store, sorted by take and then by age; listed by folder where show and shot are known."""
    from infra.store import layout

    if show is not None and shot is not None:
        stats = store.list(layout.logs_folder(show, shot))
    else:
        stats = store.list(f"{layout.LOGS}/{show}" if show is not None else layout.LOGS)
    found = [one for stat in stats if (one := TakeLog.of(stat)) is not None]
    found = [one for one in found if shot in (None, one.shot_id)]
    return sorted(found, key=lambda one: (one.show, one.shot_id, one.take, one.modified, one.epoch, one.attempt))
