"""The last thing that is done to a file: sign it, read it back, and tell where it came from.

work = Work("deliverable", "a.mp4", [Source("take.mp4", take, Takes(store).facts(commit))], profile="web")
finished = finish(local, work, settings.provenance)  # after the last transcode, before the hash and the upload
for file in finished.files:                          # the file itself, a detached manifest, the sidecar
    store.write_file(f"{folder}/{file.name}", file)
record["provenance"] = finished.at(f"{folder}/{finished.path.name}")
check_stored(store, record["provenance"])            # reads it back, before the record is put
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.hooks import function_of
from infra.provenance import manifest as manifests
from infra.provenance.errors import Invalid, MarkingFailed, SigningFailed
from infra.provenance.sidecar import SUFFIX, sidecar
from infra.provenance.sign import EMBEDDED, Ingredient, Validation, detach, embed, mime_of, require_sound
from infra.provenance.signer import Signer, is_test, signer_of
from infra.provenance.work import Source, Work

if TYPE_CHECKING:
    from infra.provenance_settings import ProvenanceSettings
    from infra.store.store import Store

DETACHED = ".c2pa"
FILES = "files.json"


@dataclass(frozen=True)
class Finished:
    """A file that is signed and was read back.

    Attributes:
        path: the file; of a folder, the list of its files.
        sha256, bytes: of the file as it is now.
        beside: files that go beside it: the sidecar, and a detached manifest where it cannot hold one.
        told: c2pa (embedded, detached, none), certificate (test, operator), manifest, state, note.
    """

    path: Path
    sha256: str
    bytes: int
    beside: tuple[Path, ...]
    told: Mapping[str, Any]

    @property
    def files(self) -> tuple[Path, ...]:
        """All that has to be uploaded, into one folder."""
        return (self.path, *self.beside)

    def at(self, path: str) -> dict[str, Any]:
        """What a deliverable's JSON keeps of it, when the file lies at `path` in the store, the others beside it."""
        files = [
            {
                "path": path + file.name.removeprefix(self.path.name),
                "sha256": _sha256(file),
                "bytes": file.stat().st_size,
            }
            for file in self.beside
        ]
        return {**self.told, "path": path, "files": files}


def ready(settings: ProvenanceSettings) -> None:
    """Whether files can be signed and marked, asked before anything is made. SigningFailed, MarkingFailed."""
    if settings.sign:
        signer_of(settings.signer)
        trusted(settings)
    if settings.watermark is not None:
        function_of(settings.watermark, "provenance.watermark", MarkingFailed, secret=True)


