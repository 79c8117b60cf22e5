"""What `rushes cut` does between its options and its answer: choose, resolve, make, publish."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from flows.report import ExitCode
from flows.verbs.console import Output
from flows.verbs.failure import Failure, half_done
from flows.verbs.progress import Counted
from flows.verbs.target import choose_job
from infra.cut import assemble, edl, otio, publishing, sheet
from infra.cut.asked import Asked, Time, card_of
from infra.cut.errors import BadAudio, BadTimeline, CutError, FilmDiffers
from infra.cut.frames import as_speed, check_timecode, rate_of
from infra.cut.library import Library
from infra.cut.render import Encoder, Shop, make
from infra.cut.resolve import resolve, take_of
from infra.cut.signing import sign
from infra.cut.sound import Sound, Voice, check
from infra.cut.timeline import Card, Take, Timeline
from infra.cut.titles import Fonts
from infra.deliver.drawing import Font
from infra.deliver.errors import BadCaptions
from infra.deliver.profiles import Loudness
from infra.media.errors import MediaError
from infra.provenance import ProvenanceError, ready
from infra.scratch import Scratch, film_bytes
from infra.settings import Settings
from infra.store import Store
from infra.store.commits import read_commits
from infra.store.jobs import list_jobs
from infra.store.selection import Missing, Selection, choose

_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})=(.+)", re.DOTALL)
_AT = re.compile(r"(.+)@(\d+(?:\.\d+)?)", re.DOTALL)
MOST_MISSING = 12
_FLOAT_BYTES = 2 * 4 * 48_000
"""Of a second of sound on the way: two channels of 32-bit samples."""


@dataclass(frozen=True)
class Plan:
    """A cut that can be made: all takes are there, and all of its arithmetic holds."""

    timeline: Timeline
    fonts: Fonts
    encoder: Encoder
    sound: Sound | None
    missing: Sequence[Missing]

    @classmethod
    def of(
        cls, store: Store, settings: Settings, output: Output, *, name: str, job: str | None, show: str | None,
        timeline: Path | None, skip_missing: bool, best: bool, handles: int,
        transition: Literal["cut", "dissolve", "dip-black", "dip-white"], transition_frames: int, speed: float,
        conform: float | None, size: tuple[int, int] | None, start: str, edl_rate: float | None, title: str | None,
        end_title: str | None, title_s: float, title_colour: str, title_background: str, title_font: str | None,
        fonts: Sequence[str], bed: Path | None, voices: Sequence[str], duck: bool, loop_bed: bool, fade_out: float,
        loudness: str, true_peak: float,
    ) -> Plan:  # fmt: skip
        """From the options of the command.

        Raises:
            CutError, Failure: it cannot be made; nothing was written.
        """
        known = Fonts(dict(_font(text) for text in fonts))
        length = Time(Fraction(title_s).limit_denominator(1000), Fraction(1))
        rate = None if conform is None else rate_of(conform, "--conform")
        look = {"colour": title_colour, "background": title_background, "font": title_font}
        if job is None and timeline is None and list_jobs(store):
            job = choose_job(store, None)
        elif job is not None:
            choose_job(store, job)
        selection = choose(store, job_id=job, show=show, best=best)
        missing: Sequence[Missing] = ()
        if timeline is None:
            missing = selection.missing
            _need(selection, skip_missing, output)
            asked = assemble.in_order(
                selection.chosen, handles=handles, speed=as_speed(speed, "--speed"), transition=transition,
                transition_frames=transition_frames, card=length,
                opening=None if title is None else card_of(title, "--title", **look),
                closing=None if end_title is None else card_of(end_title, "--end-title", **look),
            )  # fmt: skip
        else:
            given = {
                "--handles": handles, "--transition": transition != "cut", "--speed": speed != 1,
                "--title": title is not None, "--end-title": end_title is not None, "--skip-missing": skip_missing,
            }  # fmt: skip
            if both := [option for option, is_given in given.items() if is_given]:
                raise Failure(f"{', '.join(both)} and --timeline: the timeline says so itself", hint="Leave one out.")
            asked = _read(timeline, selection, rate, edl_rate)
        named = () if timeline is None else read_commits(store)  # only a timeline can name a take that was not chosen
        library = Library((one.commit for one in named if one.commit is not None), selection)
        found = resolve(asked, library, name=name, conform=rate, size=size, start=start, still=length)
        check_timecode(start, found.fps)
        for note in found.notes:
            output.note(note)
        for part in found.parts:
            if isinstance(part.content, Card):
                known.get(part.content)
        sound = _sound(bed, voices, duck, loop_bed, fade_out, loudness, true_peak)
        if sound is not None:
            check(sound, found.frames / found.fps)
        film = settings.media
        encoder = Encoder(
            max(1, film.crf), film.preset, None if film.ffmpeg is None else str(film.ffmpeg), film.timeout_s
        )
        return cls(found, known, encoder, sound, missing)


def carry_out(plan: Plan, store: Store, settings: Settings, output: Output) -> tuple[str, Mapping[str, Any]]:
    """Make and publish it, unless the store has this very cut: "made" or "unchanged", and its record.

    Raises:
        CutError: the film differs from its timeline. Nothing of it is in the store.
        Failure: ffmpeg or the store failed.
    """
    standing = publishing.read(store, plan.timeline.name)
    recipe = publishing.recipe_of(plan.timeline, plan.fonts, plan.encoder, plan.sound, settings.provenance)
    record = standing.record
    if record is not None and record.get("recipe") == recipe and publishing.is_whole(store, record):
        return "unchanged", record
    ready(settings.provenance)
    scratch = Scratch(settings.farm.scratch, settings.farm.scratch_bytes)
    scratch.clean()
    with half_done(), scratch.room("cut", _bytes(plan.timeline)) as folder:
        shop = Shop(store, folder, plan.fonts, plan.encoder, standing.cached)
        try:
            with Counted("cut", "frame", plan.timeline.frames, output) as counted:
                film = make(plan.timeline, shop, plan.sound, counted.update)
        except MediaError as error:
            raise Failure(f"ffmpeg could not make the film: {error}", exit_code=ExitCode.FAULT) from error
        try:
            signed = sign(plan.timeline, film, shop, settings.provenance)
            record = publishing.publish(store, plan.timeline, film, signed, recipe, standing, folder)
        except ProvenanceError as error:
            hint = "There is no film in the store without it; see infra/provenance/README.md."
            raise Failure(f"the film was not signed: {error}", exit_code=ExitCode.FAULT, hint=hint) from error
        return "made", record


def planned(plan: Plan) -> dict[str, Any]:
    """What a dry run tells."""
    timeline = plan.timeline
    return {
        "film": {
            "width": timeline.width,
            "height": timeline.height,
            "frames": timeline.frames,
            "fps": float(timeline.fps),
            "rate": str(timeline.fps),
            "start": timeline.start,
        },
        "parts": publishing.parts_of(timeline),
        "missing": [{"show": one.show, "shot_id": one.shot_id, "why": one.why} for one in plan.missing],
    }


def exit_code(error: CutError) -> ExitCode:
    """A film that came out wrong is a fault; everything else is found before anything is begun."""
    return ExitCode.FAULT if isinstance(error, FilmDiffers) else ExitCode.REFUSED


def _need(selection: Selection, skip_missing: bool, output: Output) -> None:
    """Raises Failure for shots without a take that goes on, unless they may be left out."""
    missing = selection.missing
    told = [f"{one.show}/{one.shot_id}: {one.why}" for one in missing[:MOST_MISSING]]
    if len(missing) > MOST_MISSING:
        told.append(f"and {len(missing) - MOST_MISSING:,} more")
    if missing and not skip_missing:
        raise Failure(
            f"{len(missing)} of {len(missing) + len(selection.chosen)} shots have no take to cut:\n  "
            + "\n  ".join(told),
            hint="Choose takes (`rushes review`, `rushes select`), render what is missing, or leave these shots out: "
            "--skip-missing.",
        )
    if not selection.chosen:
        raise Failure("there is no take to cut", hint="`rushes status STORE` shows what the store has.")
    for line in told:
        output.note(f"left out: {line}")


def _read(path: Path, selection: Selection, conform: Fraction | None, edl_rate: float | None) -> Asked:
    """A timeline file, by its ending."""
    kind = path.suffix.lower()
    if kind not in (".otio", ".edl", ".toml"):
        raise BadTimeline(f"{path}: a timeline is an .otio, .edl or .toml file")
    try:
        text = path.read_text(encoding="utf-8", errors="strict" if kind != ".edl" else "replace")
    except (OSError, UnicodeDecodeError) as error:
        raise BadTimeline(f"{path} cannot be read: {error}") from error
    name = path.name
    if kind == ".otio":
        return otio.read(text, name)
    if kind == ".toml":
        return sheet.read(text, name)
    if edl_rate is not None:
        return edl.read(text, name, rate_of(edl_rate, "--edl-rate"))
    rates = {take_of(one.commit).fps for one in selection.chosen} - {None}
    rate = conform or (rates.pop() if len(rates) == 1 else None)
    if rate is None:
        raise BadTimeline(
            f"{name}: the takes of the store have several frame rates, and an EDL does not tell which one it counts",
            "Say it: --edl-rate 24.",
        )
    return edl.read(text, name, rate)


def _sound(
    bed: Path | None, voices: Sequence[str], duck: bool, loop: bool, fade_out: float, loudness: str, true_peak: float
) -> Sound | None:
    wanted = None
    if loudness.lower() != "off":
        try:
            target = float(loudness)
        except ValueError:
            target = math.nan
        if not -70 <= target <= -5:
            raise BadAudio(f"--loudness {loudness!r} is no loudness", "Give LUFS, -70 to -5, such as -23, or off.")
        wanted = Loudness(target=target, true_peak=true_peak)
    if bed is None and not voices:
        return None
    spoken = []
    for text in voices:
        found = None if Path(text).is_file() else _AT.fullmatch(text)
        spoken.append(Voice(Path(text)) if found is None else Voice(Path(found[1]), Fraction(found[2])))
    return Sound(bed, tuple(spoken), duck, loop, Fraction(fade_out).limit_denominator(1000), wanted)


def _font(text: str) -> tuple[str, Font]:
    found = _NAMED.fullmatch(text)
    if found is None:
        raise BadTimeline(f"--font {text[:80]!r} is not NAME=FILE")
    try:
        return found[1], Font.load(Path(found[2]))
    except BadCaptions as error:
        raise BadTimeline(f"--font {text[:80]!r} is no font: {error}") from error


def _bytes(timeline: Timeline) -> int:
    """What a cut holds on the scratch disk at most: takes, segments, the film twice, its sound thrice."""
    takes = {part.content.media: part.content for part in timeline.parts if isinstance(part.content, Take)}
    sources = sum(film_bytes(take.width, take.height, take.frames) for take in takes.values())
    film = film_bytes(timeline.width, timeline.height, max(2, timeline.frames))
    sound = int(timeline.frames / timeline.fps * _FLOAT_BYTES)
    # Films at CRF 1 to 10 are less than half of their pictures without compression.
    return (sources + 3 * film) // 2 + 3 * sound
