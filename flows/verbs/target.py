"""What a verb is about: a store that is there, and one of its jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flows.verbs.failure import Failure, naming

if TYPE_CHECKING:
    from infra.settings import Settings
    from infra.store import Store


def open_for_reading(url: str, settings: Settings) -> Store:
    """The store, for verbs that look at what is there.

    Raises:
        Failure: nothing is there.
    """
    from infra.store import open_store
    from infra.store.probe import read_format

    store = open_store(url, settings.store)
    with naming(store):
        found = read_format(store)
    if found is None:
        raise Failure(
            f"there is no store at {store.url}: it has no rushes.json",
            hint="Check the path or URL; `rushes render … --out STORE` makes a store.",
        )
    return store


def choose_job(store: Store, job_id: str | None) -> str:
    """The job that was asked for, else the newest one: the one whose lease, or plan, was written last.

    Raises:
        Failure: the store has no such job, or none at all.
    """
    from infra.store import layout
    from infra.store.jobs import list_jobs

    if job_id is not None:
        if store.stat(layout.plan_path(job_id)) is None:
            raise Failure(no_job(store, job_id))
        return job_id
    jobs = list_jobs(store)
    if not jobs:
        raise Failure(f"{store.url} has no jobs", hint="`rushes render … --out STORE` starts one.")
    return newest(store, jobs)


def newest(store: Store, jobs: Sequence[str]) -> str:
    """Of some jobs, at least one, the one whose lease, or plan, was written last."""
    return max(jobs, key=lambda job: _last_change(store, job))


def _last_change(store: Store, job_id: str) -> datetime:
    from infra.store import layout

    found = [store.stat(path) for path in (layout.lease_path(job_id), layout.plan_path(job_id))]
    return max((stat.modified for stat in found if stat is not None), default=datetime.fromtimestamp(0, UTC))


def no_job(store: Store, job_id: str) -> str:
    """What to say of a job that the store does not have."""
    from infra.store.jobs import list_jobs

    jobs = list_jobs(store)
    known = ", ".join(jobs[:8]) + (f" and {len(jobs) - 8} more" if len(jobs) > 8 else "")
    return f"{store.url} has no job {job_id}. It has: {known or 'no jobs'}"
