"""What of a plan its store has already: commits, takes that were added, takes given up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from catalogs import Plan
    from infra.store import Store


def committed(store: Store) -> Iterator[str]:
    """spec_keys with a commit, from a listing. One at a time: the names of a million are not held as text."""
    from infra.store.commits import list_commits

    return (key for key, _ in list_commits(store))


def with_added(store: Store, job_id: str, takes: pa.Table, facts: Mapping[str, Any]) -> pa.Table | None:
    """The takes with what was added to the job since it was planned; None where nothing was."""
    from infra.store.additions import list_additions, with_additions

    if not list_additions(store, job_id):
        return None
    import pyarrow as pa
    import pyarrow.compute as pc

    more = with_additions(store, job_id, takes)
    new = more.slice(takes.num_rows)
    # Few are added, and their commits are looked up; of the others it is known.
    keys = [key for key in new["spec_key"].to_pylist() if key is not None]
    standing = pa.array(sorted(set(keys) & set(committed(store))) if keys else [], pa.string())
    cached = pa.chunked_array([*takes["cached"].chunks, *pc.is_in(new["spec_key"], value_set=standing).chunks])
    return with_linked(store, more.set_column(more.column_names.index("cached"), "cached", cached), facts)


def with_linked(store: Store, takes: pa.Table, facts: Mapping[str, Any]) -> pa.Table:
    """The takes, `cached` also where one stands whose key the plan leaves open because it starts from another's."""
    from actors.chains import Chains
    from actors.found import find_linked

    chains = Chains(takes)
    if not chains.any:
        return takes
    import pyarrow as pa

    cached = takes["cached"].to_numpy().copy()
    standing = {take: takes["spec_key"][take].as_py() for take in cached.nonzero()[0].tolist() if chains.awaited(take)}
    known = set(committed(store))
    cached[list(find_linked(store, takes, chains, standing, known.__contains__, facts))] = True
    return takes.set_column(takes.column_names.index("cached"), "cached", pa.array(cached))


def quarantined(store: Store, job_id: str, plan: Plan) -> frozenset[tuple[str, str, int]]:
    """Takes of the plan given up in the job's newest round. One that has been committed since is not among them."""
    import pyarrow.compute as pc

    from infra.store import jobs

    found = {tuple(take) for take in jobs.quarantined(store, job_id)}
    if not found:
        return frozenset()
    pending = plan.takes.select(["show", "shot_id", "take", "cached"])
    pending = pending.filter(pc.invert(pending["cached"]))
    keys = zip(*(pending[name].to_pylist() for name in ("show", "shot_id", "take")), strict=True)
    return frozenset(key for key in keys if key in found)
