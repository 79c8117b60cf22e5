"""What was ordered of a job after its plan: `jobs/<job_id>/additions/<n>.parquet`, put if absent, never rewritten.

The takes of a job are its plan and its additions. A row of an addition is either a new take, or names a take that
is there already (show, shot_id, revision, take) and gives it another priority, deadline or start.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from infra.store import layout
from infra.store.conditional import create_or_read
from infra.store.errors import Damaged, StoreUnavailable
from infra.store.jobs import read_plan
from infra.store.store import Store
from infra.store.tables import checked, from_parquet, metadata, to_parquet

if TYPE_CHECKING:
    import pyarrow as pa

ORDERED_AGAIN = ("priority", "deadline", "not_before")
"""Columns that a row about a take that is there already may change."""
_TAKE = ("show", "shot_id", "revision", "take")
_ID, _TOKEN = "rushes.addition", "rushes.token"
_MOST_TRIES = 200


def list_additions(store: Store, job_id: str) -> list[int]:
    """The numbers of a job's additions, in order, from one listing."""
    found = (layout.parse_addition_path(stat.path) for stat in store.list(layout.additions_folder(job_id)))
    return sorted(number for number in found if number is not None)


def addition_ids(store: Store, job_id: str) -> set[str]:
    """The ids under which additions were asked for."""
    paths = (layout.addition_path(job_id, number) for number in list_additions(store, job_id))
    return {id for path in paths if (id := metadata(store.read(path), path).get(_ID))}


def read_takes(store: Store, job_id: str) -> pa.Table:
    """All takes of a job: the plan's rows, then those that were added, each under the number of its row for good.

    Raises:
        NotFound: the job has no plan. Damaged: an addition is no table.
    """
    return _all(store, job_id)[0]


def with_additions(store: Store, job_id: str, takes: pa.Table) -> pa.Table:
    """These takes, the plan's, with what was added to the job since."""
    return _merged_with_all(store, job_id, takes)[0]


def add(
    store: Store, job_id: str, make: Callable[[pa.Table], pa.Table | None], *, id: str | None = None
) -> pa.Table | None:
    """Orders more takes of a job, or changes when they are due; returns the rows that stand.

    Args:
        make: from all takes of the job to the rows to add, with their columns; None or no rows adds nothing. It is
            called anew when somebody else added rows meanwhile, so that two additions never name the same new take.
        id: an addition with this id is made once; later calls return the rows that stand.

    Raises:
        NotFound: the job has no plan. StoreUnavailable: others keep adding.
    """
    for _ in range(_MOST_TRIES):
        takes, numbers, ids = _all(store, job_id)
        if id is not None and id in ids:
            return from_parquet(store.read(layout.addition_path(job_id, ids[id])), f"addition {ids[id]} of {job_id}")
        rows = make(takes)
        if rows is None or not rows.num_rows:
            return None
        number = max(numbers, default=0) + 1
        data = to_parquet(rows, {_ID: id or "", _TOKEN: uuid.uuid4().hex})
        if create_or_read(store, layout.addition_path(job_id, number), data).ours:
            return rows
    raise StoreUnavailable(f"{layout.additions_folder(job_id)}: others keep adding to it")


def merged(takes: pa.Table, rows: pa.Table) -> pa.Table:
    """The takes with an addition's rows: new ones at the end, changes of takes that are there in their place."""
    import pyarrow as pa
    import pyarrow.compute as pc

    near = pc.indices_nonzero(pc.is_in(takes["shot_id"], value_set=rows["shot_id"].combine_chunks()))
    standing = zip(*(takes[column].take(near).to_pylist() for column in _TAKE), strict=True)
    places = dict(zip(standing, near.to_pylist(), strict=True))
    names = list(zip(*(rows[column].to_pylist() for column in _TAKE), strict=True))
    new = [number for number, name in enumerate(names) if name not in places]
    changed = {places[name]: number for number, name in enumerate(names) if name in places}
    for column in ORDERED_AGAIN if changed else ():
        if column in takes.column_names and column in rows.column_names:
            values, own = takes[column].to_pylist(), rows[column].to_pylist()
            for place, number in changed.items():
                values[place] = own[number]
            field = takes.schema.field(column)
            takes = takes.set_column(takes.column_names.index(column), field, [pa.array(values, field.type)])
    more = rows.take(pa.array(new, pa.int64()))
    fitted = [
        more[f.name].cast(f.type) if f.name in more.column_names else pa.nulls(len(new), f.type) for f in takes.schema
    ]
    return pa.concat_tables([takes, pa.table(fitted, schema=takes.schema)])


def _all(store: Store, job_id: str) -> tuple[pa.Table, list[int], dict[str, int]]:
    return _merged_with_all(store, job_id, read_plan(store, job_id))


def _merged_with_all(store: Store, job_id: str, takes: pa.Table) -> tuple[pa.Table, list[int], dict[str, int]]:
    import pyarrow as pa

    numbers, ids = list_additions(store, job_id), {}
    for number in numbers:
        path = layout.addition_path(job_id, number)
        data = store.read(path)
        ids[metadata(data, path).get(_ID, "")] = number
        rows = checked(from_parquet(data, path), _TAKE, path)
        try:
            takes = merged(takes, rows)
        except pa.ArrowException as error:
            raise Damaged(f"{path}: its columns are not those of {layout.plan_path(job_id)}: {error}") from error
    return takes, numbers, {id: number for id, number in ids.items() if id}
