"""`rushes render`, and the grammar that it shares with `rushes plan`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.report import STATES, ExitCode, JobReport
from flows.verbs.console import Output
from flows.verbs.estimate import note_misspelt
from flows.verbs.options import (
    SHOT,
    Address,
    Allow,
    Budget,
    Config,
    Draft,
    Enhance,
    Gang,
    Gangs,
    Job,
    Json,
    Layout,
    Model,
    Out,
    Preset,
    Quiet,
    Strict,
    Verbose,
    check_id,
)
from flows.verbs.progress import JobProgress
from flows.verbs.request import Request, shot_of
from flows.verbs.words import money, plural, seconds

if TYPE_CHECKING:
    from flows.planned import Planned
    from infra.settings import Settings


def plan_or_render(
    context: typer.Context,
    out: Out,
    catalog: Annotated[
        str | None, typer.Argument(help="Parquet, CSV or JSONL; a path or an fsspec URL.", metavar="CATALOG")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="One shot, in place of a catalog.", metavar="TEXT")
    ] = None,
    job: Job = None,
    model: Model = None,
    allow: Allow = None,
    strict: Strict = False,
    enhance: Enhance = None,
    preset: Preset = None,
    draft: Draft = False,
    config: Config = None,
    gang: Gang = None,
    layout: Layout = None,
    gangs: Gangs = None,
    budget: Budget = None,
    address: Address = None,
    upscale: Annotated[
        float | None,
        typer.Option("--upscale", help="Render so many times smaller, then upscale.", rich_help_panel=SHOT),
    ] = None,
    width: Annotated[int | None, typer.Option("--width", help="Pixels, even.", rich_help_panel=SHOT)] = None,
    height: Annotated[int | None, typer.Option("--height", help="Pixels, even.", rich_help_panel=SHOT)] = None,
    fps: Annotated[float | None, typer.Option("--fps", help="Frames per second.", rich_help_panel=SHOT)] = None,
    duration: Annotated[float | None, typer.Option("--duration", help="Seconds.", rich_help_panel=SHOT)] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of take 1.", rich_help_panel=SHOT)] = None,
    takes: Annotated[int | None, typer.Option("--takes", help="How many takes.", rich_help_panel=SHOT)] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Denoising steps.", rich_help_panel=SHOT)] = None,
    guidance_scale: Annotated[
        float | None, typer.Option("--guidance-scale", help="How closely to follow the prompt.", rich_help_panel=SHOT)
    ] = None,
    negative_prompt: Annotated[
        str | None, typer.Option("--negative-prompt", help="What to keep out.", metavar="TEXT", rich_help_panel=SHOT)
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", help="t2v; i2v with --image; flf2v with --last-image too.", metavar="TASK", rich_help_panel=SHOT
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option("--image", help="First frame: a path or URL.", metavar="FILE", rich_help_panel=SHOT)
    ] = None,
    last_image: Annotated[
        str | None, typer.Option("--last-image", help="Last frame.", metavar="FILE", rich_help_panel=SHOT)
    ] = None,
    video: Annotated[
        str | None,
        typer.Option("--video", help="Film to go on from or to change.", metavar="FILE", rich_help_panel=SHOT),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option("--mask", help="White where the picture is made anew.", metavar="FILE", rich_help_panel=SHOT),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option("--strength", help="How much of the film is made anew, 0 to 1.", rich_help_panel=SHOT),
    ] = None,
    keep_frames: Annotated[
        str | None,
        typer.Option("--keep-frames", help='Frames that infill keeps: "0-4, 28-32".', rich_help_panel=SHOT),
    ] = None,
    long_method: Annotated[
        str | None,
        typer.Option(
            "--long-method", help="hierarchical, overlap or co_denoise, for long clips.", rich_help_panel=SHOT
        ),
    ] = None,
    show: Annotated[
        str | None, typer.Option("--show", help="Show of the shot.", callback=check_id, rich_help_panel=SHOT)
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Both verbs take the same words, so that a plan tells of exactly what the render will do."""
    columns = {
        "show": show,
        "task": task,
        "upscale": upscale,
        "width": width,
        "height": height,
        "fps": fps,
        "duration": duration,
        "seed": seed,
        "takes": takes,
        "steps": steps,
        "guidance_scale": guidance_scale,
        "negative_prompt": negative_prompt,
        "strength": strength,
        "keep_frames": keep_frames,
        "long_method": long_method,
        "preset": None if prompt is None else preset,  # of a catalog it is for the rows that name none
    }
    inputs = {"image_uri": image, "last_image_uri": last_image, "video_uri": video, "mask_uri": mask}
    shot, input_prefixes = shot_of(prompt, inputs, columns)
    request = Request(
        catalog=catalog,
        out=out,
        shot=shot,
        job=job,
        model=model,
        allow=(*(allow or ()), *input_prefixes),
        strict=strict,
        gang=gang,
        gangs=gangs,
        layout=layout,
        budget=budget,
        address=address,
        config=config,
        enhance=enhance,
        preset=None if prompt is not None else preset,
        draft=draft,
    )
    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    if context.info_name == "plan":
        from flows.verbs.plan import run as run_plan

        return run_plan(request, output)
    return run(request, output)


