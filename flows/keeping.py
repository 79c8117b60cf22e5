"""Takes of a plan that need not be rendered, because enough others of their shots have passed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from infra.store import Store

TakeName = tuple[str, str, int]


def skipped_of(
    store: Store, takes: pa.Table, quarantined: frozenset[TakeName], facts: Mapping[str, Any]
) -> frozenset[TakeName]:
    """The takes of a plan that are not wanted any more, as (show, shot_id, take). No reads where no row has a `keep`.

    Args:
        takes: of a plan, with `cached` as the store has it now.
        quarantined: takes given up in this round.
        facts: of the model.

    Raises:
        StoreError: a commit cannot be read now.
    """
    from infra.store.keeping import kept

    if not has_keep(takes):
        return frozenset()
    names = list(zip(*(takes[name].to_pylist() for name in ("show", "shot_id", "take")), strict=True))
    done = [number for number, cached in enumerate(takes["cached"].to_pylist()) if cached]
    keys = dict(enumerate(takes["spec_key"].to_pylist()))
    if any(keys[number] is None for number in done):  # found by what they start from: their keys are not the plan's
        keys |= _linked_keys(store, takes, done, facts)
    given_up = [number for number, name in enumerate(names) if name in quarantined]
    known = {number: key for number, key in keys.items() if key is not None}
    found = kept(store, takes, known, done=done, given_up=given_up)
    return frozenset(names[number] for number in found.skipped)


def has_keep(takes: pa.Table) -> bool:
    """Whether any shot of a plan wants fewer takes than it may have."""
    return "keep" in takes.column_names and bool(takes["keep"].null_count < takes.num_rows)


def _linked_keys(store: Store, takes: pa.Table, done: list[int], facts: Mapping[str, Any]) -> dict[int, str]:
    from actors.chains.chains import Chains
    from actors.chains.found import find_linked
    from infra.store.commits import committed_keys

    chains, keys = Chains(takes), takes["spec_key"]
    standing = {take: keys[take].as_py() for take in done if keys[take].is_valid and chains.awaited(take)}
    found = find_linked(store, takes, chains, standing, committed_keys(store).__contains__, facts)
    return {take: one.key for take, one in found.items()}
