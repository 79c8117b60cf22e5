"""Takes whose keys a plan leaves open because they start from others, and that stand in the store all the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from actors.chains.chains import Chains
from catalogs.keys import spec_fields, spec_key
from catalogs.tasks import INPUTS
from infra.store import Store
from infra.store.decisions import Selected, decided, selected_take


class Found(NamedTuple):
    """The key of a take that stands, and of the one that it started from."""

    key: str
    source: str


def find_linked(
    store: Store,
    rows: pa.Table,
    chains: Chains,
    standing: Mapping[int, str],
    committed: Callable[[str], bool],
    model_facts: Mapping[str, Any],
    precision: Mapping[str, str] | None = None,
) -> dict[int, Found]:
    """Linked takes that are committed, whichever take of the shot before them they started from.

    Where people selected a take to start from, one that started from another does not count.

    Args:
        rows: of the plan.
        chains: of these rows.
        standing: keys of takes that stand in the store and that others come after, by id.
        committed: whether a key has a commit.

    Raises:
        StoreError: decisions cannot be read.
    """
    people = decided(store)
    known, found = dict(standing), dict[int, Found]()
    for take in chains.linked():
        row = rows.slice(take, 1).to_pylist()[0]
        if row["spec_key"] or any(row.get(uri) and not row.get(digest) for uri, digest in INPUTS.items()):
            continue
        original = chains.original(take)
        if original is not None:
            sources = [found[original].source] if original in found else []
        else:
            shot = row["show"], row["source_shot"]
            sources = _sources(
                rows, chains.sources(take), known, selected_take(store, *shot) if shot in people else None
            )
        for source in sources:
            key = spec_key(spec_fields({**row, "source": source}, model_facts, precision=precision))
            if committed(key):
                found[take], known[take] = Found(key, source), key
                break
    return found


def _sources(rows: pa.Table, takes: tuple[int, ...], standing: Mapping[int, str], chosen: Selected | None) -> list[str]:
    """Keys of the takes that a take may have started from. Some may stand no more; what started from them does."""
    known = {take: standing.get(take) or rows["spec_key"][take].as_py() for take in takes}
    if chosen is not None:
        numbers, revisions = rows["take"], rows["revision"]
        own = [
            standing[take]
            for take in takes
            if take in standing and chosen.is_of(numbers[take].as_py(), revisions[take].as_py(), standing[take])
        ]
        if own:
            return own
    return [key for key in known.values() if key]