def finish(local: Path, work: Work, settings: ProvenanceSettings) -> Finished:
    """Signs a finished file, or a folder of files (a sequence, segments), and writes its sidecar beside it.

    A file that can hold a manifest is replaced by itself with one; other files, and a folder's list `files.json` (name,
    size and SHA-256 of each), get a manifest beside them, `<name>.c2pa`. With `provenance.sign` off only the sidecar is
    written. The sidecar is `<name>.provenance.json`.

    Raises SigningFailed; Invalid when what was signed does not read back as sound.
    """
    path = _listed(local) if local.is_dir() else local
    c2pa: dict[str, Any] = {"c2pa": "none", "note": "signing is switched off (provenance.sign)"}
    beside: list[Path] = []
    if settings.sign:
        signer = signer_of(settings.signer)
        detached = _sign(path, work, settings, signer)
        if detached is not None:
            beside.append(path.with_name(path.name + DETACHED))
            beside[0].write_bytes(detached)
        anchors = None if is_test(signer) else trusted(settings)
        by = {"certificate": "test" if is_test(signer) else "operator"}
        c2pa = _told(check_local(path, by, detached, anchors), signer, detached)
    size, sha256 = path.stat().st_size, _sha256(path)
    told = sidecar(
        work,
        file={"name": path.name if local.is_dir() else work.title, "sha256": sha256, "bytes": size},
        c2pa=c2pa,
        disclosure=settings.disclosure,
        licence=_licence(settings),
    )
    beside.append(path.with_name(path.name + SUFFIX))
    beside[-1].write_text(json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return Finished(path, sha256, size, tuple(beside), c2pa)


def check_stored(store: Store, record: Mapping[str, Any], folder: Path | None = None) -> Validation | None:
    """Reads a signed object back from the store and validates it; None where it was not signed.

    Args:
        record: of `Finished.at`, as the deliverable's JSON keeps it.
        folder: a place for the file while it is read; else the system's for temporary files.

    Raises:
        Invalid: it is not what was signed. NotFound, StoreUnavailable: as the store does.
    """
    if record.get("c2pa") not in ("embedded", "detached"):
        return None
    path = str(record["path"])
    with tempfile.TemporaryDirectory(prefix="rushes-", dir=folder) as scratch:
        local = Path(scratch) / Path(path).name
        store.fetch(path, local)
        return check_local(local, record, store.read(path + DETACHED) if record["c2pa"] == "detached" else None)


def check_local(
    local: Path, record: Mapping[str, Any], detached: bytes | None = None, trust_anchors: str | None = None
) -> Validation:
    """Validates a copy of a signed file against what its record promises.

    Raises Invalid: it is not what was signed, carries another manifest, or, where `trust_anchors` are given, an
    operator's signature is by nobody below them.
    """
    found = require_sound(local, detached=detached, trust_anchors=trust_anchors)
    if record.get("manifest") not in (None, found.active):
        raise Invalid(f"{local.name} carries another manifest than the one that was made for it", ("manifest.other",))
    if trust_anchors is not None and record.get("certificate") == "operator" and found.state != "Trusted":
        raise Invalid(f"{local.name} is signed by nobody below provenance.trust_anchors", found.codes)
    return found


def _sign(path: Path, work: Work, settings: ProvenanceSettings, signer: Signer) -> bytes | None:
    mime, prompts = mime_of(path), settings.prompts
    manifest = manifests.of_work(
        work, mime, prompts=prompts, disclosure=settings.disclosure, licence=_licence(settings)
    )
    with tempfile.TemporaryDirectory(prefix=".rushes-", dir=path.parent) as folder:
        ingredients = [
            Ingredient(
                manifests.ingredient(number, source.title, work.relationship),
                _with_manifest(source, Path(folder) / f"{number}{source.path.suffix}", settings, signer),
            )
            for number, source in enumerate(work.sources)
        ]
        if path.suffix.lower() in EMBEDDED:
            embed(path, manifest, ingredients, signer)
            return None
        return detach(path, manifest, ingredients, signer)


def _with_manifest(source: Source, copy: Path, settings: ProvenanceSettings, signer: Signer) -> Path:
    """The source with a manifest in it: a take gets one that says how it was created, in a copy."""
    if source.facts is None or source.path.suffix.lower() not in EMBEDDED:
        return source.path
    copy.write_bytes(source.path.read_bytes())
    made = manifests.of_take(
        source.facts, source.title, mime_of(copy), prompts=settings.prompts, disclosure=settings.disclosure
    )
    embed(copy, made, (), signer)
    return copy


def _told(found: Validation, signer: Signer, detached: bytes | None) -> dict[str, Any]:
    note = "C2PA manifest inside the file"
    if detached is not None:
        note = "this format holds no C2PA manifest: it stands beside the file"
    if is_test(signer):
        note += "; signed by a test certificate, which proves integrity and no identity"
    return {
        "c2pa": "embedded" if detached is None else "detached",
        "certificate": "test" if is_test(signer) else "operator",
        "manifest": found.active,
        "state": found.state,
        "note": note,
    }


def _listed(folder: Path) -> Path:
    """A list of a folder's files, to be signed in their place: no format of C2PA holds a folder."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != FILES)
    if not files:
        raise SigningFailed(f"{folder.name} has no files")
    listed = [
        {"name": file.relative_to(folder).as_posix(), "sha256": _sha256(file), "bytes": file.stat().st_size}
        for file in files
    ]
    path = folder / FILES
    path.write_text(json.dumps({"format": 1, "files": listed}, indent=1) + "\n", encoding="utf-8")
    return path


def _licence(settings: ProvenanceSettings) -> dict[str, Any]:
    return {"licence": settings.licence, "rights_basis": settings.rights_basis}


def trusted(settings: ProvenanceSettings) -> str | None:
    """The certificates of `provenance.trust_anchors`. Raises SigningFailed where they cannot be read."""
    if settings.trust_anchors is None:
        return None
    try:
        return settings.trust_anchors.read_text(encoding="utf-8")
    except OSError as error:
        raise SigningFailed(f"provenance.trust_anchors cannot be read: {error.strerror}") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
