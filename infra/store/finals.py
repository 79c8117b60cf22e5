"""What a draft's takes are at full size: `jobs/<job_id>/final.parquet`, put before the draft's plan, never rewritten.

It is the plan that the catalog would have had without being a draft, so that the chosen takes can be rendered again
from the store alone, under the very keys that rendering the whole catalog would give them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.store import layout
from infra.store.conditional import create_or_read
from infra.store.errors import PlanDiffers
from infra.store.store import Store
from infra.store.tables import first_difference, from_parquet, to_parquet

if TYPE_CHECKING:
    import pyarrow as pa


def put_finals(store: Store, job_id: str, takes: pa.Table) -> None:
    """Puts the takes at full size, if the job has none.

    Raises:
        PlanDiffers: others stand there, or the job is there and is no draft; nothing was written then.
    """
    path = layout.finals_path(job_id)
    if store.stat(path) is None and store.stat(layout.plan_path(job_id)) is not None:
        raise PlanDiffers(f"job {job_id} in {store.url} is no draft; render under another --job NAME")
    settled = create_or_read(store, path, to_parquet(takes))
    difference = first_difference(from_parquet(settled.data, path), takes)
    if difference:
        raise PlanDiffers(
            f"the draft {job_id} in {store.url} is of other finals ({difference}): render under another --job NAME"
        )


def read_finals(store: Store, job_id: str) -> pa.Table:
    """All takes of a draft's catalog at full size. NotFound where the job is no draft."""
    path = layout.finals_path(job_id)
    return from_parquet(store.read(path), path)


def is_draft(store: Store, job_id: str) -> bool:
    """Whether a job is a draft."""
    return store.stat(layout.finals_path(job_id)) is not None
