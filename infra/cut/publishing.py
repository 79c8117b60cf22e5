"""Putting a cut into the store: its files under their contents' names, then one record that names them all.

Until the record is written the cut before stands whole, and afterwards the new one does.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from infra.cut import edl, otio, table
from infra.cut.errors import CutError
from infra.cut.frames import timecode
from infra.cut.render import Encoder, Film
from infra.cut.segments import PICTURES
from infra.cut.sound import Sound
from infra.cut.timeline import Card, Solid, Take, Timeline
from infra.cut.titles import Fonts
from infra.provenance import Finished, ProvenanceError, check_stored
from infra.provenance_settings import ProvenanceSettings
from infra.store import layout
from infra.store.commits import tool_versions
from infra.store.conditional import create_or_read, replace_or_read
from infra.store.errors import Changed, NotFound, StoreError
from infra.store.store import Store

FORMAT = 1
_OWN = re.compile(r"(film|timeline)\.[0-9a-f]{8}\.[^/]+")
"""A film, a sidecar or a timeline file, in the folder of its cut."""


class Standing(NamedTuple):
    """The record of a cut as it stands in the store: its content, where it can be read, and its tag."""

    record: Mapping[str, Any] | None
    tag: str | None

    @property
    def cached(self) -> dict[str, str]:
        """Paths of the encoded parts that it names, by key."""
        parts = self.record.get("segments", ()) if self.record else ()
        return {str(part["key"]): str(part["path"]) for part in parts if part.get("path") and not part.get("copied")}


def read(store: Store, name: str) -> Standing:
    """The record of a cut. One that cannot be read is replaced by the next cut of that name."""
    try:
        data, tag = store.read_tagged(layout.cut_path(name))
    except NotFound:
        return Standing(None, None)
    try:
        record = json.loads(data)
    except ValueError:
        return Standing(None, tag)
    if isinstance(record, dict) and isinstance(record.get("format"), int) and record["format"] > FORMAT:
        raise CutError(
            f"{layout.cut_path(name)} has format {record['format']}, newer than {FORMAT}", "Use a newer rushes."
        )
    return Standing(record if isinstance(record, dict) and record.get("format") == FORMAT else None, tag)


def recipe_of(
    timeline: Timeline, fonts: Fonts, encoder: Encoder, sound: Sound | None, provenance: ProvenanceSettings
) -> str:
    """SHA-256 over all that a cut is made from, and how it is signed: the same recipe gives the same film."""
    parts = []
    for part in timeline.parts:
        told = {"kind": part.kind, "frames": part.frames, "in": part.source_in, "speed": str(part.speed)}
        told |= {"overlap": part.overlap}
        if isinstance(part.content, Take):
            told |= {"spec_key": part.content.spec_key, "sha256": part.content.sha256}
        else:
            told |= otio.card_values(part.content)
            if isinstance(part.content, Card):
                told["font"] = fonts.digest(part.content)
        parts.append(told)
    recipe = {
        "pictures": PICTURES,
        "encoder": encoder.recipe,
        "film": [timeline.width, timeline.height, str(timeline.fps), timeline.start],
        "parts": parts,
        "sound": None if sound is None else sound.recipe(),
        "provenance": provenance.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def is_whole(store: Store, record: Mapping[str, Any]) -> bool:
    """Whether the film and the timeline files of a record are there, in the size that it names."""
    for file in _named(record):
        found = store.stat(file["path"]) if isinstance(file, dict) and isinstance(file.get("path"), str) else None
        if found is None or found.size != file["bytes"]:
            return False
    return True


def publish(
    store: Store, timeline: Timeline, film: Film, signed: Finished, recipe: str, standing: Standing, folder: Path
) -> Mapping[str, Any]:
    """Put film, encoded parts and timeline files, then the record; then remove what only the cut before named.

    What is `signed` is read back from the store before the record is put.

    Raises:
        Invalid: it does not read back as it was signed. Nothing of it is left in the store.
        CutError: somebody else wrote a cut of this name meanwhile. Nothing of ours is left in the store.
        StoreError: as of the store's verbs. What was put may be left; the next cut of this name removes it.
    """
    name = timeline.name
    files_put = _Put(store, name)
    uri_of = {
        part.content.media: f"{store.url}/{part.content.media}"
        for part in timeline.parts
        if isinstance(part.content, Take)
    }
    written = {
        "otio": (otio.write(timeline, uri_of), ".otio"),
        "edl": (edl.write(timeline, uri_of), ".edl"),
        "csv": (table.write(timeline, uri_of), ".csv"),
    }
    segments = []
    for made in film.segments:
        path = layout.segment_path(name, made.key) if not made.copied else None
        if path is not None and store.stat(path) is None:
            files_put.put(path, made.path)
        segments.append(
            {
                "kind": made.segment.kind, "parts": list(made.segment.numbers), "record_in": made.segment.record_in,
                "frames": made.segment.frames, "copied": made.copied, "cached": made.cached, "key": made.key,
                "path": path,
            }
        )  # fmt: skip
    files = {}
    for kind, (text, suffix) in written.items():
        local = folder / f"timeline{suffix}"
        local.write_text(text, encoding="utf-8")
        files[kind] = files_put.under_content("timeline", local)
    stored = files_put.under_content("film", film.path)
    provenance = signed.at(stored["path"])
    for file, local in zip(provenance["files"], signed.beside, strict=True):
        files_put.put(file["path"], local, file["sha256"])
    record = {
        "format": FORMAT,
        "name": name,
        "recipe": recipe,
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "film": stored | _form(timeline) | {"audio": film.sound},
        "parts": parts_of(timeline, film),
        "segments": segments,
        "timeline": files,
        "captions": [],
        "provenance": provenance,
        "tools": tool_versions(),
    }
    try:
        check_stored(store, provenance, folder)
        # Whoever put a file before this listing read the record before ours, so that its own cut will be lost.
        there = [found.path for found in store.list(layout.cut_folder(name))]
        _settle(store, name, json.dumps(record, indent=1, ensure_ascii=False).encode(), standing)
    except (ProvenanceError, CutError):  # not of a StoreError: then our record may stand
        files_put.withdraw()
        raise
    _clean(store, name, record, standing, there)
    return record


def parts_of(timeline: Timeline, film: Film | None = None) -> list[dict[str, Any]]:
    """Every part as `cut.json` tells it: frames, half-open; those of the source counted in the source."""
    copied: dict[int, int] = defaultdict(int)
    for made in film.segments if film is not None else ():
        if made.copied:
            copied[made.segment.numbers[0]] += made.segment.frames
    found = []
    for placed in timeline.placed():
        part, content = placed.part, placed.part.content
        take = content if isinstance(content, Take) else None
        own = (take.fps if take is not None else None) or timeline.fps
        out = part.source_out(timeline.fps) if take is not None else part.frames
        told: dict[str, Any] = {"kind": part.kind}
        for field in ("show", "shot_id", "take", "revision", "spec_key", "media"):
            told[field] = getattr(take, field) if take is not None else None
        told |= {
            "source_in": part.source_in, "source_out": out,
            "record_in": placed.record_in, "record_out": placed.record_out,
            "fps": float(own), "speed": str(part.speed),
            "transition": {"kind": "dissolve" if part.overlap else "cut", "frames": part.overlap},
            "timecode": timecode(placed.record_in, timeline.fps, start=timeline.start),
        }  # fmt: skip
        if isinstance(content, Card | Solid):
            told["card"] = otio.card_values(content)
        if film is not None:
            told["copied"] = copied[placed.number] == part.frames
            told["copied_frames"] = copied[placed.number]
        found.append(told)
    return found


def _form(timeline: Timeline) -> dict[str, Any]:
    return {
        "width": timeline.width,
        "height": timeline.height,
        "frames": timeline.frames,
        "fps": float(timeline.fps),
        "rate": str(timeline.fps),
        "start": timeline.start,
    }


@dataclass
class _Put:
    """Puts the files of a cut, and keeps in mind which of them were not there before."""

    store: Store
    name: str
    new: list[str] = dataclass_field(default_factory=list)

    def put(self, path: str, local: Path, sha256: str | None = None) -> None:
        if self.store.stat(path) is None:
            self.new.append(path)
        self.store.write_file(path, local, sha256=sha256)

    def under_content(self, stem: str, local: Path) -> dict[str, Any]:
        """Put a file under its content's name and tell its path, size and hash."""
        with local.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        path = layout.cut_file_path(self.name, stem, sha256, local.suffix)
        self.put(path, local, sha256)
        return {"path": path, "sha256": sha256, "bytes": local.stat().st_size}

    def withdraw(self) -> None:
        """Delete what is new, unless the record that stands names it: another's equal file has the same name."""
        with suppress(StoreError, CutError):  # why there is no cut is the news; the next one removes what is left
            record = read(self.store, self.name).record
            kept = set() if record is None else _kept(record)
            for path in self.new:
                if path not in kept:
                    self.store.delete(path)


