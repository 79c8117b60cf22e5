"""Side assets of takes in a store: each a file below `assets/<kind>/<show>/<shot_id>/`, and a JSON that is put last.

    maker = AssetMaker(store, Scratch(), settings)
    for made in maker.make(commit, ["matte", "track"]): ...

An asset whose JSON names the same film, method and size is not made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from infra.media.side_assets import METHOD, Kind, SideAssets, suffix_of
from infra.provenance import Source, Takes, Work, check_stored, finish
from infra.scratch import film_bytes
from infra.store import layout
from infra.store.commits import tool_versions
from infra.store.errors import NotFound, StoreError
from infra.store.store import Store
from infra.store.strict import read_object

if TYPE_CHECKING:
    from infra.scratch import Scratch
    from infra.settings import Settings

FORMAT = 1


class AssetFailed(Exception):
    """An asset that could not be made of a take; nothing of it is in the store."""


class Asset(NamedTuple):
    """An asset that stands in the store. `kept`: it was there before."""

    kind: Kind
    path: str
    bytes: int
    kept: bool
    record: Mapping[str, Any]


class AssetMaker:
    """Makes assets of one store's takes."""

    def __init__(self, store: Store, scratch: Scratch, settings: Settings) -> None:
        self._store, self._scratch, self._settings = store, scratch, settings
        self._takes = Takes(store)

    def make(self, commit: Mapping[str, Any], kinds: Sequence[Kind]) -> Iterator[Asset]:
        """The assets of a take, one after the other, as each is in the store.

        Raises AssetFailed where the film is not what its commit says or an asset cannot be made of it; StoreError.
        """
        missing: list[Kind] = []
        for kind in kinds:
            stands = self._standing(commit, kind)
            if stands is None:
                missing.append(kind)
            else:
                yield stands
        if missing:
            yield from self._make(commit, missing)

    def _make(self, commit: Mapping[str, Any], kinds: Sequence[Kind]) -> Iterator[Asset]:
        media = commit["media"]
        room = int(media["bytes"]) + 6 * film_bytes(media["width"], media["height"], media["frames"])
        with self._scratch.room("assets", room) as folder:
            film = folder / f"take{Path(media['path']).suffix}"
            try:
                self._store.fetch(media["path"], film)
            except NotFound:
                raise AssetFailed(f"{media['path']} is not there; see `rushes verify`") from None
            if _sha256(film) != media["sha256"]:
                raise AssetFailed(f"{media['path']} is not what its commit says; see `rushes verify`")
            settings = self._settings.media
            try:
                assets = SideAssets(film, ffmpeg=settings.ffmpeg, timeout_s=settings.timeout_s)
                for kind in kinds:
                    yield self._one(assets, kind, commit, film, folder)
            except StoreError:
                raise
            except Exception as error:  # of a decoder, an encoder, a signer: this take's alone
                raise AssetFailed(f"{type(error).__name__}: {error}") from error

    def _one(self, assets: SideAssets, kind: Kind, commit: Mapping[str, Any], film: Path, folder: Path) -> Asset:
        path = _path(commit, kind)
        local = folder / Path(path).name
        assets.write(kind, local)
        files, provenance = [(path, local)], None
        if kind == "blur":  # pictures that people will see: they say where they come from
            source = Source(Path(commit["media"]["path"]).name, film, self._takes.facts(commit))
            blurred = {"action": "c2pa.filtered", "description": "background blurred"}
            work = Work("deliverable", local.name, [source], profile="blur", actions=[blurred])
            done = finish(local, work, self._settings.provenance)
            provenance = done.at(path)
            files += list(zip((file["path"] for file in provenance["files"]), done.beside, strict=True))
        for place, file in files:
            self._store.write_file(place, file)
        if provenance is not None:
            check_stored(self._store, provenance, folder)
        subject = assets.subject
        record = {
            "format": FORMAT,
            "kind": kind,
            **{name: commit[name] for name in ("show", "shot_id", "revision", "take", "spec_key")},
            "source": {"path": commit["media"]["path"], "sha256": commit["media"]["sha256"]},
            "file": {"path": path, "sha256": _sha256(local), "bytes": local.stat().st_size},
            "method": {"version": METHOD, "background": subject.background, "score": round(subject.scores.mean(), 4)},
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "tools": tool_versions(),
        }
        if provenance is not None:
            record["provenance"] = provenance
        self._store.write(record_path(commit, kind), json.dumps(record, indent=1, allow_nan=False).encode())
        for _, file in files:  # the room was asked for one of them at a time
            file.unlink()
        return Asset(kind, path, record["file"]["bytes"], False, record)

    def _standing(self, commit: Mapping[str, Any], kind: Kind) -> Asset | None:
        """The asset, where it is there and was made of this film in this way."""
        try:
            record = read_object(self._store.read(record_path(commit, kind)))
            file, made_of, method = record["file"], record["source"]["sha256"], record["method"]["version"]
            size = int(file["bytes"])
        except (NotFound, ValueError, KeyError, TypeError):
            return None
        if (made_of, method, file["path"]) != (commit["media"]["sha256"], METHOD, _path(commit, kind)):
            return None
        found = self._store.stat(file["path"])
        if found is None or found.size != size:
            return None
        return Asset(kind, file["path"], size, True, record)


def record_path(commit: Mapping[str, Any], kind: Kind) -> str:
    """The JSON that tells of an asset."""
    return layout.asset_path(kind, *_take(commit), ".json")


def _path(commit: Mapping[str, Any], kind: Kind) -> str:
    return layout.asset_path(kind, *_take(commit), suffix_of(kind, still=commit["media"]["path"].endswith(".png")))


def _take(commit: Mapping[str, Any]) -> tuple[str, str, str, int]:
    return commit["show"], commit["shot_id"], commit["revision"], commit["take"]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
