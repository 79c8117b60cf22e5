"""The audit: does the store hold what its commits say? It reads everything and changes nothing.

`infra.store.repair` moves aside what it finds damaged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from infra.scratch import Scratch
from infra.store import jobs, layout, selection
from infra.store.additions import read_takes
from infra.store.commits import CommitRead, read_commits
from infra.store.errors import CommitMisplaced, CommitNewer, Damaged, NotFound, StoreError
from infra.store.store import Store
from infra.store.types import Stat

_BATCH = 256


class Fault(NamedTuple):
    """One thing that is not as a commit says.

    Kinds: commit-unreadable, commit-newer (a later format), commit-key (it stands under another's name),
    commit-missing (a manifest counts on it), media-path (outside shots/), media-name (not this take's), media-missing,
    media-size, media-hash, media-unplayable, media-mismatch (plays, but other frames, size or rate),
    plan-unreadable (or what was added to it), quarantine-unreadable, manifest-unreadable, orphan (only with `strict`).
    """

    kind: str
    path: str
    spec_key: str | None
    detail: str


class Audit(NamedTuple):
    """What an audit found. `orphans` are media, posters and set-aside commits that no commit names, and pieces of
    long clips that are committed. `foreign` are names that rushes does not give: told, and never a fault."""

    commits: int  # readable ones
    faults: list[Fault]
    orphans: list[str]
    foreign: list[str]


def audit(
    store: Store,
    *,
    strict: bool = False,
    job: str | None = None,
    prober: Callable[[Path], Any] | None = None,
    scratch: Scratch | None = None,
    threads: int = 4,
    on_progress: Callable[[int], None] | None = None,
) -> Audit:
    """Check every commit and its media: existence, size, SHA-256 and, with a `prober`, that it plays as it should.

    `prober(file)` answers with `width`, `height`, `frames` and `fps`, or raises. Media is streamed, by `threads` at a
    time; only a prober makes it pass through a temporary file, in `scratch`. `on_progress` is called with the number
    of commits looked at. With `job`, only that job's takes are looked at and no orphans are told. The films of takes
    that are being finished right now are orphans until their commit stands. Beside a commit of a later format no
    orphans are told either: what it names is not known here.

    Raises StoreUnavailable when the store goes away: an audit that saw a part only would say too much.
    """
    # Names first, commits second: what is committed in between is in both, or in the commits alone.
    present = {} if job is not None else {found.path: found for found in _nameable(store)}
    foreign = {path for path in present if layout.is_foreign(path)}
    faults, named, good, seen = [], set(), 0, 0
    films = _Films(store, present, prober, scratch or Scratch())

    def look(read: CommitRead) -> list[Fault]:
        return _check(films, read)

    with ThreadPoolExecutor(threads, thread_name_prefix="rushes-verify") as pool:
        reads = read_commits(store, None if job is None else _keys_of(store, job))
        while batch := list(islice(reads, _BATCH)):
            for read, found in zip(batch, pool.map(look, batch), strict=True):
                if layout.is_foreign(read.path):
                    foreign.add(read.path)
                    continue
                faults += found
                if read.commit is not None and read.spec_key is not None:
                    good += 1
                    named |= {read.commit["media"]["path"], layout.poster_path(read.spec_key)}
            seen += len(batch)
            if on_progress is not None:
                on_progress(seen)
    # By name: one that cannot be read is told above, and once is enough.
    committed = {key for found in store.list(layout.COMMITS) if (key := layout.parse_commit_path(found.path))}
    for job_id in jobs.list_jobs(store) if job is None else [job]:
        faults += _check_plan(store, job_id) + _check_manifest(store, job_id, committed)
        for path, reason in jobs.damaged_quarantine(store, job_id):
            faults.append(Fault("quarantine-unreadable", path, None, reason))
    unknown = any(fault.kind == "commit-newer" for fault in faults)
    orphans = [] if unknown else sorted(path for path in present.keys() - foreign if path not in named)
    if job is None and not unknown:
        orphans = sorted([*orphans, *_leftovers(store, named)])
    if strict:
        faults += [Fault("orphan", path, None, "no commit names it") for path in orphans]
    return Audit(good, sorted(faults, key=lambda fault: (fault.path, fault.kind)), orphans, sorted(foreign))


def check(
    store: Store,
    spec_key: str,
    prober: Callable[[Path], Any] | None = None,
    scratch: Scratch | None = None,
) -> list[Fault]:
    """What is wrong with one take's commit and film, now. Nothing where there is no commit."""
    films = _Films(store, {}, prober, scratch or Scratch())
    return [fault for read in read_commits(store, [spec_key]) for fault in _check(films, read)]


class _Films(NamedTuple):
    """What films are looked at with."""

    store: Store
    present: dict[str, Stat]  # from a listing, which may lag
    prober: Callable[[Path], Any] | None
    scratch: Scratch


def _nameable(store: Store) -> Iterator[Stat]:
    yield from store.list(layout.MEDIA)
    yield from store.list(layout.POSTERS)
    yield from (found for found in store.list(layout.COMMITS) if layout.is_damaged_path(found.path))


def _leftovers(store: Store, named: set[str]) -> Iterator[str]:
    """Pieces of long clips whose takes are committed. Those of other takes are work that a resume goes on from."""
    for job_id in filter(layout.NAME.fullmatch, store.folders(layout.JOBS)):
        for found in store.list(layout.pieces_folder(job_id)):
            name = layout.parse_piece_path(found.path)
            if name is not None and layout.poster_path(name.spec_key) in named:
                yield found.path


def _keys_of(store: Store, job: str) -> list[str]:
    return [key for key in selection.job_keys(store, job, read_takes(store, job)) if key is not None]


def _check(films: _Films, read: CommitRead) -> list[Fault]:
    if read.commit is None:
        kinds: dict[type[object], str] = {CommitMisplaced: "commit-key", CommitNewer: "commit-newer"}
        return [Fault(kinds.get(type(read.fault), "commit-unreadable"), read.path, read.spec_key, str(read.fault))]
    commit, media = read.commit, read.commit["media"]
    path = str(media["path"])

    def fault(kind: str, detail: str) -> Fault:
        return Fault(kind, path, read.spec_key, detail)

    name = layout.parse_media_path(path)
    if name is None:
        return [fault("media-path", f"{read.path} names media that is no film of this store")]
    faults = []
    said = (commit["show"], commit["shot_id"], commit["revision"], commit["take"], media["sha256"][:8])
    if name[:5] != said:
        faults.append(fault("media-name", f"the name is not that of the take and hash in {read.path}"))
    found = films.present.get(path) or films.store.stat(path)
    if found is None:
        return [*faults, fault("media-missing", "there is no such object")]
    if found.size != media["bytes"]:
        return [*faults, fault("media-size", f"{found.size} bytes, the commit says {media['bytes']}")]
    try:
        return faults + [fault(*what) for what in _check_content(films, path, media, name.suffix)]
    except NotFound:
        return [*faults, fault("media-missing", "it was deleted while it was read")]


def _check_content(films: _Films, path: str, media: dict[str, Any], suffix: str) -> Iterator[tuple[str, str]]:
    if films.prober is None:
        if films.store.digest(path).sha256 != media["sha256"]:
            yield "media-hash", "the content is not what the commit says"
        return
    with films.scratch.room("verify", int(media["bytes"])) as folder:
        local = folder / f"film{suffix}"
        films.store.fetch(path, local)
        if _sha256(local) != media["sha256"]:
            yield "media-hash", "the content is not what the commit says"
        try:
            facts = films.prober(local)
        except StoreError:
            raise
        except Exception as error:  # whatever a decoder raises about bytes that it was given
            yield "media-unplayable", f"{type(error).__name__}: {error}"
            return
    for key in ("width", "height", "frames", "fps"):
        if key == "fps" and (media[key] is None or suffix == ".png"):  # a still has no rate
            continue
        wanted, got = float(media[key]), float(getattr(facts, key) or 0)
        if abs(wanted - got) > (0.01 if key == "fps" else 0):
            yield "media-mismatch", f"{key} is {got:g}, the commit says {wanted:g}"


def _check_plan(store: Store, job_id: str) -> list[Fault]:
    try:
        read_takes(store, job_id)
    except NotFound:  # the job was forgotten meanwhile
        return []
    except Damaged as error:
        return [Fault("plan-unreadable", layout.plan_path(job_id), None, str(error))]
    return []


def _check_manifest(store: Store, job_id: str, committed: set[str]) -> list[Fault]:
    path = layout.manifest_path(job_id)
    try:
        table = jobs.read_manifest(store, job_id)
        rows = table.select(["spec_key", "state"]).to_pylist()
    except NotFound:
        return []
    except (Damaged, KeyError) as error:
        return [Fault("manifest-unreadable", path, None, str(error))]
    counted = {row["spec_key"] for row in rows if row["state"] == "committed"}
    what = "the manifest says committed, and there is no commit"
    return [Fault("commit-missing", path, key, what) for key in counted - committed]


def _sha256(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
