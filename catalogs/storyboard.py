"""A catalog in two phases: a still of each shot first, then a clip that begins with the still that people approved.

Both phases are made from the same rows. A still has a shot_id of its own, `<shot_id>.still`, so that people decide
about stills and about clips apart; it keeps the shot's seed, words and size. A clip is the shot itself as i2v.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalogs.checker import Checker
from catalogs.dependencies import first_of_each_row
from catalogs.names import Names
from catalogs.reading import Batch
from catalogs.refusal import Refusal
from catalogs.resolve import refuse_unfit
from catalogs.schema import BY_NAME, FOLDER_KEY
from catalogs.variants import derived_id, first_of_picture

SUFFIX: Final = "still"
TASK: Final = "t2v"
LEGAL: Final = (
    "t2v: its still is the first frame of its clip. Rows of other tasks start from something else; render them by"
    " themselves"
)
Shot = tuple[str, str]
"""show, shot_id."""


def still_id(shot_id: str) -> str:
    """The shot_id of a shot's still."""
    return derived_id(shot_id, SUFFIX)


def stills(
    batches: Iterable[Batch], takes: int | None = None, *, facts: Mapping[str, Any] | None = None
) -> Iterator[Batch]:
    """The catalog's first phase: one still for each shot, of variants that differ by locale alone one for all.

    Args:
        batches: of a catalog, as `read` gives them.
        takes: of each still; as many as the row asks for by default.
        facts: of the model. A shot whose clip it cannot render has no still, and takes no name.
    """
    taken = Names()
    for batch in batches:
        shots, refused = _boarded(batch, taken, facts)
        shots = shots.filter(first_of_picture(_columns(shots)).is_null())
        shots = _with(shots, "shot_id", [still_id(name) for name in shots["shot_id"].to_pylist()])
        shots = _with(shots, "task", ["still"] * shots.num_rows)
        shots = _with(shots, "duration_s", [None] * shots.num_rows)
        if takes is not None:
            shots = _with(shots, "takes", [takes] * shots.num_rows)
        yield Batch(_without_locales(shots), refused, batch.lost)


def clips(
    batches: Iterable[Batch],
    pictures: Mapping[Shot, str],
    folder: str,
    *,
    facts: Mapping[str, Any] | None = None,
) -> Iterator[Batch]:
    """The catalog's second phase: a clip for each shot whose still is approved; the others are not there.

    Args:
        batches: of the same catalog.
        pictures: URI of the approved still, by show and shot_id of the still.
        folder: URI of the folder that these URIs lie in: below it a still counts as its path there, so that a store
            may move.
        facts: of the model, as for `stills`: both phases have to agree about who has a name.
    """
    taken = Names()
    for batch in batches:
        shots, refused = _boarded(batch, taken, facts)
        first = pc.coalesce(first_of_picture(_columns(shots)), shots["shot_id"])
        names = zip(shots["show"].to_pylist(), first.to_pylist(), strict=True)
        found = [pictures.get((where, still_id(name))) for where, name in names]
        shots = _with(shots, "image_uri", found)
        shots = _with(shots, "task", ["i2v"] * shots.num_rows)
        shots = shots.filter(shots["image_uri"].is_valid())
        metadata = {**(shots.schema.metadata or {}), FOLDER_KEY: folder.encode()}
        yield Batch(shots.replace_schema_metadata(metadata), refused, batch.lost)


def _boarded(batch: Batch, names: Names, facts: Mapping[str, Any] | None) -> tuple[pa.RecordBatch, list[Refusal]]:
    """The rows that have a storyboard, and refusals of the others; one a row, as ever."""
    columns = _columns(batch.shots)
    checker = Checker(columns["row"].to_numpy())
    checker.refuse("task", np.asarray(pc.not_equal(columns["task"], TASK)), columns["task"], LEGAL)
    if facts is not None:  # what cannot be rendered in the end takes no name from a row that can
        refuse_unfit(checker, _with(batch.shots, "task", ["i2v"] * batch.shots.num_rows), facts)
    # Of variants by locale the first gives the still, so it must be known here which of them stand.
    names.refuse_repeated(checker, columns)
    if checker.good.all():
        return batch.shots, batch.refused
    return batch.shots.filter(pa.array(checker.good)), first_of_each_row([*batch.refused, *checker.refusals()])


def _without_locales(shots: pa.RecordBatch) -> pa.RecordBatch:
    """Nothing is said or written in a still: what is left of variants by locale is their picture."""
    return _with(shots, "locale", [None] * shots.num_rows)


def _columns(shots: pa.RecordBatch) -> dict[str, pa.Array]:
    return dict(zip(shots.schema.names, shots.columns, strict=True))


def _with(shots: pa.RecordBatch, name: str, values: Sequence[object]) -> pa.RecordBatch:
    index = shots.schema.get_field_index(name)
    kind = BY_NAME[name].type if name in BY_NAME else shots.schema.field(index).type
    arrays = [*shots.columns]
    arrays[index] = pa.array(values, kind)
    return pa.RecordBatch.from_arrays(arrays, schema=shots.schema)
