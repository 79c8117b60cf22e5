"""What the manifest that stands tells: which commits were read once, so that of a million none is read again.

A commit never changes. So the manifest vouches for the commits that it counts, as long as none of them has been written
since the manifest was, by the store's own clock: whoever cuts one short or overwrites it makes it newer. What a disk
spoils without writing is left to `rushes verify`. A manifest that cannot be read, or is another version's, tells
nothing, and is made anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra.store.commits import keys_since
from infra.store.jobs import View, usable_manifest

if TYPE_CHECKING:
    import pyarrow as pa

    from infra.store import Store

TakeKey = tuple[str, str, int]
"""show, shot_id, take."""

LAST = (
    "media_path", "sha256", "bytes", "gpu_s", "attempt", "error_class", "quality", "quality_verdict",
    "quality_reasons", "quality_rank",
)  # fmt: skip
"""The manifest's last columns: what commits and records of quarantine say."""


def standing(store: Store, job_id: str) -> View | None:
    """The manifest that stands, if it can be used."""
    return usable_manifest(store, job_id, ("show", "shot_id", "take", "spec_key", "state", *LAST))


def trusted(store: Store, job_id: str) -> pa.Table | None:
    """The manifest that stands, if it can be used and vouches for every commit that it counts."""
    view = standing(store, job_id)
    if view is None:
        return None
    _, later = keys_since(store, view.written)
    return None if later.intersection(committed_in(view.table)) else view.table


def commits(store: Store, job_id: str) -> tuple[set[str], dict[str, dict[str, Any]]]:
    """The keys that have a commit by name, and what the manifest tells of those that it vouches for."""
    view = standing(store, job_id)
    keys, later = keys_since(store, None if view is None else view.written)
    if view is None:
        return keys, {}
    import pyarrow.compute as pc

    rows = view.table.filter(pc.equal(view.table["state"], "committed")).select(["spec_key", *LAST]).to_pylist()
    known = {row.pop("spec_key"): row for row in rows}
    return keys, {key: row for key, row in known.items() if key in keys and key not in later}


def keys(store: Store, job_id: str) -> dict[TakeKey, str]:
    """The keys of takes that the manifest knows."""
    view = standing(store, job_id)
    if view is None:
        return {}
    names = zip(*(view.table[name].to_pylist() for name in ("show", "shot_id", "take")), strict=True)
    return {name: key for name, key in zip(names, view.table["spec_key"].to_pylist(), strict=True) if key}


def committed_in(manifest: pa.Table) -> set[str]:
    """The keys of the takes that a manifest says are committed."""
    import pyarrow.compute as pc

    return set(manifest.filter(pc.equal(manifest["state"], "committed"))["spec_key"].to_pylist())
