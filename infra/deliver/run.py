"""Delivering: each order is made on this machine, checked, signed, put into the store and read back; then recorded.

One that fails costs that one: it is told, nothing of it is stored, and the others go on.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from infra.deliver.drawing import Font
from infra.deliver.encode import EncodeChunks
from infra.deliver.errors import DeliverError
from infra.deliver.look import Look, look
from infra.deliver.make import Made, make
from infra.deliver.orders import Order
from infra.deliver.records import key_of, put, standing
from infra.deliver.tool import Tools, version
from infra.deliver.work import Job, Source
from infra.media.errors import EncodeError, MediaError
from infra.media.probe import is_faststart, probe
from infra.media.upscale import LANCZOS
from infra.provenance import ProvenanceError, Takes, Work, check_stored, finish, marked
from infra.provenance import Source as Ingredient
from infra.provenance_settings import ProvenanceSettings
from infra.store.errors import NotFound

if TYPE_CHECKING:
    from infra.scratch import Scratch
    from infra.store.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ways:
    """How it is done. chunks: who encodes chunks of long films; None for threads of this process."""

    tools: Tools
    font: Font
    scratch: Scratch
    provenance: ProvenanceSettings
    scaler: str = LANCZOS
    workers: int = 1
    chunk_s: float = 60.0
    chunks: EncodeChunks | None = None


@dataclass
class Done:
    """made, stood: records, new and of what stood already; failed: what could not be delivered, and why."""

    made: list[dict[str, Any]] = field(default_factory=list)
    stood: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Of all."""
        return len(self.made) + len(self.stood) + len(self.failed)


def deliver(
    store: Store, orders: Sequence[Order], ways: Ways, on_done: Callable[[Done, Order], None] = lambda done, order: None
) -> Done:
    """Make what does not stand yet. `on_done` is called after each order.

    Raises StoreUnavailable: what was delivered by then stands. Every other fault is told in `failed`.
    """
    done, takes = Done(), Takes(store)
    # Orders of one source one after the other: it is fetched once.
    for media in dict.fromkeys(order.item.media for order in orders):
        own = [order for order in orders if order.item.media == media]
        _of_source(store, own, ways, takes, done, on_done)
    return done


class _Fetched(NamedTuple):
    """A source on this machine. look: None for a still."""

    path: Path
    look: Look | None


def _of_source(
    store: Store, orders: Sequence[Order], ways: Ways, takes: Takes, done: Done, on_done: Callable[[Done, Order], None]
) -> None:  # fmt: skip
    source: _Fetched | None = None
    size = orders[0].item.frames * orders[0].item.width * orders[0].item.height // 8 + 2**20
    with ways.scratch.room("source", size) as folder:
        for order in orders:
            key = _key(_job(order, ways, folder, None), order, ways)
            record = standing(store, order.folder, order.name, key)
            if record is not None:
                done.stood.append(record)
                on_done(done, order)
                continue
            try:
                source = source or _fetch(store, order, folder)
                done.made.append(_one(store, order, ways, source, key, takes))
            except (MediaError, ProvenanceError, NotFound) as error:
                log.info("%s as %s", order.item.title, order.profile.name, exc_info=error)
                why = error.message if isinstance(error, EncodeError) else str(error)
                done.failed.append(
                    {**order.item.source, "profile": order.profile.name, "name": order.name, "error": why}
                )
            on_done(done, order)


