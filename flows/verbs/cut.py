"""`rushes cut`: takes in order on a timeline, stitched into one film."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.report import FORMAT, ExitCode
from flows.verbs.console import Output
from flows.verbs.failure import Failure
from flows.verbs.options import OUTPUT, WHAT, Config, Json, OnlyShow, PeopleOnly, Quiet, Store, Verbose, check_id
from flows.verbs.words import plural, seconds, size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.cut.timeline import Timeline
    from infra.store import Store as OpenStore

JOINS, FORM, TITLES, SOUND = "Joins", "The film's form", "Titles", "Sound"
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
MOST_SHOWN = 200


def _file(name: str, text: str, metavar: str, panel: str) -> Any:
    return typer.Option(name, help=text, metavar=metavar, rich_help_panel=panel)


def cut(
    store: Store,
    name: Annotated[
        str,
        typer.Option("--name", help="The cut's name: its folder below cuts/.", callback=check_id, rich_help_panel=WHAT),
    ],
    job: Annotated[
        str | None,
        typer.Option(
            "--job", help="Whose shots; without a timeline the newest job of the store if left out.", metavar="ID",
            callback=check_id, rich_help_panel=WHAT,
        ),
    ] = None,
    show: OnlyShow = None,
    timeline: Annotated[
        Path | None, _file("--timeline", "A timeline: .otio, .edl, or a cut sheet in .toml.", "FILE", WHAT)
    ] = None,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out shots without a chosen take.", rich_help_panel=WHAT)
    ] = False,
    people_only: PeopleOnly = False,
    handles: Annotated[
        int, typer.Option("--handles", help="Frames to keep out of the film at both ends of each take.", min=0,
                          metavar="FRAMES", rich_help_panel=JOINS),
    ] = 0,
    transition: Annotated[
        Literal["cut", "dissolve", "dip-black", "dip-white"],
        typer.Option("--transition", help="At every join.", rich_help_panel=JOINS),
    ] = "cut",
    transition_frames: Annotated[
        int, typer.Option("--transition-frames", help="How long each of them is.", min=0, metavar="FRAMES",
                          rich_help_panel=JOINS),
    ] = 0,
    speed: Annotated[
        float, typer.Option("--speed", help="Of all takes: 0.5 plays at half speed.", min=0.01, max=100.0,
                            metavar="X", rich_help_panel=JOINS),
    ] = 1.0,
    conform: Annotated[
        float | None,
        typer.Option("--conform", help="The film's rate; frames of takes of another one are repeated or left out.",
                     min=1.0, max=240.0, metavar="FPS", rich_help_panel=FORM),
    ] = None,
    frame_size: Annotated[
        str | None,
        typer.Option("--size", help="The film's size; else that of its largest take. Others are scaled to fit, "
                     "with black around them.", metavar="WxH", rich_help_panel=FORM),
    ] = None,
    start: Annotated[
        str, typer.Option("--start", help="Timecode of the first frame.", metavar="TC", rich_help_panel=FORM)
    ] = "01:00:00:00",
    edl_rate: Annotated[
        float | None,
        typer.Option("--edl-rate", help="Frames a second that an .edl counts; else as `cut` would write it.", min=1.0,
                     max=240.0, metavar="FPS", rich_help_panel=FORM),
    ] = None,
    title: Annotated[
        str | None, typer.Option("--title", help="A card before the first take.", rich_help_panel=TITLES)
    ] = None,
    end_title: Annotated[
        str | None, typer.Option("--end-title", help="A card after the last.", rich_help_panel=TITLES)
    ] = None,
    title_s: Annotated[
        float, typer.Option("--title-s", help="Seconds of a card or still without a length.", min=0.01, max=3600.0,
                            metavar="S", rich_help_panel=TITLES),
    ] = 3.0,
    title_colour: Annotated[
        str, typer.Option("--title-colour", help="#rrggbb, black or white.", rich_help_panel=TITLES)
    ] = "white",
    title_background: Annotated[
        str, typer.Option("--title-background", help="#rrggbb, black or white.", rich_help_panel=TITLES)
    ] = "black",
    title_font: Annotated[
        str | None, typer.Option("--title-font", help="One of the fonts given by --font.", metavar="NAME",
                                 rich_help_panel=TITLES),
    ] = None,
    font: Annotated[
        list[str] | None,
        typer.Option("--font", help="A font that cards may name; may be given again.", metavar="NAME=FILE",
                     rich_help_panel=TITLES),
    ] = None,
    bed: Annotated[Path | None, _file("--bed", "Sound under the whole film.", "FILE", SOUND)] = None,
    voice: Annotated[
        list[str] | None,
        typer.Option("--voice", help="Sound over the bed, from second S on; may be given again.", metavar="FILE[@S]",
                     rich_help_panel=SOUND),
    ] = None,
    duck: Annotated[
        bool, typer.Option("--duck/--no-duck", help="The bed gives way to voices.", rich_help_panel=SOUND)
    ] = True,
    loop_bed: Annotated[
        bool, typer.Option("--loop-bed", help="A bed shorter than the film begins again.", rich_help_panel=SOUND)
    ] = False,
    fade_out: Annotated[
        float, typer.Option("--fade-out", help="Seconds in which the bed fades at the end.", min=0.0, max=600.0,
                            metavar="S", rich_help_panel=SOUND),
    ] = 0.0,
    loudness: Annotated[
        str, typer.Option("--loudness", help="LUFS that the film measures afterwards, or off.", metavar="LUFS",
                          rich_help_panel=SOUND),
    ] = "-23",
    true_peak: Annotated[
        float, typer.Option("--true-peak", help="dBTP that it does not go beyond.", min=-9.0, max=0.0, metavar="DBTP",
                            rich_help_panel=SOUND),
    ] = -1.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would be cut, and write nothing.", rich_help_panel=OUTPUT)
    ] = False,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:  # fmt: skip
    """Stitch chosen takes, or a timeline of takes, into one film: exact to the frame, without rendering anything."""
    from flows.verbs import cutting
    from flows.verbs.target import open_for_reading
    from infra.cut.errors import CutError
    from infra.settings import Settings

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    settings = Settings.load(config)
    opened = open_for_reading(store, settings)
    try:
        plan = cutting.Plan.of(
            opened, settings, output, name=name, job=job, show=show, timeline=timeline, skip_missing=skip_missing,
            best=not people_only, handles=handles, transition=transition, transition_frames=transition_frames,
            speed=speed, conform=conform, size=_size(frame_size), start=start, edl_rate=edl_rate, title=title,
            end_title=end_title, title_s=title_s, title_colour=title_colour, title_background=title_background,
            title_font=title_font, fonts=font or [], bed=bed, voices=voice or [], duck=duck, loop_bed=loop_bed,
            fade_out=fade_out, loudness=loudness, true_peak=true_peak,
        )  # fmt: skip
        if dry_run:
            _print_parts(plan.timeline, output)
            output.result(_told(opened, name, "planned", cutting.planned(plan)))
            return ExitCode.DONE
        state, record = cutting.carry_out(plan, opened, settings, output)
    except CutError as error:
        raise Failure(str(error), hint=error.hint, exit_code=cutting.exit_code(error)) from error
    if verbose:
        _print_parts(plan.timeline, output)
    output.result(_told(opened, name, state, record))
    _print(opened, state, record, output)
    return ExitCode.DONE


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = _SIZE.fullmatch(text)
    if found is None:
        raise Failure(f"--size {text!r} is no size", hint="Write it as 1280x720.")
    return int(found[1]), int(found[2])


def _told(store: OpenStore, name: str, state: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The object that `--json` prints: the record, and how this command ended."""
    return {**record, "format": FORMAT, "store": store.url, "name": name, "state": state, "exit": int(ExitCode.DONE)}


