"""Takes ordered again: a further take of a shot, with the next number and seed, added to its job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flows.verbs.failure import Failure
from flows.verbs.origin import Origin

if TYPE_CHECKING:
    import pyarrow as pa

    from infra.settings import Settings
    from infra.store import Store
    from infra.store.decisions import TakeName

MOST_AT_ONCE = 100


def facts_of(store: Store, job_id: str, settings: Settings) -> Mapping[str, Any]:
    """What the model of a job is like.

    Raises:
        Failure: the plan does not say which model it was made for, or that one is gone or has changed since.
    """
    from flows.verbs.source import storage_options
    from infra.store.jobs import read_plan
    from model.errors import ModelError
    from model.facts import read_facts

    origin = Origin.of(read_plan(store, job_id))
    hint = "Give the render command again as a new job instead, with more takes in the catalog."
    if origin is None:
        raise Failure(f"the plan of {job_id} does not say which model it was made for", hint=hint)
    options = storage_options(origin.model, settings.store)
    try:
        facts: Mapping[str, Any] = read_facts(origin.model, storage_options=options)
    except ModelError as error:
        raise Failure(str(error), hint=f"{job_id} was planned for the model at {origin.model}.") from error
    if facts["digest"] != origin.options.get("model"):
        raise Failure(f"the model {origin.model} has changed since {job_id} was planned", hint=hint)
    return facts


def queue_retakes(
    store: Store, job_id: str, take: TakeName, facts: Mapping[str, Any], *, count: int = 1, id: str | None = None
) -> list[int]:
    """Adds takes of a shot to its job, under numbers that nobody has used; returns these numbers.

    The takes that there are stay. Safe beside others who add takes of the same shot, and while the job runs.

    Args:
        take: any take of the shot's revision in this job.
        facts: of the job's model, as `facts_of` tells them.
        count: how many, up to `MOST_AT_ONCE`.
        id: of the request: a second call with the same one adds nothing and returns the same numbers.

    Raises:
        Failure: the job has no such take, or plans under other keys. StoreError.
    """
    from infra.store.additions import add

    _check_count(count)
    rows = add(store, job_id, _further(store, job_id, take, facts, count), id=id)
    return [] if rows is None else list(map(int, rows["take"].to_pylist()))


def set_priority(store: Store, job_id: str, show: str, shot_id: str, priority: int) -> int:
    """Gives all takes of a shot another priority, as an addition to its job; returns how many it changed.

    A running job goes by it from its next run on. Raises StoreError.
    """
    from infra.store.additions import add

    def make(takes: pa.Table) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        own = takes.filter(pc.and_(pc.equal(takes["show"], show), pc.equal(takes["shot_id"], shot_id)))
        own = own.filter(pc.fill_null(pc.not_equal(own["priority"], priority), True))
        place, field = own.column_names.index("priority"), own.schema.field("priority")
        return own.set_column(place, field, pa.array([priority] * own.num_rows, field.type)).replace_schema_metadata()

    rows = add(store, job_id, make)
    return 0 if rows is None else int(rows.num_rows)


def check_retake(store: Store, job_id: str, take: TakeName, facts: Mapping[str, Any], count: int = 1) -> None:
    """Raises what `queue_retakes` would raise; adds nothing."""
    from infra.store.additions import read_takes

    _check_count(count)
    _further(store, job_id, take, facts, count)(read_takes(store, job_id))


def _check_count(count: int) -> None:
    if not 1 <= count <= MOST_AT_ONCE:
        raise Failure(f"{count} new takes were asked for; it must be 1 to {MOST_AT_ONCE}")


def _further(
    store: Store, job_id: str, take: TakeName, facts: Mapping[str, Any], count: int
) -> Callable[[pa.Table], pa.Table]:
    def make(takes: pa.Table) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        own = takes
        for column in ("show", "shot_id", "revision"):
            own = own.filter(pc.equal(own[column], getattr(take, column)))
        if not own.num_rows:
            raise Failure(f"{job_id} has no takes of {take.show}/{take.shot_id} of revision {take.revision}")
        last = own.sort_by("take").slice(own.num_rows - 1).to_pylist()[0]
        _same_keys(last, facts, job_id)
        first = 1 + max(int(last["take"]), _highest_filmed(store, take))
        shard = 1 + int(pc.max(takes["shard"]).as_py())
        rows = [_numbered(last, number, shard, facts) for number in range(first, first + count)]
        return pa.Table.from_pylist(rows, schema=takes.schema.remove_metadata())

    return make


def _numbered(row: Mapping[str, Any], number: int, shard: int, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The row of another take of the same shot; its keys stay open where those of the row are."""
    from catalogs.keys import picture_key, spec_fields, spec_key

    made = {**row, "take": number, "seed": row["seed"] - row["take"] + number, "shard": shard, "cached": False}
    if row["spec_key"] is not None:
        fields = spec_fields(made, facts)
        made |= {"spec_key": spec_key(fields), "picture_key": picture_key(fields)}
    return made


def _same_keys(row: Mapping[str, Any], facts: Mapping[str, Any], job_id: str) -> None:
    from catalogs.keys import spec_fields, spec_key

    if row["spec_key"] is not None and spec_key(spec_fields(row, facts)) != row["spec_key"]:
        raise Failure(
            f"{job_id} was planned under other keys than this rushes makes",
            hint="Another version planned it: use that one, or render the catalog again as a new job.",
        )


def _highest_filmed(store: Store, take: TakeName) -> int:
    """The highest number of a take of this revision that was ever filmed, by whichever job."""
    from infra.store import layout

    names = (layout.parse_media_path(f.path) for f in store.list(f"{layout.MEDIA}/{take.show}/{take.shot_id}"))
    return max((name.take for name in names if name is not None and name.revision == take.revision), default=0)
