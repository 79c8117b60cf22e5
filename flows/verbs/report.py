"""`rushes report`: what a job came to, in GPU seconds and money per second of film, keep rate and retries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.report import FORMAT, ExitCode
from flows.verbs.console import Output
from flows.verbs.failure import Failure
from flows.verbs.options import Config, Json, Quiet, Store, Verbose, WhichJob
from flows.verbs.words import plural, seconds

if TYPE_CHECKING:
    from flows.costs import JobCosts

MOST_LISTED = 12


def report(
    store: Store,
    job: WhichJob = None,
    picture: Annotated[
        str | None, typer.Option("--picture", help="Also draw the figures into this PNG file.", metavar="FILE")
    ] = None,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """What a job came to: cost per delivered and per used second, keep rate, retries, estimates against the truth."""
    from flows.costs import Rate
    from flows.manifest import make_manifest
    from flows.results import results
    from flows.verbs.ledger import Ledger
    from flows.verbs.target import choose_job, open_for_reading
    from infra.settings import Settings

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    settings = Settings.load(config)
    opened = open_for_reading(store, settings)
    ledger = Ledger.read(opened, choose_job(opened, job))
    told, booked = ledger.report(), ledger.gpu_seconds()
    costs = results(
        opened,
        ledger.job_id,
        make_manifest(opened, ledger.job_id),
        counts=told.takes.as_dict(),
        failed=booked.failed,
        duplicate=booked.duplicate,
        quarantines=[str(record.get("error_class")) for record in ledger.quarantined.values()],
        rate=Rate(settings.price.gpu_hour, settings.price.currency),
    )
    if picture is not None:
        _draw(costs, picture)
    head: dict[str, Any] = {"format": FORMAT, "job_id": told.job_id, "store": told.store, "state": told.state}
    head["exit"] = int(ExitCode.DONE)
    output.result(head | costs.as_dict())
    if not as_json:
        output.line(f"job       {told.job_id}: {told.state}")
        _print(costs, output)
        if picture is not None:
            output.line(f"picture   {picture}")
    return ExitCode.DONE


def _draw(costs: JobCosts, picture: str) -> None:
    from flows.result_picture import result_png

    try:
        Path(picture).write_bytes(result_png(costs))
    except OSError as error:
        raise Failure(f"the picture cannot be written to {picture}: {error.strerror}") from error


def _print(costs: JobCosts, output: Output) -> None:
    takes = costs.takes
    output.line(
        f"films     {seconds(costs.delivered_s)} delivered in {plural(costs.commits, 'take')}"
        + (f", {_percent(costs.cached_share)} of them cached" if takes.get("cached") else "")
    )
    who = {"people": "selected by people", "cut": "in a cut; nobody has selected takes", "nobody": ""}[costs.used_by]
    output.line(
        f"used      {seconds(costs.used_s)} in {plural(costs.used_takes, 'take')}, {who}; "
        f"keep rate {_percent(costs.keep_rate)}"
        if who
        else "used      nothing yet: no take is selected, and none is in a cut"
    )
    output.line(
        f"GPU s     {costs.all_in:,.1f}: {costs.rendered:,.1f} rendered, {costs.failed:,.1f} failed, "
        f"{costs.duplicate:,.1f} duplicate, {costs.cached:,.1f} of takes that were there before"
    )
    output.line(f"          {_per(costs, costs.per_delivered_s, 'delivered')}")
    if costs.per_used_s is not None:
        output.line(f"          {_per(costs, costs.per_used_s, 'used')}")
    if (whole := costs.rate.of(costs.all_in)) is not None:
        output.line(f"money     {whole:,.4g} {costs.rate.currency}")
    output.line(f"verdicts  {_counted(costs.verdicts) or 'none'}; passed {_percent(costs.pass_rate)}")
    for name, counted in (("retries", costs.retries), ("attempts", costs.attempts), ("given up", costs.quarantines)):
        if counted:
            output.line(f"{name:<9} {_counted(counted)}")
    if costs.wall_s is not None:
        off = f"; estimates were {_percent(costs.eta_error)} off" if costs.eta_error is not None else ""
        output.line(f"wall time {seconds(costs.wall_s)} in {plural(costs.runs, 'run')}{off}")
    for shot in costs.short[:MOST_LISTED]:
        output.line(
            f"short     {shot['show']}/{shot['shot_id']}: {shot['passed']} of {shot['keep']} wanted takes passed"
        )
    for take in costs.escalated[:MOST_LISTED]:
        name = f"{take['show']}/{take['shot_id']} take {take['take']}"
        output.line(f"look at   {name}: {', '.join(take['reasons'])}")
    if (more := len(costs.escalated) + len(costs.short) - 2 * MOST_LISTED) > 0:
        output.line(f"          and more ({more} or so): see --json")


def _per(costs: JobCosts, value: float | None, word: str) -> str:
    money = costs.rate.of(value)
    priced = "" if money is None else f", {money:,.4g} {costs.rate.currency}"
    return "–" if value is None else f"{value:,.2f} per {word} second{priced}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _counted(counts: Any) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())
