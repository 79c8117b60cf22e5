"""The names of a catalog's shots: each stands once in a show, and of several rows the first that can render has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalogs.checker import Checker
from catalogs.digests import DigestSet
from catalogs.keys import identities

_LEGAL: Final = "a shot_id that stands once in a show: an earlier row has it"


class Names:
    """Remembers the names that are taken, batch by batch, in little memory for each."""

    def __init__(self) -> None:
        self._taken = DigestSet()

    def refuse_repeated(self, checker: Checker, shots: Mapping[str, pa.Array]) -> None:
        """Refuses shots whose name is taken; those that are good take theirs, so this is the last rule of all.

        A row with variants takes its own name, which stays free of shots, and then that of each variant.

        Args:
            checker: of the shots, some of which may be refused already.
            shots: columns row, show, shot_id and parent; the shots of one row follow one another.
        """
        good = np.nonzero(checker.good)[0]
        if not len(good):
            return
        rows = shots["row"].to_numpy()[good]
        starts = np.append(True, rows[1:] != rows[:-1])
        variants = good[np.asarray(shots["parent"].is_valid())[good]]
        own = pc.coalesce(shots["parent"], shots["shot_id"])
        heads = good[starts]
        places = np.concatenate([heads, variants])
        names = pa.concat_arrays([own.take(pa.array(heads)), shots["shot_id"].take(pa.array(variants))])
        order = np.argsort(places, kind="stable")  # a row's own name comes before those of its variants
        repeated = np.empty(len(order), bool)
        repeated[order] = self._taken.add(identities(shots["show"].take(pa.array(places)), names)[order])
        bad = np.zeros(len(checker.rows), bool)
        bad[good] = repeated[: len(heads)][np.cumsum(starts) - 1]
        checker.refuse("shot_id", bad, own, _LEGAL)
        bad = np.zeros(len(checker.rows), bool)
        bad[variants] = repeated[len(heads) :]
        checker.refuse("shot_id", bad, shots["shot_id"], _LEGAL)
