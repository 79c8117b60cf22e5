"""Repair: damaged commits are moved aside, so that their takes are pending again and can be rendered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from infra.store import layout
from infra.store.claims import planned_takes
from infra.store.conditional import create_or_read
from infra.store.errors import Changed, Damaged, NotFound
from infra.store.jobs import list_jobs
from infra.store.layout import Take
from infra.store.lease import read_lease
from infra.store.store import Store
from infra.store.strict import read_object
from infra.store.verify import Fault, check

REPAIRABLE = frozenset(
    {
        *("commit-unreadable", "commit-key", "media-path", "media-name", "media-missing", "media-size", "media-hash"),
        *("media-unplayable", "media-mismatch"),
    }
)
"""Faults that a rendering mends. A commit of a later format is no fault of the store's; it is left alone."""


class Moved(NamedTuple):
    """One commit that was moved aside. `spec_key` is None for an object that was no commit at all."""

    spec_key: str | None
    path: str
    moved_to: str


def move_aside(store: Store, faults: Iterable[Fault], prober: Callable[[Path], Any] | None = None) -> list[Moved]:
    """Move the commits aside that an audit found damaged, and still are: each is looked at once more first.

    The copy stands before the commit goes; killed in between, the same call again finds both and goes on.
    """
    wanted = [fault for fault in faults if fault.kind in REPAIRABLE]
    keys = sorted({fault.spec_key for fault in wanted if fault.spec_key is not None})
    still = [key for key in keys if any(fault.kind in REPAIRABLE for fault in check(store, key, prober))]
    moved = [_move(store, layout.commit_path(key), key, key) for key in still]
    for path in sorted({fault.path for fault in wanted if fault.spec_key is None}):
        moved.append(_move(store, path, None, PurePosixPath(path).name))
    return [found for found in moved if found is not None]


def _move(store: Store, path: str, spec_key: str | None, name: str) -> Moved | None:
    try:
        data, tag = store.read_tagged(path)
    except NotFound:
        return None
    number = 1
    while True:
        target = layout.moved_aside_path(name, number)
        if create_or_read(store, target, data).ours:  # also where an earlier call was killed right after this
            break
        number += 1
    if store.read_tagged(path)[1] != tag:
        raise Changed(f"{path} was written again while it was moved aside: run the audit again")
    store.delete(path)
    return Moved(spec_key, path, target)


class Again(NamedTuple):
    """What has to be rendered: by job, and takes that are in no job's plan."""

    jobs: dict[str, list[str]]  # the keys that each job is to render
    homeless: list[str]


def jobs_for(store: Store, keys: Iterable[str], counted: Iterable[str] = (), *, only: str | None = None) -> Again:
    """Which jobs to run so that these takes are rendered again; each take by one job, the newest that plans it.

    `counted` are further jobs to run, whose views are wrong or count on commits that are gone; `only` is the one job
    that may be asked.
    """
    left = set(keys)
    again: dict[str, list[str]] = {job_id: [] for job_id in counted}
    asked = list_jobs(store) if only is None else [only]
    for job_id in sorted(asked, key=lambda job_id: _renewed(store, job_id), reverse=True):
        if not left:
            break
        try:
            found = {take.spec_key for take in planned_takes(store, job_id)} & left
        except (NotFound, Damaged):
            continue
        if found:
            again.setdefault(job_id, []).extend(sorted(key for key in found if key is not None))
            left -= found
    return Again(again, sorted(left))


def _renewed(store: Store, job_id: str) -> float:
    try:
        lease = read_lease(store, job_id)
    except Damaged:
        return 0.0
    return 0.0 if lease is None else lease.renewed


def take_of(store: Store, moved: Moved) -> Take | None:
    """Whose commit it was, as far as its bytes tell; None also for one that stood under another's name."""
    try:
        found = read_object(store.read(moved.moved_to))
        if found["spec_key"] != moved.spec_key:
            return None
        return Take(str(found["show"]), str(found["shot_id"]), int(found["take"]))
    except (NotFound, ValueError, KeyError, TypeError, RecursionError):
        return None
