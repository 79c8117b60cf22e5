"""Whether another owner has taken a job over: the epoch in its lease is above ours.

The flow finds out when it renews the lease, which takes a while, and longer where it was stopped or cut off. Its
dispatcher looks before each take, so that after a take-over only those takes are rendered twice that were at work.
"""

from __future__ import annotations

import logging

from actors.job import JobSpec
from infra.store import Store
from infra.store.errors import StoreError
from infra.store.lease import read_lease

log = logging.getLogger(__name__)


def newer_epoch(store: Store, spec: JobSpec) -> int | None:
    """The epoch of an owner after this one. None where there is none, or nobody can tell now: commits are safe anyway,
    and a store that is away ends no job.
    """
    try:
        lease = read_lease(store, spec.job_id)
    except StoreError as error:
        log.info("nobody can tell who has the lease of %s: %s", spec.job_id, error)
        return None
    return lease.epoch if lease is not None and lease.epoch > spec.epoch else None
