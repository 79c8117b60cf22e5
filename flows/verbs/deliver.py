"""`rushes deliver`: files for destinations, made from chosen takes or from a cut, each checked against its profile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.verbs.console import Output
from flows.verbs.delivered import tell_made, tell_orders, tell_profiles
from flows.verbs.failure import Failure, half_done
from flows.verbs.options import (
    OUTPUT,
    WHAT,
    Address,
    Config,
    Json,
    OnlyShots,
    OnlyShow,
    PeopleOnly,
    Quiet,
    Store,
    Verbose,
    check_id,
)
from flows.verbs.progress import Counted

if TYPE_CHECKING:
    from infra.deliver.encode import EncodeChunks
    from infra.deliver.orders import Item, Order, Wanted
    from infra.deliver.run import Done
    from infra.settings import Settings
    from infra.store import Store as OpenStore

SOUND = "Sound and captions"
RAY = "ray"


def deliver(
    store: Store,
    job: Annotated[
        str | None,
        typer.Option("--job", help="Whose chosen takes; the newest job of the store if left out.", metavar="ID",
                     callback=check_id, rich_help_panel=WHAT),
    ] = None,
    cut: Annotated[
        str | None,
        typer.Option("--cut", help="This cut, in place of takes.", metavar="NAME", callback=check_id,
                     rich_help_panel=WHAT),
    ] = None,
    show: OnlyShow = None,
    shot: OnlyShots = None,
    people_only: PeopleOnly = False,
    profile: Annotated[
        list[str] | None,
        typer.Option("--profile", "-p", help="A destination; may be given again. If left out: the row's own "
                     "(`deliver`), for a cut mp4.", metavar="NAME"),
    ] = None,
    profiles: Annotated[
        list[Path] | None,
        typer.Option("--profiles", help="A file with more profiles; may be given again.", metavar="FILE.toml"),
    ] = None,
    list_profiles: Annotated[
        bool, typer.Option("--list", help="Say which profiles there are, and which this ffmpeg cannot make.")
    ] = False,
    template: Annotated[
        str | None,
        typer.Option("--template", help="Names of the files, such as {show}_{shot_id}_{aspect}_{locale}_v{take:03}.",
                     metavar="TEXT"),
    ] = None,
    title: Annotated[
        str | None,
        typer.Option("--title", help="The programme's title, on slates; else the column `title`.", metavar="TEXT"),
    ] = None,
    captions: Annotated[
        list[str] | None,
        typer.Option("--captions", help="An .srt or .vtt file; its name may tell its locale (trailer.de.srt). May be "
                     "given again.", metavar="[LOCALE=]FILE", rich_help_panel=SOUND),
    ] = None,
    audio: Annotated[
        list[str] | None,
        typer.Option("--audio", help="Sound in place of the source's; with a locale a version of its own. May be given "
                     "again.", metavar="[LOCALE=]FILE", rich_help_panel=SOUND),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option("--workers", help="Who encodes chunks of long films: so many processes of this machine, or `ray`.",
                     metavar="N|ray"),
    ] = None,
    address: Address = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would be made, and make nothing.", rich_help_panel=OUTPUT)
    ] = False,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:  # fmt: skip
    """Make deliverables by profile; each is probed against its profile, and refused if it differs."""
    from flows.verbs.target import open_for_reading
    from infra.deliver.errors import DeliverError
    from infra.deliver.tool import Tools, lacking
    from infra.settings import Settings

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    settings = Settings.load(config, ray={"address": address})
    ffmpeg = settings.media.ffmpeg
    tools = Tools(None if ffmpeg is None else str(ffmpeg), settings.media.timeout_s)
    opened = open_for_reading(store, settings)
    try:
        wanted = _wanted(settings, profile, profiles, template, title, captions, audio)
        if list_profiles:
            return tell_profiles(
                wanted.profiles, lacking(list(wanted.profiles.values()), tools.program), opened, output
            )
        items, missing = _items(opened, job, cut, show, shot, people_only)
        orders = _orders(items, wanted, tools.program)
        workers_asked = _workers(workers, settings)
        if dry_run:
            return tell_orders(opened, orders, missing, output)
        done = _run(opened, orders, settings, tools, workers_asked, output)
    except DeliverError as error:
        raise Failure(str(error)) from error
    return tell_made(opened, done, missing, output)


def _wanted(
    settings: Settings, names: list[str] | None, files: list[Path] | None, template: str | None, title: str | None,
    captions: list[str] | None, audio: list[str] | None,
) -> Wanted:  # fmt: skip
    from infra.deliver.captions import read_captions
    from infra.deliver.naming import Template
    from infra.deliver.orders import Wanted, read_voice
    from infra.deliver.profiles import load_profiles, pick

    own = [settings.deliver.profiles] if settings.deliver.profiles is not None else []
    profiles = load_profiles(*own, *(files or []))
    pick(profiles, names or [])
    text = template or settings.deliver.template
    read = [read_captions(given) for given in captions or []]
    voices = [read_voice(given) for given in audio or []]
    told = {"--captions": [one.locale for one in read], "--audio": [one.locale or "any locale" for one in voices]}
    for what, locales in told.items():
        if twice := sorted({locale for locale in locales if locales.count(locale) > 1}):
            raise Failure(f"{what}: more than one file for {', '.join(twice)}", hint="Write LOCALE=FILE.")
    return Wanted(profiles, Template(text) if text else None, read, voices, names or [], (title or "").strip() or None)


def _items(
    store: OpenStore, job: str | None, cut: str | None, show: str | None, shots: list[str] | None, people_only: bool
) -> tuple[list[Item], list[dict[str, str]]]:
    """What is to be delivered, and shots of which nothing can be."""
    from flows.verbs.target import choose_job
    from infra.deliver.orders import cut_item, take_item
    from infra.store.additions import read_takes
    from infra.store.selection import choose

    if cut is not None:
        if job is not None or show is not None or shots or people_only:
            raise Failure("--cut is delivered whole: --job, --show, --shot and --people-only choose takes")
        return [cut_item(store, cut)], []
    job_id = choose_job(store, job)
    found = choose(store, job_id=job_id, show=show, best=not people_only)
    chosen = [one for one in found.chosen if not shots or one.shot_id in shots]
    missing = [one for one in found.missing if not shots or one.shot_id in shots]
    known = {one.shot_id for one in chosen} | {one.shot_id for one in missing}
    if unknown := sorted(set(shots or []) - known):
        raise Failure(f"job {job_id} has no shot {', '.join(unknown)}")
    told = [{"show": one.show, "shot_id": one.shot_id, "why": one.why} for one in missing]
    if not chosen:
        why = f": {told[0]['shot_id']}: {told[0]['why']}" if told else ""
        raise Failure(
            f"job {job_id} has no take to deliver{why}",
            hint="`rushes review` and `rushes select` choose takes; `rushes status` says how far it is.",
        )
    rows = {
        (row["show"], row["shot_id"], row["revision"], row["take"]): row
        for row in read_takes(store, job_id).to_pylist()
    }
    names = [(one.show, one.shot_id, one.commit["revision"], one.commit["take"]) for one in chosen]
    return [take_item(one, rows.get(name, {})) for one, name in zip(chosen, names, strict=True)], told


def _orders(items: list[Item], wanted: Wanted, program: str) -> list[Order]:
    from infra.deliver.orders import known_fields, orders_of
    from infra.deliver.tool import encoder_of

    if wanted.template is not None:
        wanted.template.check(known_fields(items))
    orders = orders_of(items, wanted)
    for profile in {order.profile.name: order.profile for order in orders}.values():
        encoder_of(profile, program)
    return orders


def _workers(asked: str | None, settings: Settings) -> str | int:
    """`ray`, or how many processes."""
    if asked is None:
        return settings.deliver.workers or max(1, os.cpu_count() or 1)
    if asked == RAY:
        return RAY
    if not asked.isdecimal() or not 1 <= int(asked) <= 1024:
        raise Failure(f"--workers {asked!r} is neither a number from 1 to 1024 nor {RAY}")
    return int(asked)


def _run(
    store: OpenStore, orders: list[Order], settings: Settings, tools: Any, workers: str | int, output: Output
) -> Done:
    from infra.deliver.drawing import Font
    from infra.deliver.run import Ways
    from infra.deliver.run import deliver as deliver_all
    from infra.provenance import ready
    from infra.scratch import Scratch

    ready(settings.provenance)
    scratch = Scratch(settings.farm.scratch, settings.farm.scratch_bytes)
    scratch.clean()
    with half_done(), _encoders(workers, settings) as (count, chunks):
        ways = Ways(
            tools=tools, font=Font.load(settings.deliver.font), scratch=scratch, provenance=settings.provenance,
            scaler=settings.media.upscale, workers=count, chunk_s=settings.deliver.chunk_s, chunks=chunks,
        )  # fmt: skip
        with Counted("delivered", "file", len(orders), output) as counted:

            def note(done: Done, order: Order) -> None:
                last = done.failed[-1] if done.failed else {}
                if (last.get("name"), last.get("profile")) == (order.name, order.profile.name):
                    counted.note(f"{order.item.title} as {order.profile.name}: {done.failed[-1]['error']}")
                counted.update(done.count, order.profile.name)

            return deliver_all(store, orders, ways, note)


@contextmanager
def _encoders(workers: str | int, settings: Settings) -> Iterator[tuple[int, EncodeChunks | None]]:
    """How many encode at once, and by whom: here, or on a Ray cluster that is joined, or started, for so long."""
    if isinstance(workers, int):
        yield workers, None
        return
    ray = settings.ray
    os.environ.setdefault("RAY_AUTH_MODE", ray.auth)  # before Ray is imported, as in render
    from actors.client import connect
    from actors.finish.encoding import encode_on_ray

    with connect(
        ray.address, auth=ray.auth, num_cpus=ray.num_cpus, num_gpus=ray.num_gpus,
        object_store_bytes=ray.object_store_bytes,
    ):  # fmt: skip
        yield 2, encode_on_ray
