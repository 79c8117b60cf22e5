"""Whether a row names what its task is given: the rules of the input columns and of `keep_frames`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalogs.checker import Checker
from catalogs.convert import Cells
from catalogs.tasks import INFILLS, KEEP_LEGAL, TASKS, frames_text, parse_frames, users

_WHAT = {"image_uri": "a picture", "last_image_uri": "a picture", "video_uri": "a film", "mask_uri": "a mask"}


def given(cells: Cells | None, rows: int) -> np.ndarray:
    """Where a column has any value, (n,) bool."""
    if cells is None:
        return np.zeros(rows, bool)
    return np.array([cell is not None for cell in cells]) if isinstance(cells, list) else np.asarray(cells.is_valid())


def check_input(
    checker: Checker, column: str, values: pa.Array, cells: Cells, shots: Mapping[str, pa.Array], depends: np.ndarray
) -> None:
    """Refuses an input that the row's task ignores, and one that it needs and lacks.

    A row with an input that its task ignores most likely forgot its task: the film would be rendered, and paid for,
    without it.

    Args:
        column: of the catalog, one of `tasks.INPUTS`.
        values, cells: the column, converted and as it came, (n,).
        shots: the columns before it.
        depends: rows that take their source from another shot, (n,) bool.
    """
    named = np.asarray(values.is_valid())
    kinds = shots["task"].dictionary_encode()
    place = kinds.indices.to_numpy()
    looked_at = np.zeros(len(named), bool)
    for number, kind in enumerate(kinds.dictionary.to_pylist()):
        task, rows = TASKS.get(kind), place == number
        if task is None or column not in task.uses:
            continue
        looked_at |= rows
        either = next((names for names in task.needs if column in names), ())
        missing = rows & ~named
        for name in either:
            if name != column and name in shots:
                other = np.asarray(shots[name].is_valid())
                checker.refuse(column, rows & named & other, cells, f"null where {name} is given: one of them is taken")
                missing &= ~other
        if either and column == either[0]:  # the last of them to be looked at
            if task.source == column:
                missing &= ~depends
            what = "a film, or a picture" if (kind, column) == ("connect", "last_image_uri") else _WHAT[column]
            legal = f"{what}{_or_else(either)}: the task {kind} needs one"
            checker.refuse(column, missing, cells, legal)
    legal = f"null for this task; it is an input of {', '.join(users(column))}"
    checker.refuse(column, named & ~looked_at, cells, legal)


def _or_else(either: tuple[str, ...]) -> str:
    return "".join(f", or {_WHAT[name]} in {name}" for name in either[1:])


def check_keep_frames(checker: Checker, values: pa.Array, cells: Cells, task: pa.Array) -> pa.Array:
    """Refuses what are no frame numbers, or where nothing is filled in; returns them in the one form for keys."""
    named = np.asarray(values.is_valid())
    if not named.any():
        return values
    fills = np.asarray(pc.is_in(task, pa.array(INFILLS, pa.string())))
    checker.refuse("keep_frames", named & ~fills, cells, f"null for this task; it is for {', '.join(INFILLS)}")
    encoded = values.dictionary_encode()
    texts: list[str | None] = []
    for text in encoded.dictionary.to_pylist():
        try:
            texts.append(frames_text(parse_frames(text)))
        except ValueError:
            texts.append(None)
    known = pa.array(texts, pa.string()).take(encoded.indices)
    checker.refuse("keep_frames", named & np.asarray(known.is_null()), cells, KEEP_LEGAL)
    return known
