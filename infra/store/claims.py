"""What the jobs of a store still want: which takes their plans hold, under which keys, and whether somebody renders."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NamedTuple

from infra.store import jobs, layout
from infra.store.additions import read_takes
from infra.store.errors import Damaged
from infra.store.lease import LeaseInfo, owner_is_gone, read_lease
from infra.store.store import Store

_log = logging.getLogger(__name__)
_COLUMNS = ("show", "shot_id", "revision", "take", "spec_key")


class JobState(NamedTuple):
    """A folder below jobs/, as its lease tells it."""

    job_id: str
    lease: LeaseInfo | None  # also None for one that cannot be read
    live: bool  # somebody may be working on it now


class Planned(NamedTuple):
    """One take of a job. Revision and key are None where the plan left them open and no manifest tells them."""

    show: str
    shot_id: str
    revision: str | None
    take: int
    spec_key: str | None


def job_states(store: Store) -> list[JobState]:
    """All jobs, also those whose plan is gone. One whose lease cannot be read counts as live: nobody knows."""
    return [job_state(store, job_id) for job_id in sorted(store.folders(layout.JOBS)) if layout.NAME.fullmatch(job_id)]


def job_state(store: Store, job_id: str) -> JobState:
    """One job."""
    try:
        lease = read_lease(store, job_id)
    except Damaged as error:
        _log.warning("%s", error)
        return JobState(job_id, None, True)
    return JobState(job_id, lease, lease is not None and not lease.final and not owner_is_gone(lease))


def planned_takes(store: Store, job_id: str) -> Iterator[Planned]:
    """The takes of a job's plan and additions, with what its manifest tells of keys that the plan left open.

    NotFound without a plan, Damaged for one that cannot be read.
    """
    table = read_takes(store, job_id)
    columns = [table[name].to_pylist() if name in table.column_names else [None] * table.num_rows for name in _COLUMNS]
    later: dict[tuple[str, str, int], tuple[str | None, str | None]] = {}
    if None in columns[4]:
        later = _resolved(store, job_id)
    for show, shot_id, revision, take, key in zip(*columns, strict=True):
        if key is None:
            revision, key = later.get((show, shot_id, take), (revision, None))
        yield Planned(show, shot_id, revision, take, key)


def _resolved(store: Store, job_id: str) -> dict[tuple[str, str, int], tuple[str | None, str | None]]:
    """Revision and key by take, as far as the job's manifest tells."""
    view = jobs.usable_manifest(store, job_id, _COLUMNS)
    if view is None:
        return {}
    rows = zip(*(view.table[name].to_pylist() for name in _COLUMNS), strict=True)
    return {(show, shot_id, take): (revision, key) for show, shot_id, revision, take, key in rows}
