"""What of a plan its store has already: commits, takes that were added, takes given up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from catalogs import Plan
    from infra.store import Store
    from infra.store.standing import Standing


def with_added(
    store: Store, job_id: str, takes: pa.Table, facts: Mapping[str, Any], standing: Standing
) -> pa.Table | None:
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
    known = pa.array(sorted(set(keys).intersection(standing.names())) if keys else [], pa.string())
    added = new.set_column(new.column_names.index("cached"), "cached", pc.is_in(new["spec_key"], value_set=known))
    cached = pa.chunked_array([*takes["cached"].chunks, *standing.with_commits(added)["cached"].chunks], pa.bool_())
    return with_linked(store, more.set_column(more.column_names.index("cached"), "cached", cached), facts, standing)


def with_linked(store: Store, takes: pa.Table, facts: Mapping[str, Any], standing: Standing) -> pa.Table:
    """The takes, `cached` also where one stands whose key the plan leaves open because it starts from another's."""
    from actors.chains.chains import Chains
    from actors.chains.found import find_linked

    chains = Chains(takes)
    if not chains.any:
        return takes
    import pyarrow as pa

    cached = takes["cached"].to_numpy().copy()
    sources = {take: takes["spec_key"][take].as_py() for take in cached.nonzero()[0].tolist() if chains.awaited(take)}
    known = set(standing.names())
    linked = find_linked(store, takes, chains, sources, known.__contains__, facts)
    found = {take: one.key for take, one in linked.items()}
    gone = set(standing.unreadable(pa.chunked_array([pa.array(list(found.values()), pa.string())])))
    cached[[take for take, key in found.items() if key not in gone]] = True
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