def run(request: Request, output: Output) -> int:
    """The verb: plans, renders what is missing and tells how it ended."""
    from flows.verbs.plan import farm_flags, plan_request
    from infra.settings import Settings

    settings = Settings.load(request.config, farm=farm_flags(request), ray={"address": request.address})
    planned = plan_request(request, settings)
    output.refused(planned.plan.refused, planned.plan.rows_total)
    return render_planned(planned, settings, output, budget=request.budget)


def render_planned(
    planned: Planned,
    settings: Settings,
    output: Output,
    *,
    budget: float | None = None,
    more: Mapping[str, Any] | None = None,
    incomplete: bool = False,
) -> int:
    """Renders what a plan left to do, with a progress bar, and prints how it ended. Returns the exit code.

    Args:
        more: what the result says besides.
        incomplete: something was left out of the plan, so that the best end is `ExitCode.FAULTS`.
    """
    # Ray's core reads this once, when it is first imported: set later, the cluster asks for a token that nobody sends.
    os.environ.setdefault("RAY_AUTH_MODE", settings.ray.auth)
    from flows.render import run_job

    takes = planned.takes()
    if takes.pending:
        note_misspelt(planned, output)
        output.note(f"{planned.job_id}: {plural(takes.pending, 'take')} to render into {planned.store.url}")
    started = time.monotonic()
    with JobProgress(takes.total, output) as progress:
        report = run_job(planned, settings, budget_gpu_s=budget, on_status=progress.update)
    if incomplete:
        report = faulty(report)
    output.result(report.as_dict() | dict(more or {}))
    print_report(report, time.monotonic() - started, settings, output)
    return ExitCode.FAULT if report.exit is None else report.exit


def faulty(report: JobReport) -> JobReport:
    """The report of a job that did all it was given, and was not given all that was asked for."""
    if report.exit != ExitCode.DONE:
        return report
    return replace(report, exit=ExitCode.FAULTS, state=STATES[ExitCode.FAULTS])


def print_report(report: JobReport, wall_s: float, settings: Settings, output: Output) -> None:
    """Tells people how a job ended, and where its films and its board are."""
    takes, gpu_s = report.takes, report.gpu_s
    if not takes.rendered and not takes.pending and not gpu_s.spent:
        left = f"{takes.cached:,} of {plural(takes.total, 'take')} stood in the store already"
        output.line(f"Nothing to render: {left if takes.total else 'the catalog has no row that can be'}.")
    else:
        output.line(
            f"{report.state}: {takes.committed:,} of {plural(takes.total, 'take')} committed "
            f"({takes.rendered:,} rendered, {takes.cached:,} cached) in {seconds(wall_s)}"
        )
        cost = money(gpu_s.spent, settings.price)
        wasted = (
            f", {gpu_s.failed + gpu_s.duplicate:,.1f} of them for nothing" if gpu_s.failed + gpu_s.duplicate else ""
        )
        output.line(f"cost    {gpu_s.spent:,.1f} GPU seconds{wasted}" + (f", {cost}" if cost else ""))
    output.line(f"films   {report.store}/shots")
    if report.board:
        output.line(f"board   {report.board}")
    if takes.quarantined:
        where = f"{quote(report.store or '')} --job {report.job_id}"
        output.line(f"{plural(takes.quarantined, 'take')} quarantined. Why: rushes status {where}")
        output.line(f"Again, when the reason is gone: rushes retry {where}")
    if takes.skipped:
        output.line(f"{plural(takes.skipped, 'take')} not needed: enough others of their shots have passed.")
    if takes.pending:
        output.line(f"{plural(takes.pending, 'take')} not rendered; the same command again goes on with them.")
    if report.error:
        output.error(report.error)
