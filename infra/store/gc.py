"""Garbage: what killed processes and races left, and nobody will ask for again. README.md says what is kept and why."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import NamedTuple

from infra.store import jobs, layout
from infra.store.claims import JobState, Planned, job_states, planned_takes
from infra.store.commits import read_commit, read_commits, window_s
from infra.store.errors import CommitNewer, CommitUnreadable, Damaged, NotFound
from infra.store.lease import LAPSE_S
from infra.store.location import is_path
from infra.store.probe import FOLDER as PROBES
from infra.store.stopping import asked_epoch
from infra.store.store import Store
from infra.store.temporaries import Temporaries, is_temporary
from infra.store.types import Leftover, Stat

SET_ASIDE_S = 7 * 86_400.0
"""Seconds for which the bytes of a damaged commit are kept for people to look at."""
_MENTIONED = re.compile(rf"{layout.MEDIA}/[A-Za-z0-9._/-]+")
_THREADS = 16


_Wanted = dict[tuple[str, str, int], list[tuple[JobState, Planned]]]


class Removed(NamedTuple):
    """One object that was, or in a dry run would be, removed."""

    path: str
    bytes: int
    age_s: float
    reason: str


class Collected(NamedTuple):
    """What a collection did. `kept`: things that looked like garbage, and are too young or may still be wanted.

    `foreign`: names that rushes does not give. They are left alone.
    """

    removed: list[Removed]
    kept: int
    older_than_s: float
    foreign: list[str]

    @property
    def bytes(self) -> int:
        """Of all that was removed."""
        return sum(found.bytes for found in self.removed)


class _Garbage(NamedTuple):
    found: Stat | Leftover
    reason: str
    after_s: float  # how old it must be


def collect(
    store: Store,
    *,
    lapse_s: float = LAPSE_S,
    older_than_s: float | None = None,
    dry_run: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Collected:
    """Remove garbage that is older than the longest lease: `lapse_s`, or a longer one that stands in the store.

    `older_than_s` counts in place of every other age. What a living job may still want is kept even then. A dry run
    writes nothing. `on_progress` is told how many are removed. Raises StoreUnavailable; what is removed by then is
    gone, and the same call again goes on.
    """
    return _Collection(store, lapse_s, older_than_s).run(dry_run, on_progress)


class _Collection:
    def __init__(self, store: Store, lapse_s: float, older_than_s: float | None) -> None:
        self._store, self._fixed = store, older_than_s
        self._now: datetime = store.now()
        self._jobs = job_states(store)
        leases = [job.lease.lapse_s for job in self._jobs if job.lease is not None]
        self._least = older_than_s if older_than_s is not None else max([lapse_s, *leases])
        self._kept = 0
        self._foreign: set[str] = set()

    def run(self, dry_run: bool, on_progress: Callable[[int], None] | None) -> Collected:
        removed: list[Removed] = []
        # Names first, commits second: a film that is committed in between is among the commits.
        films = list(self._ours(layout.MEDIA))
        posters = list(self._ours(layout.POSTERS))
        old = [garbage for garbage in self._found(films, posters) if self._old(garbage)]
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="rushes-gc") as pool:
            remove = self._told if dry_run else self._remove
            for done in pool.map(remove, old):
                if done is None:
                    self._kept += 1
                    continue
                removed.append(done)
                if on_progress is not None:
                    on_progress(len(removed))
        return Collected(sorted(removed), self._kept, self._least, sorted(self._foreign))

    def _ours(self, folder: str) -> Iterator[Stat]:
        """What is below a folder, without what others put there: such names may not even be asked for."""
        for found in self._store.list(folder):
            if layout.is_foreign(found.path) or not is_path(found.path):
                self._foreign.add(found.path)
            else:
                yield found

    def _found(self, films: list[Stat], posters: list[Stat]) -> Iterator[_Garbage]:
        named, known = self._named()
        orphans = [film for film in films if film.path not in named]
        leftovers, temporaries = list(self._store.leftovers()), Temporaries(self._store, self._jobs)
        wanted = self._wanted([film.path for film in orphans] + [left.path for left in leftovers])
        for film in orphans:
            after_s = self._after(film.path, wanted) if known and wanted is not None else None
            yield from self._unless_kept(film, "orphan-media", after_s)
        for leftover in leftovers:
            after_s = self._least
            if is_temporary(leftover.path):
                after_s = temporaries.after(leftover.path, self._least)
            elif layout.parse_media_path(leftover.path) is not None:  # an upload of a film, that is not complete
                after_s = None if wanted is None else self._after(leftover.path, wanted)
            yield from self._unless_kept(leftover, "temporary", after_s)
        for poster in posters:
            key = layout.parse_poster_path(poster.path)
            if key is not None and poster.path not in named and not self._committed(key):
                yield from self._unless_kept(poster, "orphan-poster", self._least if known else None)
        yield from self._set_aside()
        for job in self._jobs:
            yield from self._of_job(job)
        for found in self._ours(PROBES):
            yield _Garbage(found, "temporary", self._least)

    def _unless_kept(self, found: Stat | Leftover, reason: str, after_s: float | None) -> Iterator[_Garbage]:
        if after_s is None:
            self._kept += 1
        else:
            yield _Garbage(found, reason, after_s)

    def _named(self) -> tuple[set[str], bool]:
        """Films and posters of commits, and whether all commits could be understood."""
        named: set[str] = set()
        known = True
        for read in read_commits(self._store):
            if layout.is_foreign(read.path):
                self._foreign.add(read.path)
            elif read.commit is not None and read.spec_key is not None:
                named |= {read.commit["media"]["path"], layout.poster_path(read.spec_key)}
            elif isinstance(read.fault, CommitNewer):
                known = False
            else:
                named |= self._mentioned(read.path)
        return named, known

    def _mentioned(self, path: str) -> set[str]:
        """Films that an unreadable commit's bytes speak of: somebody may be able to mend it."""
        try:
            return set(_MENTIONED.findall(self._store.read(path).decode("utf-8", "replace")))
        except NotFound:
            return set()

    # Films

    def _wanted(self, paths: Iterable[str]) -> _Wanted | None:
        """Which jobs plan the takes of these films. None while a plan that somebody renders cannot be read."""
        names = [layout.parse_media_path(path) for path in paths]
        takes = {(name.show, name.shot_id, name.take) for name in names if name is not None}
        found: _Wanted = defaultdict(list)
        for job in self._jobs if takes else ():
            try:
                for planned in planned_takes(self._store, job.job_id):
                    take = (planned.show, planned.shot_id, planned.take)
                    if take in takes:
                        found[take].append((job, planned))
            except NotFound:
                continue
            except Damaged:
                if job.live:
                    return None
        return found

    def _after(self, path: str, wanted: _Wanted) -> float | None:
        """How old the film must be to be garbage; None while it may not be removed at any age.

        The commits under which it could stand are read one by one: a listing may lag behind.
        """
        name = layout.parse_media_path(path)
        if name is None:
            return None  # nothing that was written here
        after_s = self._least
        for job, planned in wanted.get((name.show, name.shot_id, name.take), ()):
            if planned.revision not in (None, name.revision):
                continue
            try:
                commit = read_commit(self._store, planned.spec_key) if planned.spec_key is not None else None
            except CommitNewer:
                return None
            except CommitUnreadable:
                commit = None
            if commit is not None and commit["media"]["path"] == path:
                return None
            if commit is None and job.live:
                return None
            if commit is None and self._fixed is None:
                after_s = max(after_s, window_s(self._store.options))
        return after_s

    # The rest

    def _set_aside(self) -> Iterator[_Garbage]:
        after_s = self._fixed if self._fixed is not None else max(self._least, SET_ASIDE_S)
        for found in self._store.list(layout.COMMITS):
            if layout.is_damaged_path(found.path):
                yield _Garbage(found, "set-aside", after_s)
        for found in self._ours(layout.DAMAGED):
            yield _Garbage(found, "set-aside", after_s)

    def _of_job(self, job: JobState) -> Iterator[_Garbage]:
        request = self._store.stat(layout.cancel_path(job.job_id))
        if request is not None and (not job.live or self._asked_before(job)):
            yield _Garbage(request, "stale-request", self._least)
        settled: Callable[[str], bool] | None = None
        for found in self._store.list(layout.pieces_folder(job.job_id)):
            name = layout.parse_piece_path(found.path)
            if name is None:
                continue
            if settled is None:
                settled = self._settled(job)
            yield from self._unless_kept(found, "pieces", self._least if settled(name.spec_key) else None)

    def _asked_before(self, job: JobState) -> bool:
        """Whether the request to stop it is for an owner before the one that it has."""
        asked = asked_epoch(self._store, job.job_id)
        return asked is not None and asked < (job.lease.epoch if job.lease else 0)

    def _settled(self, job: JobState) -> Callable[[str], bool]:
        """Tells of a take's key whether nobody will go on with its pieces."""
        try:
            planned = list(planned_takes(self._store, job.job_id))
        except NotFound:
            planned = []
        except Damaged:
            return self._committed
        keys = {take.spec_key for take in planned}
        given_up: set[str | None] = set()
        if not job.live:
            try:
                given_up = {record.get("spec_key") for record in jobs.list_quarantine(self._store, job.job_id)}
            except Damaged:
                given_up = set()

        def settled(spec_key: str) -> bool:
            if self._committed(spec_key):
                return True
            # A key that the plan left open may be any that the plan does not hold.
            return not job.live and (spec_key in given_up or not (spec_key in keys or None in keys))

        return settled

    def _committed(self, spec_key: str) -> bool:
        try:
            return read_commit(self._store, spec_key) is not None
        except CommitNewer:
            return True
        except CommitUnreadable:
            return False

    # Removing

    def _age(self, found: Stat | Leftover) -> float:
        return (self._now - found.modified).total_seconds()

    def _old(self, garbage: _Garbage) -> bool:
        if self._age(garbage.found) >= garbage.after_s:
            return True
        self._kept += 1
        return False

    def _told(self, garbage: _Garbage) -> Removed:
        found = garbage.found
        return Removed(found.path, found.size, round(self._age(found), 3), garbage.reason)

    def _remove(self, garbage: _Garbage) -> Removed | None:
        found = garbage.found
        if isinstance(found, Leftover):
            return self._told(garbage) if self._store.discard(found) else None
        return self._told(garbage) if self._store.delete_unchanged(found) else None
