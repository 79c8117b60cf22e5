"""What the commits that a job finds in the store had cost, and which of them are none."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from infra.store import Store
from infra.store.commits import read_many
from infra.store.standing import MOST_READ


def seconds_cached(
    store: Store, keys: list[tuple[int, str, float]], vouched: Mapping[str, float] | None = None
) -> dict[int, float]:
    """GPU seconds that commits had cost, by take id; a commit that cannot be read is left out: its take is not done.

    keys: (take id, spec_key, planned cost) of takes whose commits were listed. vouched: what those had cost that the
    job's manifest vouches for; they are not read again. Beyond ``MOST_READ`` others the name is believed and
    the planned cost is counted; ``verify`` reads all.
    """
    known = vouched or {}
    open_ones = [entry for entry in keys if entry[1] not in known]
    looked_at, believed = open_ones[:MOST_READ], open_ones[MOST_READ:]
    commits = read_many(store, [key for _, key, _ in looked_at])
    found = {take: known[key] for take, key, _ in keys if key in known}
    found |= {take: planned for take, _, planned in believed}
    for take, key, _ in looked_at:
        commit = commits.get(key)
        if isinstance(commit, dict):
            found[take] = float(commit["gpu_s"])
    return found


def vouched_for(manifest: pa.Table, later: set[str]) -> dict[str, float]:
    """What the commits had cost that a manifest counts, but for those that were written after it."""
    counted = manifest.filter(pc.equal(manifest["state"], "committed"))
    pairs = zip(counted["spec_key"].to_pylist(), counted["gpu_s"].to_pylist(), strict=True)
    return {key: seconds or 0.0 for key, seconds in pairs if key not in later}
