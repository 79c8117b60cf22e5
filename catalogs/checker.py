"""Collects which rows break which rule, and keeps for each row the first one only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from catalogs.refusal import Refusal, cell, show

Legal = str | Callable[[int], str]
"""What would be legal: one text for the rule, or one worked out for the row's place in the batch."""


class Checker:
    """The rules of one batch, applied in order.

    Args:
        rows: numbers of the batch's rows in the file, (n,) int64.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self._broken = np.full(len(rows), -1, np.int32)
        self._rules: list[tuple[str, pa.Array | list[Any], Legal]] = []

    @property
    def good(self) -> np.ndarray:
        """Rows that have broken no rule so far, (n,) bool."""
        return self._broken < 0

    def refuse(self, column: str, bad: np.ndarray, cells: pa.Array | list[Any], legal: Legal) -> None:
        """Refuses the rows where `bad` holds and that were good until now; `cells` hold the values to show."""
        bad = bad & self.good
        if bad.any():
            self._broken[bad] = len(self._rules)
            self._rules.append((column, cells, legal))

    def refusals(self) -> list[Refusal]:
        """One entry for each refused row, in the order of the rows."""
        entries = []
        for index in np.nonzero(self._broken >= 0)[0].tolist():
            column, cells, legal = self._rules[self._broken[index]]
            text = legal if isinstance(legal, str) else legal(index)
            entries.append(Refusal(int(self.rows[index]), column, show(cell(cells, index)), text))
        return entries
