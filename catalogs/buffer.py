"""Gathers a large table in batches: in memory while it is small, in a temporary file that is mapped once it is not.

A million takes are about half a gigabyte, of which a plan that is only counted touches a small part.
"""

from __future__ import annotations

import mmap
import os
import tempfile

import pyarrow as pa

from catalogs.errors import CatalogError

SPILL_BYTES = 24 << 20


class TableBuffer:
    """Batches of one schema that become one table.

    Args:
        schema: of every batch.
        spill_bytes: how much to keep in memory.
    """

    def __init__(self, schema: pa.Schema, spill_bytes: int = SPILL_BYTES) -> None:
        self.schema = schema
        self._spill_bytes = spill_bytes
        self._batches: list[pa.RecordBatch] = []
        self._held = 0
        self._path: str | None = None
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None
        self._mapping: mmap.mmap | None = None

    def append(self, batch: pa.RecordBatch) -> None:
        """Adds a batch.

        Raises:
            CatalogError: the temporary folder is full.
        """
        self._batches.append(batch)
        self._held += batch.nbytes
        if self._held > self._spill_bytes:
            try:
                self._flush()
            except OSError as error:
                self.close()
                where = tempfile.gettempdir()
                raise CatalogError(
                    f"no room for the plan in {where}: {error}. Set TMPDIR to a larger folder"
                ) from error

    def table(self) -> pa.Table:
        """The table of all batches; the buffer is empty afterwards."""
        if self._path is None:
            table = pa.Table.from_batches(self._batches, self.schema)
            self.close()
            return table
        self._flush()
        assert self._writer is not None
        self._writer.close()
        self._writer = None
        try:
            # The mapping keeps the file's bytes; its name can go at once, so that nothing is left behind.
            with open(self._path, "rb") as file:
                self._mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return pa.ipc.open_stream(pa.py_buffer(self._mapping)).read_all()
        finally:
            self.close()

    def forget(self) -> None:
        """Gives back the memory of what has been looked at of the table so far; it is read from the file again."""
        if self._mapping is not None:
            self._mapping.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Drops everything that is held, and the temporary file; a table that was made of it stays."""
        self._batches, self._held = [], 0
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._path is not None:
            os.unlink(self._path)
            self._path = None

    def _flush(self) -> None:
        if self._writer is None:
            handle, self._path = tempfile.mkstemp(prefix="rushes-plan-", suffix=".arrow")
            os.close(handle)
            self._writer = pa.ipc.new_stream(self._path, self.schema)
        for batch in self._batches:
            self._writer.write_batch(batch)
        self._batches, self._held = [], 0
