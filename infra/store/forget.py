"""Forgetting a show: everything that bears its name, commits first, so that none ever stands without its film."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from infra.store import layout
from infra.store.claims import JobState, job_states, planned_takes
from infra.store.commits import read_commits
from infra.store.errors import Damaged, NotFound, StoreError
from infra.store.location import is_path
from infra.store.store import Store
from infra.store.strict import read_object
from infra.store.types import Stat

log = logging.getLogger(__name__)
_THREADS = 16
_VIEWS = (layout.quarantine_table_path, layout.trace_path)


class ShowInUse(StoreError):
    """A job that holds the show is being rendered."""


class ShowUnknown(StoreError):
    """Nothing in the store bears this show's name."""


class Forgotten(NamedTuple):
    """What was, or in a dry run would be, removed: how many objects of each kind, and their bytes.

    `jobs` are gone as a whole; of those `left` the plan stays, because it holds other shows too: make their views anew.
    """

    removed: dict[str, int]
    bytes: int
    jobs: list[str]
    left: list[str]


def forget(
    store: Store, show: str, *, dry_run: bool = False, on_progress: Callable[[int], None] | None = None
) -> Forgotten:
    """Remove a show. Safe to call again after any error. `on_progress` is told how many objects are removed.

    Raises ShowInUse while a job that holds it is rendered, ShowUnknown where there is nothing of it.
    """
    whole, mixed, keys = _jobs_of(store, show)
    commits, more = _commits_of(store, show, keys)
    keys |= more
    removed: Counter[str] = Counter()
    size = 0
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="rushes-forget") as pool:
        for kind, found in _steps(store, show, commits, keys, whole, mixed):
            for part in _batches(_ours(found)):
                if not dry_run:
                    list(pool.map(lambda stat: store.delete(stat.path), part))
                removed[kind] += len(part)
                size += sum(stat.size for stat in part)
                if on_progress is not None:
                    on_progress(removed.total())
    if not removed and not mixed:
        raise ShowUnknown(f"{store.url} has no show {show}. It has: {', '.join(shows(store)[:8]) or 'no shows'}")
    return Forgotten(dict(removed), size, [job.job_id for job in whole], [job.job_id for job in mixed])


def shows(store: Store) -> list[str]:
    """The shows that have films, sorted."""
    return sorted(name for name in store.folders(layout.MEDIA) if layout.NAME.fullmatch(name))


def _jobs_of(store: Store, show: str) -> tuple[list[JobState], list[JobState], set[str]]:
    """Jobs that hold this show alone, those that hold others too, and the show's keys in all of them."""
    whole: list[JobState] = []
    mixed: list[JobState] = []
    keys: set[str] = set()
    for job in job_states(store):
        try:
            held: set[str] = set()
            for take in planned_takes(store, job.job_id):
                held.add(take.show)
                if take.show == show and take.spec_key is not None:
                    keys.add(take.spec_key)
        except (NotFound, Damaged):  # without a plan nobody knows what it holds; what bears the show's name still goes
            continue
        if show not in held:
            continue
        if job.live:
            why = f"{layout.lease_path(job.job_id)} cannot be read; when no render of it runs, delete that"
            if job.lease is not None:
                why = f"is being rendered by {job.lease.owner.host_name}, process {job.lease.owner.pid}"
            raise ShowInUse(f"{store.url}: job {job.job_id} holds the show {show} and {why}")
        (whole if held == {show} else mixed).append(job)
    return whole, mixed, keys


def _commits_of(store: Store, show: str, keys: set[str]) -> tuple[list[Stat], set[str]]:
    """The show's commits, readable or not, and their keys."""
    paths, found = set(), set()
    for read in read_commits(store):
        of_show = read.commit["show"] == show if read.commit is not None else read.spec_key in keys
        if of_show and read.spec_key is not None:
            paths.add(read.path)
            found.add(read.spec_key)
    return [stat for stat in map(store.stat, sorted(paths)) if stat is not None], found


def _steps(
    store: Store, show: str, commits: list[Stat], keys: set[str], whole: list[JobState], mixed: list[JobState]
) -> Iterator[tuple[str, Iterable[Stat]]]:
    """What goes, in this order. What is listed later is listed when its turn comes."""
    yield "commits", commits
    yield "media", store.list(f"{layout.MEDIA}/{show}")
    yield "posters", (found for found in store.list(layout.POSTERS) if layout.parse_poster_path(found.path) in keys)
    yield "set-aside", (found for found in _set_aside(store) if layout.set_aside_key(found.path) in keys)
    yield "logs", store.list(f"{layout.LOGS}/{show}")
    yield "decisions", store.list(f"{layout.DECISIONS}/{show}")
    for profile in filter(layout.NAME.fullmatch, store.folders(layout.DELIVERABLES)):
        yield "deliverables", store.list(f"{layout.DELIVERABLES}/{profile}/{show}")
    for kind in filter(layout.NAME.fullmatch, store.folders(layout.ASSETS)):
        yield "assets", store.list(f"{layout.ASSETS}/{kind}/{show}")
    for cut in _cuts_of(store, show):
        record = layout.cut_path(cut)
        yield "cuts", (found for found in store.list(layout.cut_folder(cut)) if found.path != record)
        yield "cuts", [found for found in [store.stat(record)] if found is not None]  # the last: it says what is in it
    for job in mixed:
        yield "quarantine", store.list(f"{layout.quarantine_folder(job.job_id)}/{show}")
        pieces = store.list(layout.pieces_folder(job.job_id))
        yield "pieces", (found for found in pieces if _piece_key(found) in keys)
        yield "views", [found for path in _VIEWS if (found := store.stat(path(job.job_id))) is not None]
        yield "views", store.list(layout.shards_folder(job.job_id))
    for job in whole:
        plan = layout.plan_path(job.job_id)
        yield "jobs", (found for found in store.list(layout.job_folder(job.job_id)) if found.path != plan)
        yield "jobs", [found for found in [store.stat(plan)] if found is not None]  # the last: it says whose job it is


def _cuts_of(store: Store, show: str) -> list[str]:
    """Cuts that show anything of the show: their films hold its pictures, whatever else they hold."""
    found = []
    for name in store.folders(layout.CUTS):
        try:
            parts = read_object(store.read(layout.cut_path(name)))["parts"]
            if any(part.get("show") == show for part in parts):
                found.append(name)
        except (NotFound, ValueError, KeyError, TypeError, AttributeError):
            continue  # none that can be read: nobody knows what it holds
    return found


def _set_aside(store: Store) -> Iterator[Stat]:
    yield from (found for found in store.list(layout.COMMITS) if layout.is_damaged_path(found.path))
    yield from store.list(layout.DAMAGED)


def _piece_key(found: Stat) -> str | None:
    name = layout.parse_piece_path(found.path)
    return None if name is None else name.spec_key


def _ours(found: Iterable[Stat]) -> Iterator[Stat]:
    """What the store's verbs can name. Objects that others put between ours, such as `a?b.mp4`, are left, and told."""
    for stat in found:
        if is_path(stat.path):
            yield stat
        else:
            log.warning("%r is left: no name that rushes gives; remove it by hand", stat.path)


def _batches(found: Iterable[Stat], size: int = 256) -> Iterator[list[Stat]]:
    part: list[Stat] = []
    for stat in found:
        part.append(stat)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
