"""Reads Parquet batch by batch, never a row group as a whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catalogs.errors import CatalogError
from catalogs.raw import Raw, check_columns
from catalogs.sources import Source

# What pyarrow raises for bytes that are not the Parquet they claim to be.
_BROKEN = (pa.ArrowException, OSError, ValueError, UnicodeDecodeError)
_BUFFER = 1 << 18


def read_parquet(source: Source, batch_rows: int) -> Iterator[Raw]:
    """Rows of a Parquet file; the file is opened and its columns are checked before the first batch is asked for.

    Raises:
        CatalogError: at once for a file that is not Parquet or lacks a column; later for one that is broken further on.
    """
    try:
        file = pq.ParquetFile(source.path, buffer_size=_BUFFER, pre_buffer=False)
        names = file.schema_arrow.names
    except _BROKEN as error:
        raise CatalogError(
            f"the catalog {source.shown} is not a Parquet file that can be read: {error}. Copy or write it again"
        ) from error
    check_columns(names, source.shown)
    return _batches(file, source, batch_rows)


def _batches(file: pq.ParquetFile, source: Source, batch_rows: int) -> Iterator[Raw]:
    first = 0
    try:
        with file:
            for batch in file.iter_batches(batch_size=batch_rows, use_threads=False):
                rows = np.arange(first, first + batch.num_rows, dtype=np.int64)
                first += batch.num_rows
                yield Raw(rows, dict(zip(batch.schema.names, batch.columns, strict=True)), [])
            if first == 0:
                empty = {field.name: pa.nulls(0, field.type) for field in file.schema_arrow}
                yield Raw(np.empty(0, np.int64), empty, [])
    except _BROKEN as error:
        what = str(error).rstrip(". ")
        raise CatalogError(
            f"the catalog {source.shown} is damaged after row {first}: {what}. Copy or write it again"
        ) from error