def _one(store: Store, order: Order, ways: Ways, source: _Fetched, key: str, takes: Takes) -> dict[str, Any]:
    width, height = order.profile.frame.width or order.item.width, order.profile.frame.height or order.item.height
    with ways.scratch.room("deliver", order.item.frames * width * height // 4 + 2**22) as folder:
        job = _job(order, ways, _marked(order, ways, source.path, folder, takes), source)
        work, back = folder / "made", folder / "back"
        work.mkdir()
        back.mkdir()
        made, told = _signed(order, job, make(job, work, chunks=ways.chunks), ways, source.path, takes)
        return put(
            store, order.folder, job, made, key, order.item.source, lambda: check_stored(store, told, back)
        )  # fmt: skip


def _job(order: Order, ways: Ways, path: Path, fetched: _Fetched | None) -> Job:
    """The job of an order; `fetched` is None where only its key is wanted. path: what is encoded, perhaps marked."""
    item = order.item
    audio = order.voice.path if order.voice is not None else None
    found = fetched.look if fetched is not None else None
    if audio is None and fetched is not None and found is not None and found.sound is not None:
        audio = fetched.path
    fields = {**item.fields, "locale": order.locale}
    source = Source(path, found, fields, audio, (item.width, item.height), item.cuts, item.cards, item.titles)
    return Job(
        source=source, profile=order.profile, name=order.name, font=ways.font, tools=ways.tools,
        captions=order.captions, scaler=ways.scaler, workers=ways.workers, chunk_s=ways.chunk_s,
    )  # fmt: skip


def _key(job: Job, order: Order, ways: Ways) -> str:
    voice = order.voice.sha256 if order.voice is not None else None
    marks = json.dumps(ways.provenance.model_dump(mode="json"), sort_keys=True)
    return key_of(job, order.item.sha256, voice, f"{version(job.tools.program)} {marks}")


def _fetch(store: Store, order: Order, folder: Path) -> _Fetched:
    """The source on this machine, whole, with the hash and the form that the store names. DeliverError, NotFound."""
    item = order.item
    path = folder / f"source{Path(item.media).suffix}"
    store.fetch(item.media, path)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != item.sha256:
        raise DeliverError(f"{item.media} has another hash than the store names: `rushes verify` says more")
    if item.fps is None:
        facts = probe(path)
        found, size, frames = None, (facts.width, facts.height), facts.frames
    else:
        found = look(path)
        size, frames = (found.width, found.height), found.frames
    if (*size, frames) != (item.width, item.height, item.frames) or (found is not None and found.fps != item.fps):
        raise DeliverError(f"{item.media} is not what the store tells of it: `rushes verify` says more")
    return _Fetched(path, found)


def _marked(order: Order, ways: Ways, source: Path, folder: Path, takes: Takes) -> Path:
    item = order.item
    facts: dict[str, Any] | None = {"cut": item.fields.get("cut"), "sha256": item.sha256}
    if item.kind == "take":
        facts = takes.facts(item.commits[0]) if item.commits else None
    own = folder / "marked"
    own.mkdir()
    return marked(source, own, facts, ways.provenance, ffmpeg=Path(ways.tools.ffmpeg) if ways.tools.ffmpeg else None)


def _signed(
    order: Order, job: Job, made: Made, ways: Ways, source: Path, takes: Takes
) -> tuple[Made, dict[str, Any]]:  # fmt: skip
    """The last change to the files, the manifest of their provenance; and what its record keeps of it.

    DeliverError when the film's index was moved.
    """
    folders = order.profile.kind in ("ladder", "sequence")
    local = made.folder / job.name if folders else made.files[0]
    facts = [takes.facts(commit) for commit in order.item.commits]
    is_take = order.item.kind == "take"
    ingredient = Ingredient(Path(order.item.media).name, source, facts[0] if is_take and facts else None)
    work = Work(
        "deliverable", f"{job.name}{'' if folders else local.suffix}", [ingredient], profile=order.profile.name,
        actions=_actions(job, made), other_media=[captions.name for captions in job.captions if order.profile.burns],
        more_takes=[] if is_take else facts,
    )  # fmt: skip
    finished = finish(local, work, ways.provenance)
    if order.profile.container in ("mp4", "mov") and not is_faststart(finished.path):
        raise DeliverError("its index is no longer in front after it was signed")
    files = [*made.files, *([finished.path] if folders else []), *finished.beside]
    told = finished.at(f"{order.folder}/{finished.path.relative_to(made.folder).as_posix()}")
    return Made(made.folder, files, {**made.told, "provenance": told}), told


def _actions(job: Job, made: Made) -> list[str | dict[str, str]]:
    found: list[str | dict[str, str]] = ["c2pa.transcoded"]
    sizes = made.told.get("sizes", {})
    if sizes.get("scaler"):
        found.append("c2pa.resized")
    if "reframe" in made.told:
        found.append("c2pa.cropped")
    if job.profile.burns and job.captions:
        found.append({"action": "c2pa.edited", "description": "captions drawn into the picture"})
    return found
