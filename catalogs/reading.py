"""Reads a catalog: a stream of batches, each with its good rows in one schema and its refused rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from catalogs import schema
from catalogs.errors import CatalogError
from catalogs.parquet import read_parquet
from catalogs.presets import LEGAL, PRESETS
from catalogs.raw import Raw
from catalogs.refusal import Refusal
from catalogs.sources import Source, open_source
from catalogs.text import read_csv, read_jsonl
from catalogs.unknown import kept
from catalogs.uris import Resolver, folder_of
from catalogs.validate import Validator

_READERS = {"parquet": read_parquet, "csv": read_csv, "jsonl": read_jsonl}


class Batch(NamedTuple):
    """A piece of a catalog.

    Attributes:
        shots: the good rows: `row` (their number in the file), the columns of `SHOT_SCHEMA` with the defaults that do
            not depend on a model, absolute URIs, and the catalog's unknown columns as they are.
            A row with variants stands there as the rows that were made from it, all under its number. Several may
            have one name: which of them has it depends on what the model can render, so `plan` says it.
        refused: one entry for each other row, in their order.
        lost: SHA-256("show/shot_id") of the refused rows, (m, 32) uint8, so that shots that depend on them can be
            told; None where no shot depends on another.
    """

    shots: pa.RecordBatch
    refused: list[Refusal]
    lost: np.ndarray | None = None


def read(
    url: str | os.PathLike[str],
    *,
    allow: Sequence[str] = (),
    storage_options: Mapping[str, Any] | None = None,
    batch_rows: int = 16_384,
    preset: str | None = None,
    source: Source | None = None,
) -> Iterator[Batch]:
    """Reads and checks a catalog in Parquet, CSV or JSON lines, told apart by content and suffix.

    Args:
        url: a path or any fsspec URL.
        allow: prefixes (paths or URLs) below which a row's inputs may lie, beside the catalog's folder.
        storage_options: for the file system of `url`.
        batch_rows: most rows in a batch.
        preset: of the rows that name none, one of `catalogs.presets.PRESETS`.
        source: the catalog at `url` where `catalogs.sources.open_source` has opened it, so that it is not fetched
            again; whoever opened it closes it.

    Returns:
        At least one batch, so that a catalog without rows still has its schema.

    Raises:
        CatalogError: at once where the catalog is not there, is a folder, is empty, truncated or of no known format,
            or lacks `shot_id` or `prompt`, or there is no such preset; while reading where it is damaged further on.
    """
    if preset is not None and preset not in PRESETS:
        raise CatalogError(f"there is no preset {preset!r}; the presets are {LEGAL}")
    folder = folder_of(url)
    resolver = Resolver(folder, allow)
    source = open_source(url, storage_options) if source is None else source.lent()
    try:
        raws = _READERS[source.format](source, batch_rows)
    except BaseException:
        source.close()
        raise
    return _batches(source, raws, Validator(resolver, preset), folder.uri())


def _batches(source: Source, raws: Iterator[Raw], validator: Validator, folder: str) -> Iterator[Batch]:
    metadata = {schema.FOLDER_KEY: folder.encode()}
    types: dict[str, pa.DataType] = {}
    names: dict[str, str] = {}
    try:
        for raw in raws:
            known = {name: cells for name, cells in raw.columns.items() if name in schema.BY_NAME}
            if not names:
                others = [name for name in raw.columns if name not in known]
                for name in others:
                    names[name] = schema.free_name(name, set(others) - {name})
            unknown = {new: kept(raw.columns[name]) for name, new in names.items()}
            for name, array in unknown.items():
                if types.setdefault(name, array.type) != array.type:
                    raise CatalogError(f"the column {name} of {source.shown} changes its type on the way")
            shots, refused, lost = validator.check(known, unknown, raw.rows)
            refused = sorted([*raw.refused, *refused])
            yield Batch(shots.replace_schema_metadata(metadata), refused, lost)
    finally:
        source.close()
