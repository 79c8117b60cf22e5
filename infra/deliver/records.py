"""Deliverables in a store: where they lie, which of them stand, and their record, which is written last.

A record names every file with its hash, what it was made from and what a probe found. Without it a file counts for
nothing: it is made again under the same name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infra.deliver.errors import DeliverError
from infra.deliver.make import Made
from infra.deliver.work import Job
from infra.store import layout
from infra.store.conditional import create_or_read, replace_or_read
from infra.store.errors import Changed, NotFound

if TYPE_CHECKING:
    from infra.store.store import Store

FORMAT: Final = 1
VERSION: Final = 1
"""Raised when the same inputs and profile give another file than before, so that what stands is made again."""
_THREADS: Final = 8
_TRIES: Final = 3


def take_folder(profile: str, show: str, shot_id: str) -> str:
    """Where deliverables of a shot's takes lie."""
    return f"{layout.DELIVERABLES}/{profile}/{show}/{shot_id}"


def cut_folder(cut: str, profile: str) -> str:
    """Where deliverables of a cut lie."""
    return f"cuts/{cut}/deliver/{profile}"


def record_path(folder: str, name: str) -> str:
    """The record of a deliverable."""
    return f"{folder}/{name}.json"


def key_of(job: Job, sha256: str, audio_sha256: str | None, tool: str) -> str:
    """SHA-256 over all that decides what a deliverable is: source, sound, captions, profile, font, scaler, ffmpeg."""
    drawn = bool(job.profile.burn_in or job.profile.head or (job.profile.burns and job.captions))
    told = {
        "version": VERSION,
        "source": sha256,
        "audio": audio_sha256,
        "captions": [(captions.locale, captions.sha256) for captions in job.captions],
        "profile": job.profile.model_dump(mode="json"),
        "fields": {name: str(value) for name, value in sorted(job.source.fields.items())} if drawn else None,
        "font": hashlib.sha256(job.font.data).hexdigest() if drawn else None,
        "titles": job.source.titles if job.profile.frame.fit != "contain" and job.source.titles else None,
        "scaler": job.scaler,
        "ffmpeg": tool,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def standing(store: Store, folder: str, name: str, key: str) -> dict[str, Any] | None:
    """The record of this deliverable, if it stands and all its files do, with the sizes that it names; else None."""
    record = read_record(store, record_path(folder, name))
    if record is None or record.get("key") != key or record.get("format") != FORMAT:
        return None
    try:
        wanted = {str(file["path"]): int(file["bytes"]) for file in record["files"]}
    except (KeyError, TypeError, ValueError):
        return None
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="rushes-deliver") as pool:
        found = list(pool.map(store.stat, wanted))
    good = all(stat is not None and stat.size == size for stat, size in zip(found, wanted.values(), strict=True))
    return record if good and wanted else None


def read_record(store: Store, path: str) -> dict[str, Any] | None:
    """A record; None where there is none, or where it cannot be read: then it is made again."""
    try:
        return _parsed(store.read(path))
    except NotFound:
        return None


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def put(
    store: Store,
    folder: str,
    job: Job,
    made: Made,
    key: str,
    source: Mapping[str, Any],
    read_back: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Put the files, call `read_back`, then put their record. Returns the record. StoreError.

    What `read_back` raises is raised again, and nothing of the files is left in the store. DeliverError when another
    run makes the same deliverable: its files are left alone.

    An older record under this name goes first: it would name files that are no longer what it says. With it go those
    of its files that the new one does not name.
    """
    path = record_path(folder, job.name)
    files: list[dict[str, Any]] = [
        {"path": _place(folder, made, file), "sha256": _sha256(file), "bytes": file.stat().st_size}
        for file in made.files
    ]
    old = read_record(store, path)
    store.delete(path)
    _drop_others(store, folder, old, files)
    _send(store, made, files)
    try:
        read_back()
    except Exception as error:
        if not _are_ours(store, files):  # what was read back was another run's, and its record may be about to come
            raise DeliverError(_meanwhile(path)) from error
        store.delete(path)  # one that came meanwhile names these files
        for file in files:
            store.delete(file["path"])
        raise
    record = {
        "format": FORMAT,
        "key": key,
        "profile": job.profile.name,
        "name": job.name,
        "file": files[0]["path"],
        "sha256": files[0]["sha256"],
        "bytes": files[0]["bytes"],
        "files": files,
        "source": dict(source),
        **made.told,
        "captions": [captions.locale for captions in job.captions],
        "encoded_by": job.tools.program.rpartition("/")[2],
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    _put_record(store, folder, path, record, lambda: _send(store, made, files))
    return record


def _put_record(
    store: Store, folder: str, path: str, record: Mapping[str, Any], send: Callable[[], None]
) -> None:  # fmt: skip
    """Put the record, which names what lies in the store at that time. DeliverError: another run is at it.

    Names of files are fixed, so two runs of one order write over each other. A record is put after all files of its
    run, so whoever finds one has nothing more to fear of that run: it looks at its own files, sends them again where
    they are not its own, and takes the record's place, if it is still the one that was found.
    """
    data = json.dumps(record, indent=1, default=str, allow_nan=False).encode()
    for _ in range(_TRIES):
        try:
            there, tag = store.read_tagged(path)
        except NotFound:
            there, tag = b"", ""
        if not _are_ours(store, record["files"]):
            send()
            if not _are_ours(store, record["files"]):
                continue
        try:
            settled = replace_or_read(store, path, data, tag) if tag else create_or_read(store, path, data)
        except Changed:
            continue
        if settled.ours:
            _drop_others(store, folder, _parsed(there), record["files"])
            return
    raise DeliverError(_meanwhile(path))


def _send(store: Store, made: Made, files: Sequence[Mapping[str, Any]]) -> None:
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="rushes-deliver") as pool:
        sent = [
            pool.submit(store.write_file, told["path"], file, sha256=told["sha256"])
            for file, told in zip(made.files, files, strict=True)
        ]
    for one in sent:
        one.result()


def _are_ours(store: Store, files: Sequence[Mapping[str, Any]]) -> bool:
    """Whether each of these lies in the store with the content that we put."""

    def ours(file: Mapping[str, Any]) -> bool:
        try:
            return store.digest(file["path"]) == (file["bytes"], file["sha256"])
        except NotFound:
            return False

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="rushes-deliver") as pool:
        return all(pool.map(ours, files))


def _drop_others(
    store: Store, folder: str, old: Mapping[str, Any] | None, files: Sequence[Mapping[str, Any]]
) -> None:  # fmt: skip
    """Delete what an older record names and the new one does not: nothing would name it any more."""
    kept = {file["path"] for file in files}
    named = (old or {}).get("files")
    paths = [file.get("path") for file in named if isinstance(file, dict)] if isinstance(named, list) else []
    for path in paths:
        # a record is only text: it deletes nothing beyond its own folder
        if isinstance(path, str) and path.startswith(f"{folder}/") and ".." not in path and path not in kept:
            store.delete(path)


def _meanwhile(path: str) -> str:
    return f"{path} is made by another run meanwhile; when that has ended, the same command again makes what is missing"


def _place(folder: str, made: Made, file: Path) -> str:
    return f"{folder}/{file.relative_to(made.folder).as_posix()}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
