"""Requests to stop a job: `jobs/<job_id>/cancel.json`, which names the owner's epoch that it is for."""

from __future__ import annotations

from typing import Any

from infra.store import layout
from infra.store.errors import NotFound
from infra.store.store import Store
from infra.store.strict import MOST, is_count, read_object


def asked_epoch(store: Store, job_id: str) -> int | None:
    """The last epoch that a request to stop the job is for; None where there is no request.

    One that does not say is for whoever runs the job, and the answer is `strict.MOST`: somebody wrote there by hand,
    and there is one reason to.

    Raises:
        StoreUnavailable: nobody can tell now.
    """
    try:
        asked: Any = read_object(store.read(layout.cancel_path(job_id))).get("epoch")
    except NotFound:
        return None
    except ValueError:
        return MOST
    return int(asked) if is_count(asked) else MOST