def _settle(store: Store, name: str, data: bytes, standing: Standing) -> None:
    path = layout.cut_path(name)
    try:
        settled = (
            create_or_read(store, path, data)
            if standing.tag is None
            else replace_or_read(store, path, data, standing.tag)
        )
        ours = settled.ours
    except Changed:
        ours = False
    if not ours:
        raise CutError(
            f"somebody else wrote the cut {name} at the same time", "Look at theirs, and give the command again."
        )


def _clean(
    store: Store, name: str, record: Mapping[str, Any], standing: Standing, there: list[str]
) -> None:  # fmt: skip
    """Remove encoded parts, film and timeline files that the cut no longer names.

    They are those of the cut before it, and of cuts that were killed or lost before their record; `there` is what the
    folder held before ours was put.
    """
    kept = _kept(record)
    former = _files(standing.record) if standing.record is not None else set()
    folder = f"{layout.cut_folder(name)}/"
    former |= {path for path in there if _OWN.fullmatch(path.removeprefix(folder))}
    for path in sorted(former - kept):
        store.delete(path)
    for found in store.list(layout.segments_folder(name)):
        if layout.parse_segment_path(found.path) is not None and found.path not in kept:
            store.delete(found.path)


def _kept(record: Mapping[str, Any]) -> set[str]:
    """All that a record names in its own folder."""
    return {str(part.get("path")) for part in record.get("segments") or ()} | _files(record)


def _named(record: Mapping[str, Any]) -> list[Any]:
    """What a record names with a path and a size: film, timeline files, sidecars."""
    beside = (record.get("provenance") or {}).get("files") or ()
    return [record.get("film"), *(record.get("timeline") or {}).values(), *beside]


def _files(record: Mapping[str, Any]) -> set[str]:
    """Film, timeline files and sidecars of a record, as far as they lie in its own folder."""
    paths = {str(file["path"]) for file in _named(record) if isinstance(file, dict) and "path" in file}
    return {path for path in paths if path.startswith(f"{layout.cut_folder(str(record.get('name')))}/")}
