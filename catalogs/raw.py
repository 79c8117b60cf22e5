"""What a reader of one format hands on: rows as they stand in the file, of any type."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from catalogs.errors import CatalogError
from catalogs.refusal import Refusal, show
from catalogs.schema import REQUIRED


class Raw(NamedTuple):
    """Rows of a catalog before any rule.

    Attributes:
        rows: their numbers in the file, (n,) int64.
        columns: each (n,): an Arrow array, or a list of Python objects where a text file mixes types.
        refused: rows that could not be read at all; they are not among `rows`.
    """

    rows: np.ndarray
    columns: dict[str, pa.Array | list[Any]]
    refused: list[Refusal]


def check_columns(names: Collection[str], shown: str) -> None:
    """Refuses a catalog that lacks a required column, or has two of one name.

    Raises:
        CatalogError: naming the columns that were found.
    """
    found = show(", ".join(list(names)[:20])) if names else "none"
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise CatalogError(
            f"the catalog {shown} has no column {' and no column '.join(missing)}. Its columns: {found}."
            f" Every shot needs shot_id and prompt{_other_separator(names)}"
        )
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice == [""]:
        raise CatalogError(
            f"the catalog {shown} has columns without a name;"
            " name them, or take the separators off the ends of its lines"
        )
    if twice:
        raise CatalogError(f"the catalog {shown} has the column {', '.join(twice)} twice; rename one of them")


def _other_separator(names: Collection[str]) -> str:
    """A hint where the one name that was found is a header that another character separates."""
    (only,) = names if len(names) == 1 else ("",)
    for separator, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if set(REQUIRED) <= {name.strip().strip('"') for name in only.split(separator)}:
            return f". Its columns are separated by {called}: write it with commas"
    return ""
