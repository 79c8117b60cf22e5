"""Which takes of a plan come after which others: chains of shots, and takes that are copies of another's. By columns.

A take's id is the number of its row in the plan.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_NONE = np.int64(-1)


class Chains:
    """The links of a plan.

    Args:
        rows: the plan's takes: show, shot_id, take, source_shot, picture_of; a plan that lacks the last two has none.
    """

    def __init__(self, rows: pa.Table) -> None:
        linked = [name for name in ("source_shot", "picture_of") if _has(rows, name)]
        self.any = bool(linked)
        if not self.any:
            return
        codes, names = _codes(rows["show"], rows["shot_id"])
        take = rows["take"].to_numpy()
        # Takes sorted by shot and number, and where each shot begins.
        self._order = np.lexsort((take, codes))
        self._starts = np.searchsorted(codes[self._order], np.arange(len(names) + 1))
        self._shot = codes
        self._source = self._found(rows, "source_shot", names)
        self._picture = self._found(rows, "picture_of", names)
        self._take = take
        self._takes_of_shot = lru_cache(4096)(self._takes_of)
        self._upstream = np.zeros(len(names), bool)
        for codes_of in (self._source, self._picture):
            self._upstream[codes_of[codes_of >= 0]] = True

    def sources(self, take: int) -> tuple[int, ...]:
        """Takes of the shot that a take starts from, one of which will be its source; () for one that starts anew."""
        if not self.any or self._source[take] < 0:
            return ()
        return self._takes_of_shot(int(self._source[take]))

    def original(self, take: int) -> int | None:
        """The take whose pictures a take has too, without being rendered; None where it is rendered itself."""
        if not self.any or self._picture[take] < 0:
            return None
        number = self._take[take]
        others = self._takes_of_shot(int(self._picture[take]))
        return next((other for other in others if self._take[other] == number), None)

    def awaited(self, take: int) -> bool:
        """Whether other takes may come after this one."""
        return self.any and bool(self._upstream[self._shot[take]])

    def linked(self) -> list[int]:
        """Takes that start from others, or are copies, those first that others come after."""
        if not self.any:
            return []
        ids = np.nonzero((self._source >= 0) | (self._picture >= 0))[0]
        found: list[int] = ids[np.argsort(self.depth()[ids], kind="stable")].tolist()
        return found

    def depth(self) -> np.ndarray:
        """How many shots stand before each take's own in its chain, (n,)."""
        above, shots = self._above()
        steps = np.append((above < shots).astype(np.int64), 0)
        hop = np.append(above, shots)
        for _ in range(int(shots).bit_length() + 1):
            steps += steps[hop]
            hop = hop[hop]
        depth: np.ndarray = steps[self._shot]
        return depth

    def lent(self, values: np.ndarray) -> np.ndarray:
        """The largest of each take's own value and those of all takes that come after it, (n,)."""
        above, shots = self._above()
        most = np.full(shots + 1, -np.inf)
        np.maximum.at(most, self._shot, values)
        depth = np.zeros(shots, np.int64)
        depth[self._shot] = self.depth()
        order = np.argsort(-depth, kind="stable")
        ends = np.nonzero(np.diff(depth[order]))[0] + 1
        for level in np.split(order, ends):  # the deepest first
            np.maximum.at(most, above[level], most[level])
        lent: np.ndarray = most[self._shot]
        return lent

    def _above(self) -> tuple[np.ndarray, int]:
        """For each shot the one that it comes after, or the number of shots; and that number."""
        shots = len(self._starts) - 1
        above = np.full(shots, shots)
        for codes in (self._source, self._picture):  # a copy comes after its original, which comes after the source
            linked = codes >= 0
            above[self._shot[linked]] = codes[linked]
        return above, shots

    def _takes_of(self, shot: int) -> tuple[int, ...]:
        return tuple(self._order[self._starts[shot] : self._starts[shot + 1]].tolist())

    def _found(self, rows: pa.Table, column: str, names: pa.Array) -> np.ndarray:
        """For each take the code of the shot that a column names in its show, -1 where it names none."""
        if not _has(rows, column):
            return np.full(rows.num_rows, _NONE)
        wanted = pc.binary_join_element_wise(rows["show"], rows[column], "/")
        return np.asarray(pc.fill_null(pc.index_in(wanted, value_set=names), -1)).astype(np.int64)


def _has(rows: pa.Table, column: str) -> bool:
    return column in rows.column_names and rows[column].null_count < rows.num_rows


def _codes(show: pa.ChunkedArray, shot_id: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """A number for each shot, and their names."""
    encoded = pc.binary_join_element_wise(show, shot_id, "/").combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary
