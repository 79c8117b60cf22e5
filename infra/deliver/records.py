"""Deliverables in a store: where they lie, which of them stand, and their record, which is written last.

A record names every file with its hash, what it was made from and what a probe found. Without it a file counts for
nothing: it is made again under the same name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infra.deliver.make import Made
from infra.deliver.work import Job
from infra.store import layout
from infra.store.errors import NotFound

if TYPE_CHECKING:
    from infra.store.store import Store

FORMAT: Final = 1
VERSION: Final = 1
"""Raised when the same inputs and profile give another file than before, so that what stands is made again."""
_THREADS: Final = 8


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
        found = json.loads(store.read(path))
    except (NotFound, ValueError):
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

    What `read_back` raises is raised again, and nothing of the files is left in the store.

    An older record under this name goes first: it would name files that are no longer what it says.
    """
    path = record_path(folder, job.name)
    store.delete(path)

    def send(file: Path) -> dict[str, Any]:
        name = f"{folder}/{file.relative_to(made.folder).as_posix()}"
        sha256 = _sha256(file)
        store.write_file(name, file, sha256=sha256)
        return {"path": name, "sha256": sha256, "bytes": file.stat().st_size}

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="rushes-deliver") as pool:
        files = list(pool.map(send, made.files))
    try:
        read_back()
    except Exception:
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
    store.write(path, json.dumps(record, indent=1, default=str, allow_nan=False).encode())
    return record


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
