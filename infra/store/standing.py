"""Which takes stand: a commit's name is listed and its content is not, and a commit that cannot be read is none.

A commit never changes. So a job's manifest vouches for those that it counts, as long as they have not been written
since it was, by the store's own clock, and they are not read again. Of the others `MOST_READ` are read, 16 at a time;
beyond those the name is believed. `rushes verify` reads all.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from infra.store.commits import list_commits, read_commits
from infra.store.errors import CommitNewer
from infra.store.jobs import usable_manifest
from infra.store.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)

MOST_READ = 20_000
"""Commits that are read at most where no manifest vouches for them; of further ones the names count."""


class Standing:
    """The commits that a job's takes are held against: names from a listing, and what the job's manifest vouches for.

    Raises:
        StoreError: the manifest cannot be asked for.
    """

    def __init__(self, store: Store, job_id: str) -> None:
        import pyarrow.compute as pc

        self._store = store
        view = usable_manifest(store, job_id, ("spec_key", "state"))
        self._written = None if view is None else view.written
        self._vouched: pa.ChunkedArray | None = None
        if view is not None:
            self._vouched = view.table.filter(pc.equal(view.table["state"], "committed"))["spec_key"]
        self._later: set[str] = set()

    def names(self) -> Iterator[str]:
        """spec_keys with a commit by name, from a fresh listing. One at a time: a million are not held as text.

        To be read to its end before the others are asked: it tells which commits were written since the manifest was.
        """
        for key, written in list_commits(self._store):
            if self._written is not None and written >= self._written:
                self._later.add(key)
            yield key

    def with_commits(self, takes: pa.Table) -> pa.Table:
        """The takes of a plan, `cached` no more where their commits cannot be read.

        Args:
            takes: with `cached` where their keys are among `names`.

        Raises:
            StoreUnavailable: commits cannot be read now.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        own = takes["spec_key"]
        gone = self.unreadable(own.filter(pc.and_(takes["cached"], own.is_valid())))
        if not gone:
            return takes
        spoilt = pc.and_(own.is_valid(), pc.is_in(own, value_set=pa.array(gone, own.type)))
        cached = pc.and_(takes["cached"], pc.invert(spoilt))
        return takes.set_column(takes.column_names.index("cached"), "cached", cached)

    def unreadable(self, keys: pa.ChunkedArray) -> list[str]:
        """Those of these keys, all among `names`, whose commits cannot be read: they are not done."""
        return read_open(self._store, open_keys(keys, self._vouched, self._later))[1]


def open_keys(keys: pa.ChunkedArray, vouched: pa.ChunkedArray | None, later: Collection[str]) -> pa.ChunkedArray:
    """Those of these keys that no manifest vouches for.

    Args:
        vouched: the keys that the manifest counts; None where there is none.
        later: the keys whose commits were written since it was made.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if vouched is None:
        return keys
    known = pc.is_in(keys, value_set=vouched.combine_chunks().cast(keys.type))
    if later:
        known = pc.and_not(known, pc.is_in(keys, value_set=pa.array(sorted(later), keys.type)))
    return keys.filter(pc.invert(known))


def read_open(store: Store, keys: pa.ChunkedArray) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The commits of these takes, which were listed, and the keys of those that are none; at most `MOST_READ` are read.

    One of a later format is among neither: it stands, and what it says is not known here. Raises StoreUnavailable.
    """
    looked_at = list(dict.fromkeys(keys.slice(0, MOST_READ).to_pylist()))
    found: dict[str, dict[str, Any]] = {}
    newer: set[str] = set()
    for read in read_commits(store, looked_at):
        if read.spec_key is None:
            continue
        if read.commit is not None:
            found[read.spec_key] = read.commit
        elif isinstance(read.fault, CommitNewer):
            _log.warning("%s", read.fault)
            newer.add(read.spec_key)
        else:
            _log.warning("%s; its take is not done", read.fault)
    return found, [key for key in looked_at if key not in found and key not in newer]
