"""The audit of what was made from takes: cuts, deliverables and side assets are what their records say.

A record is a JSON object below `cuts/`, `deliver/` or `assets/`, put last, that names its files: each an object with
`path`, `sha256` and `bytes`, wherever it stands in the record. What it says under `provenance` was promised to hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from infra.scratch import Scratch
from infra.store import layout
from infra.store.errors import NotFound
from infra.store.store import Store
from infra.store.strict import read_json
from infra.store.types import Stat
from infra.store.verify import Fault

FORMAT: Final = 1
TREES: Final = (layout.CUTS, layout.DELIVERABLES, layout.ASSETS)
_BATCH: Final = 64
_NO_RECORDS: Final = (".provenance.json", "/files.json")  # what goes beside a file, and is named by its record

Validator = Callable[[Path, Mapping[str, Any], bytes | None], None]
"""Called with a local copy of a signed file, its provenance, and the manifest that stands beside it, if one does.

Raises where it does not hold."""


class Derived(NamedTuple):
    """What was found. `records`: readable ones. `orphans`: files in a folder without any record above them."""

    records: int
    faults: list[Fault]
    orphans: list[str]


class File(NamedTuple):
    """A file that a record names."""

    path: str
    sha256: str
    bytes: int


def audit_derived(
    store: Store,
    *,
    validator: Validator | None = None,
    scratch: Scratch | None = None,
    threads: int = 4,
    on_progress: Callable[[int], None] | None = None,
) -> Derived:
    """Check every record and its files: existence, size, SHA-256 and, with a `validator`, what was signed.

    Kinds of faults: derived-unreadable, derived-newer (a later format), derived-missing, derived-size, derived-hash,
    provenance-invalid. `on_progress` is called with the number of records looked at. Raises StoreUnavailable.
    """
    present = {found.path: found for tree in TREES for found in store.list(tree)}
    read = [(path, _read(store, path)) for path in sorted(present) if path.endswith(".json")]
    named: set[str] = set()
    for _, record in read:
        if isinstance(record, dict):
            named |= set(_paths(record))
    records = [
        (path, record)
        for path, record in read
        if path not in named and record is not None and not path.endswith(_NO_RECORDS)
    ]
    audit = _Audit(store, present, validator, scratch or Scratch())
    faults: list[Fault] = []
    good, seen = 0, 0
    with ThreadPoolExecutor(threads, thread_name_prefix="rushes-derived") as pool:
        waiting = iter(records)
        while batch := list(islice(waiting, _BATCH)):
            for (_, record), found in zip(batch, pool.map(lambda pair: audit.check(*pair), batch), strict=True):
                faults += found
                good += isinstance(record, dict) and record.get("format") == FORMAT
            seen += len(batch)
            if on_progress is not None:
                on_progress(seen)
    folders = {path.rpartition("/")[0] for path, _ in records}
    owned = named | {path for path, _ in records}
    orphans = [path for path in present if path not in owned and not _below(path, folders)]
    return Derived(good, sorted(faults, key=lambda fault: (fault.path, fault.kind)), sorted(orphans))


def files_of(record: Any) -> Iterator[File]:
    """Every file that a record names with hash and size."""
    if isinstance(record, Mapping):
        path, sha256, size = record.get("path"), record.get("sha256"), record.get("bytes")
        if isinstance(path, str) and isinstance(sha256, str) and isinstance(size, int) and path.startswith(_ROOTS):
            yield File(path, sha256, size)
        for value in record.values():
            yield from files_of(value)
    elif isinstance(record, list):
        for value in record:
            yield from files_of(value)


class _Audit(NamedTuple):
    store: Store
    present: Mapping[str, Stat]  # from a listing, which may lag
    validator: Validator | None
    scratch: Scratch

    def check(self, path: str, record: Any) -> list[Fault]:
        if not isinstance(record, dict) or type(record.get("format")) is not int:
            return [Fault("derived-unreadable", path, None, "no record of a cut, a deliverable or an asset")]
        if record["format"] > FORMAT:
            return [Fault("derived-newer", path, None, f"format {record['format']} is newer than {FORMAT}")]
        key = record.get("spec_key")
        spec_key = key if isinstance(key, str) else None
        signed = record.get("provenance")
        film = record.get("film")
        if not isinstance(signed, dict) and isinstance(film, dict):
            signed = film.get("provenance")
        signed = signed if isinstance(signed, dict) and signed.get("c2pa") in ("embedded", "detached") else {}
        files = list({file.path: file for file in files_of(record)}.values())
        if not files:
            return [Fault("derived-unreadable", path, spec_key, "it names no file")]
        faults = []
        for file in files:
            for kind, detail in self._file(file, signed if file.path == signed.get("path") else None):
                faults.append(Fault(kind, file.path, spec_key, f"{detail} ({path})"))
        if signed and signed.get("path") not in {file.path for file in files}:
            detail = f"{path} promises a manifest of {signed.get('path')}, which it does not name"
            faults.append(Fault("provenance-invalid", path, spec_key, detail))
        return faults

    def _file(self, file: File, signed: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
        found = self.present.get(file.path) or self.store.stat(file.path)
        if found is None:
            yield "derived-missing", "there is no such object"
            return
        if found.size != file.bytes:
            yield "derived-size", f"{found.size} bytes, its record says {file.bytes}"
            return
        try:
            if signed is None or self.validator is None:
                if self.store.digest(file.path).sha256 != file.sha256:
                    yield "derived-hash", "the content is not what its record says"
                return
            yield from self._signed(file, signed, self.validator)
        except NotFound:
            yield "derived-missing", "it was deleted while it was read"

    def _signed(
        self, file: File, signed: Mapping[str, Any], validator: Validator
    ) -> Iterator[tuple[str, str]]:  # fmt: skip
        with self.scratch.room("verify", file.bytes) as folder:
            local = folder / f"file{Path(file.path).suffix}"
            self.store.fetch(file.path, local)
            if _sha256(local) != file.sha256:
                yield "derived-hash", "the content is not what its record says"
            try:
                beside = self.store.read(f"{file.path}.c2pa") if signed["c2pa"] == "detached" else None
            except NotFound:
                yield "provenance-invalid", "the manifest that stood beside it is gone"
                return
            try:
                validator(local, signed, beside)
            except Exception as error:  # whatever a reader raises about bytes that it was given
                yield "provenance-invalid", str(error) or type(error).__name__


_ROOTS = tuple(f"{tree}/" for tree in TREES)


def _read(store: Store, path: str) -> Any:
    """The content of a JSON; "" for what is none, None for what has gone."""
    try:
        return read_json(store.read(path))
    except NotFound:
        return None
    except ValueError:
        return ""


def _paths(record: Any) -> Iterator[str]:
    """Every path below the trees that stands anywhere in a record."""
    if isinstance(record, str) and record.startswith(_ROOTS):
        yield record
    elif isinstance(record, Mapping):
        for value in record.values():
            yield from _paths(value)
    elif isinstance(record, list):
        for value in record:
            yield from _paths(value)


def _below(path: str, folders: set[str]) -> bool:
    """Whether a record lies in the file's folder or in one above it: then it may be the record's."""
    folder = path.rpartition("/")[0]
    while folder:
        if folder in folders:
            return True
        folder = folder.rpartition("/")[0]
    return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
