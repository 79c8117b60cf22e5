"""Views of a job for people, made from its manifest: the board's cards, the contact sheet."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from flows.manifest import quarantine_records
from infra.store import layout
from infra.store.decisions import Decision, decided, read_decision
from infra.store.errors import Damaged, NotFound

if TYPE_CHECKING:
    import pyarrow as pa

    from flows.board import BoardTake
    from infra.store import Store

log = logging.getLogger("rushes.views")

MOST_SHEET_PICTURES = 96
_THREADS = 16


def board_takes(store: Store, job_id: str, manifest: pa.Table) -> Iterator[BoardTake]:
    """The board's cards, one per row of the manifest, in its order."""
    from flows.board import BoardTake

    records = quarantine_records(store, job_id)
    people = _decisions(store, manifest)
    for batch in manifest.to_batches(max_chunksize=4096):
        for row in batch.to_pylist():
            more: dict[str, Any] = {"media": row["media_path"]}
            decision = people.get((row["show"], row["shot_id"]))
            if decision is not None and row["spec_key"] and (said := decision.takes.get(row["spec_key"])):
                more |= {name: said.get(name) for name in ("verdict", "note", "who", "when")}
                chosen = decision.selected
                more["selected"] = chosen is not None and chosen.is_of(row["take"], row["revision"], row["spec_key"])
            if row["state"] == "committed":
                more["poster"] = layout.poster_path(row["spec_key"])
            elif row["state"] == "quarantined":
                record = records.get((row["show"], row["shot_id"], row["take"]), {})
                more |= {name: record.get(name) for name in ("message", "log", "replay")}
            yield BoardTake.from_row({**row, **more})


def _decisions(store: Store, manifest: pa.Table) -> dict[tuple[str, str], Decision]:
    """What people decided about the shots of a manifest; one that cannot be read is left out."""
    own = set(zip(manifest["show"].to_pylist(), manifest["shot_id"].to_pylist(), strict=True))

    def read(shot: tuple[str, str]) -> Decision | None:
        try:
            return read_decision(store, *shot)
        except Damaged as error:
            log.warning("%s", error)
            return None

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="rushes-decisions") as pool:
        found = pool.map(read, wanted := sorted(decided(store) & own))
        return {shot: decision for shot, decision in zip(wanted, found, strict=True) if decision is not None}


def put_contact_sheet(store: Store, job_id: str, manifest: pa.Table) -> bytes | None:
    """Draw the job's contact sheet from the posters and write it; None where no take has one.

    Of a large job the sheet shows `MOST_SHEET_PICTURES` takes, evenly chosen over the plan.
    """
    from infra.media import contact_sheet

    pictures = list(_posters(store, manifest))
    if not pictures:
        return None
    png = contact_sheet(pictures)
    store.write(layout.contact_sheet_path(job_id), png)
    return png


def _posters(store: Store, manifest: pa.Table) -> Iterator[tuple[str, bytes]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    committed = manifest.filter(pc.equal(manifest["state"], "committed")).select(["shot_id", "take", "spec_key"])
    chosen = pa.array(_evenly(committed.num_rows, MOST_SHEET_PICTURES), pa.int64())
    rows = committed.take(chosen).to_pylist()

    def fetch(row: Mapping[str, Any]) -> tuple[str, bytes] | None:
        try:
            return f"{row['shot_id']} {row['take']}", store.read(layout.poster_path(row["spec_key"]))
        except NotFound:  # a film without a poster is still a film
            return None

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="rushes-posters") as pool:
        yield from (found for found in pool.map(fetch, rows) if found is not None)


def _evenly(count: int, most: int) -> list[int]:
    return list(range(count)) if count <= most else [i * count // most for i in range(most)]
