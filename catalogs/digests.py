"""SHA-256 for whole columns: of texts, as hexadecimal, and in sets that hold no object for each digest."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from itertools import pairwise

import numpy as np
import pyarrow as pa

DIGEST_BYTES = 32


def digest_texts(texts: pa.Array) -> np.ndarray:
    """SHA-256 of the UTF-8 bytes of each text, (n, 32) uint8; the column has no nulls."""
    texts = texts.cast(pa.large_binary())
    count = len(texts)
    if not count:
        return np.empty((0, DIGEST_BYTES), np.uint8)
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + count + 1].tolist()
    view = memoryview(data) if data is not None else memoryview(b"")
    joined = b"".join([sha256(view[start:end]).digest() for start, end in pairwise(ends)])
    return np.frombuffer(joined, np.uint8).reshape(count, DIGEST_BYTES)


def hex_column(digests: np.ndarray, valid: np.ndarray | None = None) -> pa.Array:
    """The bytes of each row as lower-case hexadecimal text; null where `valid` is False. (n, k) uint8 -> n texts."""
    count, size = digests.shape
    data = pa.py_buffer(np.ascontiguousarray(digests).tobytes().hex().encode())
    offsets = pa.py_buffer(np.arange(count + 1, dtype=np.int32) * np.int32(2 * size))
    mask = None if valid is None or valid.all() else pa.array(valid).buffers()[1]
    return pa.StringArray.from_buffers(count, offsets, data, mask)


def from_hex(keys: Iterable[str]) -> np.ndarray:
    """Hexadecimal keys of 64 digits as digests, (n, 32) uint8.

    Raises:
        ValueError: a key of another form.
    """
    chunks: list[np.ndarray] = []
    pending: list[str] = []

    def flush() -> None:
        data = bytes.fromhex("".join(pending))
        if len(data) != DIGEST_BYTES * len(pending):
            raise ValueError("a key is not 64 hexadecimal digits")
        chunks.append(np.frombuffer(data, np.uint8).reshape(-1, DIGEST_BYTES))
        pending.clear()

    for key in keys:
        if len(key) != 2 * DIGEST_BYTES:
            raise ValueError(f"a key is not 64 hexadecimal digits: {key[:80]!r}")
        pending.append(key)
        if len(pending) == 16_384:
            flush()
    flush()
    return np.concatenate(chunks)


class DigestSet:
    """A growing set of digests, told apart by their first 16 bytes: 16 bytes of memory for each."""

    def __init__(self, digests: np.ndarray | None = None) -> None:
        # Sorted runs, each at least twice as long as the one after it, so that adding n digests costs n log n.
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []
        if digests is not None:
            self.add(digests)

    def __len__(self) -> int:
        return sum(len(high) for high, _ in self._runs)

    def contains(self, digests: np.ndarray) -> np.ndarray:
        """Which of the digests (n, 32) are in the set, (n,) bool."""
        high, low = _halves(digests)
        order = np.argsort(high)
        found = np.zeros(len(high), bool)
        found[order] = self._find(high[order], low[order])
        return found

    def add(self, digests: np.ndarray) -> np.ndarray:
        """Adds the digests (n, 32); returns which were there before, or earlier among themselves, (n,) bool."""
        high, low = _halves(digests)
        order = np.lexsort((low, high))  # stable: the first of equals stays first
        high, low = high[order], low[order]
        known = self._find(high, low)
        known[1:] |= (high[1:] == high[:-1]) & (low[1:] == low[:-1])
        if not known.all():
            self._insert(high[~known], low[~known])
        repeated = np.zeros(len(order), bool)
        repeated[order] = known
        return repeated

    def _find(self, high: np.ndarray, low: np.ndarray) -> np.ndarray:
        """Which of the digests are in the set; sorted by `high`, so that the search walks through memory once."""
        found = np.zeros(len(high), bool)
        for run_high, run_low in self._runs:
            first = np.searchsorted(run_high, high, side="left")
            near = np.minimum(first, len(run_high) - 1)
            hit = np.nonzero(run_high[near] == high)[0]
            found[hit] |= run_low[near[hit]] == low[hit]
            for index in hit[run_low[near[hit]] != low[hit]]:  # equal in 8 bytes and different: hardly ever
                last = np.searchsorted(run_high, high[index], side="right")
                found[index] |= bool((run_low[first[index] : last] == low[index]).any())
        return found

    def _insert(self, high: np.ndarray, low: np.ndarray) -> None:
        while self._runs and len(self._runs[-1][0]) < 2 * len(high):
            other_high, other_low = self._runs.pop()
            high, low = np.concatenate([other_high, high]), np.concatenate([other_low, low])
            order = np.argsort(high, kind="stable")
            high, low = high[order], low[order]
        self._runs.append((high, low))


def _halves(digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    words = np.ascontiguousarray(digests[:, :16]).view(">u8").astype(np.uint64)
    return words[:, 0], words[:, 1]