def _print_parts(timeline: Timeline, output: Output) -> None:
    from infra.cut.publishing import parts_of

    parts = parts_of(timeline)
    rows = [
        (
            number, part["timecode"], part["record_out"] - part["record_in"], placed.part.name,
            f"{part['source_in']}-{part['source_out']}", part["speed"],
            f"{part['transition']['kind']} {part['transition']['frames'] or ''}".strip(),
        )
        for number, (part, placed) in enumerate(zip(parts[:MOST_SHOWN], timeline.placed(), strict=False), 1)
    ]  # fmt: skip
    output.table((">part", "from", ">frames", "what", ">source", ">speed", "joined by"), rows)
    if len(parts) > MOST_SHOWN:
        output.line(f"and {len(parts) - MOST_SHOWN:,} more; --json lists them all")
    form = f"{timeline.width}x{timeline.height}, {float(timeline.fps):g} frames a second"
    output.line(f"{plural(len(parts), 'part')}, {timeline.frames:,} frames, {form}")


def _print(store: OpenStore, state: str, record: Mapping[str, Any], output: Output) -> None:
    film = record["film"]
    if state == "unchanged":
        output.line(f"nothing has changed: {store.url}/{film['path']} is this cut already")
        return
    made: Sequence[Mapping[str, Any]] = record["segments"]
    copied, cached = (sum(bool(part[kind]) for part in made) for kind in ("copied", "cached"))
    length = seconds(film["frames"] / film["fps"])
    output.line(f"film      {store.url}/{film['path']}")
    output.line(
        f"          {film['frames']:,} frames, {length}, {film['width']}x{film['height']}, {size(film['bytes'])}"
    )
    output.line(f"pictures  {copied} copied, {cached} from the cut before, {len(made) - copied - cached} encoded")
    if film["audio"] is not None:
        measured = film["audio"]["measured"]
        output.line(f"sound     {measured['integrated_lufs']} LUFS, true peak {measured['true_peak_dbtp']} dBTP")
    for kind in record["timeline"]:
        output.line(f"{kind:9} {store.url}/{record['timeline'][kind]['path']}")
