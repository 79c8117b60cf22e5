"""`rushes render`, and the grammar that it shares with `rushes plan`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.verbs.options import (
    FARM,
    SHOT,
    Address,
    Allow,
    Budget,
    Config,
    Gang,
    Gangs,
    Job,
    Json,
    Layout,
    Model,
    Out,
    Quiet,
    Strict,
    Verbose,
    check_id,
)
from flows.verbs.request import Request, shot_of


def plan_or_render(
    context: typer.Context,
    out: Out,
    catalog: Annotated[
        str | None, typer.Argument(help="Parquet, CSV or JSONL; a path or an fsspec URL.", metavar="CATALOG")
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="One shot, in place of a catalog.", metavar="TEXT")] = None,
    job: Job = None,
    model: Model = None,
    allow: Allow = None,
    strict: Strict = False,
    config: Config = None,
    gang: Gang = None,
    layout: Layout = None,
    gangs: Gangs = None,
    budget: Budget = None,
    address: Address = None,
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
        str | None, typer.Option("--task", help="t2v, still or i2v; i2v with --image.", metavar="TASK", rich_help_panel=SHOT)
    ] = None,
    image: Annotated[
        str | None, typer.Option("--image", help="First frame: a path or URL.", metavar="FILE", rich_help_panel=SHOT)
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
        "width": width,
        "height": height,
        "fps": fps,
        "duration": duration,
        "seed": seed,
        "takes": takes,
        "steps": steps,
        "guidance_scale": guidance_scale,
        "negative_prompt": negative_prompt,
    }
    shot, image_prefixes = shot_of(prompt, image, columns)
    request = Request(
        catalog=catalog,
        out=out,
        shot=shot,
        job=job,
        model=model,
        allow=(*(allow or ()), *image_prefixes),
        strict=strict,
        gang=gang,
        gangs=gangs,
        layout=layout,
        budget=budget,
        address=address,
        config=config,
    )
    raise NotImplementedError
