"""Options that several verbs share, so that each is named, explained and checked once."""

from __future__ import annotations

import re
from typing import Annotated

import typer

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_id(value: str | None) -> str | None:
    """A job, show or shot name that is one safe path segment."""
    if value is not None and not ID.fullmatch(value):
        raise typer.BadParameter(
            f"{value!r} is not a name: letters, digits, '.', '_' and '-', starting with a letter or digit, at most 128."
        )
    return value


SELECT, WHAT, FARM, SHOT, OUTPUT = "Which", "What", "Farm", "One shot (with --prompt)", "Output"

Store = Annotated[
    str, typer.Argument(help="The store: a folder or any fsspec URL, such as s3://bucket/prefix.", metavar="STORE")
]
Out = Annotated[
    str, typer.Option("--out", "-o", help="The store that takes go into: a folder or an fsspec URL.", metavar="STORE")
]
Job = Annotated[
    str | None,
    typer.Option(
        "--job",
        help="The job's name; else made from the catalog's name and content.",
        metavar="NAME",
        callback=check_id,
    ),
]
WhichJob = Annotated[
    str | None,
    typer.Option("--job", help="The job; the newest of the store if left out.", metavar="ID", callback=check_id),
]
Config = Annotated[
    str | None, typer.Option("--config", help="Settings file, in place of ./rushes.toml.", metavar="FILE")
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="Ray cluster to join, host:port; else one is started here.", metavar="RAY"),
]
Model = Annotated[
    str | None, typer.Option("--model", help="Folder or URL of a pipeline; else the shipped one.", metavar="MODEL")
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow", help="Inputs may also come from URLs that begin with PREFIX; may be given again.", metavar="PREFIX"
    ),
]
Enhance = Annotated[
    str | None,
    typer.Option(
        "--enhance", help="Make prompts richer before they are encoded: rules, or module:function.", metavar="NAME"
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset", help="Named size, rate and length, such as clip-4s, of rows that name none.", metavar="NAME"
    ),
]
Draft = Annotated[
    bool,
    typer.Option(
        "--draft", help="Small and in few steps, to choose takes from; then: rushes final.", show_default=False
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse the whole catalog if one row is refused.")]
Gang = Annotated[
    int | None, typer.Option("--gang", help="Ranks that render one take together.", min=1, max=4096, metavar="N")
]
Gangs = Annotated[
    int | None, typer.Option("--gangs", help="Gangs at the same time, at most.", min=1, max=100_000, metavar="N")
]
Layout = Annotated[
    str | None, typer.Option("--layout", help="How a gang splits a take: cfg=2,ulysses=2,ring=2.", metavar="LAYOUT")
]
Budget = Annotated[
    float | None,
    typer.Option("--budget", help="GPU seconds this job may use; then it stops with 3.", min=0.0, metavar="GPU_S"),
]
OnlyShow = Annotated[
    str | None,
    typer.Option("--show", help="Shots of this show only.", metavar="SHOW", callback=check_id, rich_help_panel=WHAT),
]
OnlyShots = Annotated[
    list[str] | None,
    typer.Option("--shot", help="This shot; may be given again.", metavar="SHOT_ID", rich_help_panel=WHAT),
]
PeopleOnly = Annotated[
    bool,
    typer.Option("--people-only", help="Only takes that people chose; none by the rule.", rich_help_panel=WHAT),
]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would go, and write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.", rich_help_panel=OUTPUT)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.", rich_help_panel=OUTPUT)]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose", "-v", count=True, help="Log more; -vv more still. Shows tracebacks.", rich_help_panel=OUTPUT
    ),
]
