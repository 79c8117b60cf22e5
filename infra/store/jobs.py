"""What a job leaves in the store: plan, quarantine by rounds, shard tables, manifest."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from infra.store import layout, strict
from infra.store.conditional import create_or_read, replace_or_read
from infra.store.errors import Changed, Damaged, NotFound, PlanDiffers, StoreUnavailable, Superseded
from infra.store.layout import Take
from infra.store.store import Store
from infra.store.tables import TAKE_COLUMNS, checked, first_difference, from_parquet, lacking, metadata, to_parquet

if TYPE_CHECKING:
    import pyarrow as pa

_THREADS = 16
_EPOCH = "rushes.epoch"
_log = logging.getLogger(__name__)


_TEXTS = {"error_class", "message", "traceback", "replay", "log", "spec_key", "revision", "exception", "recorded", "at"}
_MOST_ATTEMPTS = 2**31 - 1


class _Unreadable(NamedTuple):
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class View(NamedTuple):
    """A manifest, and when it was written by the store's own clock, or a little before."""

    table: pa.Table
    written: datetime


def list_jobs(store: Store) -> list[str]:
    """The ids of the jobs that have a plan, sorted. Folders that others made there (`.ipynb_checkpoints`) are none."""
    named = (job for job in store.folders(layout.JOBS) if layout.NAME.fullmatch(job))
    return sorted(job for job in named if store.stat(layout.plan_path(job)) is not None)


def put_plan(store: Store, job_id: str, takes: pa.Table) -> pa.Table:
    """Put the plan if the job has none, and return the plan that stands. PlanDiffers when that is another one.

    Two plans are the same when they order the same takes with the same columns, in any order. Columns that the
    planner computes from something other than the order (cost, sharding, what was cached) may differ, and a key
    that only one of them could resolve (an input was out of reach) does not count.
    """
    settled = create_or_read(store, layout.plan_path(job_id), to_parquet(takes))
    if settled.ours:
        return takes
    return _same(store, job_id, from_parquet(settled.data, layout.plan_path(job_id)), takes)


def check_plan(store: Store, job_id: str, takes: pa.Table) -> None:
    """Whether `put_plan` would refuse these takes, without writing. PlanDiffers where the job has another plan."""
    if store.stat(layout.plan_path(job_id)) is not None:
        _same(store, job_id, read_plan(store, job_id), takes)


def _same(store: Store, job_id: str, standing: pa.Table, takes: pa.Table) -> pa.Table:
    difference = first_difference(standing, takes)
    if difference:
        raise PlanDiffers(
            f"job {job_id} in {store.url} already has another plan ({difference}); a plan is never rewritten: "
            "render under another --job NAME, or add its new shots to the job: rushes add"
        )
    return standing


def read_plan(store: Store, job_id: str) -> pa.Table:
    """The job's plan, one row per take. NotFound where there is none, Damaged for what is no plan."""
    path = layout.plan_path(job_id)
    return checked(from_parquet(store.read(path), path), TAKE_COLUMNS, path)


def current_round(store: Store, job_id: str) -> int:
    """The number of the newest round, from 1."""
    rounds = (layout.parse_round_path(found.path) for found in store.list(layout.rounds_folder(job_id)))
    return max((number for number in rounds if number is not None), default=1)


def open_round(store: Store, job_id: str, *, by: str = "") -> int:
    """Open the next round (`retry`) and return its number; takes quarantined in earlier rounds are pending again.

    Of several calls at once all return the same new round.
    """
    number = current_round(store, job_id) + 1
    record = {"round": number, "opened": _now(), "by": by}
    create_or_read(store, layout.round_path(job_id, number), _json(record))
    return number


def record_quarantine(store: Store, job_id: str, record: Mapping[str, Any]) -> bool:
    """Note that a take is given up in this round. False when the round already has a record of it, which stays.

    `record` holds show, shot_id, take and round, and whatever tells people why and how to replay it (error_class,
    message, traceback, replay, attempts, gpu_s, spec_key).
    """
    path = layout.quarantine_path(job_id, record["show"], record["shot_id"], record["take"], record["round"])
    return create_or_read(store, path, _json({"recorded": _now(), **record})).ours


def quarantined(store: Store, job_id: str, *, round: int | None = None) -> set[Take]:
    """The takes that have a record in a round (the newest unless given), from one listing, without reading any."""
    number = current_round(store, job_id) if round is None else round
    return {take for _, take, found in _records(store, job_id) if found == number}


def list_quarantine(
    store: Store, job_id: str, *, round: int | None = None, all_rounds: bool = False
) -> list[dict[str, Any]]:
    """The records of a round (the newest unless given), or of all rounds, sorted by round, show, shot and take.

    A take is given up by the name of its record, so one that cannot be read counts too, and says so as its message.
    """
    number = current_round(store, job_id) if round is None else round
    records = []
    for record, fault in _read_records(store, job_id, None if all_rounds else number):
        if fault is not None:
            _log.warning("%s", fault)
            record["message"] = f"the record cannot be read: {fault}"
        records.append(record)
    return sorted(records, key=lambda record: (record["round"], record["show"], record["shot_id"], record["take"]))


def damaged_quarantine(store: Store, job_id: str) -> list[tuple[str, str]]:
    """The records of all rounds that cannot be read: path, and why."""
    return [(fault.path, fault.reason) for _, fault in _read_records(store, job_id, None) if fault is not None]


def _read_records(store: Store, job_id: str, number: int | None) -> Iterator[tuple[dict[str, Any], _Unreadable | None]]:
    """The records of a round, or of all; of one that cannot be read what its name tells, and the reason."""
    wanted = [entry for entry in _records(store, job_id) if number is None or entry[2] == number]

    def read(entry: tuple[str, Take, int]) -> tuple[dict[str, Any], _Unreadable | None] | None:
        path, take, in_round = entry
        named: dict[str, Any] = {**take._asdict(), "round": in_round}
        try:
            record = strict.read_object(store.read(path))
            _check_record(record, named)
        except NotFound:  # forgotten since the listing
            return None
        except ValueError as error:
            return named, _Unreadable(path, str(error))
        return record, None

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="rushes-quarantine") as pool:
        yield from (found for found in pool.map(read, wanted) if found is not None)


def _check_record(record: Mapping[str, Any], named: Mapping[str, Any]) -> None:
    """ValueError for a record of another take than its name says, or with values that no reader can use."""
    for name, value in named.items():
        if type(record.get(name)) is not type(value) or record[name] != value:
            raise ValueError(f"{name} is {str(record.get(name))[:40]!r}, its name says {value!r}")
    for name in _TEXTS & record.keys():
        if not isinstance(record[name], str | None):
            raise ValueError(f"{name} is no text")
    if not (record.get("gpu_s") is None or strict.is_amount(record["gpu_s"])):
        raise ValueError(f"gpu_s is {str(record['gpu_s'])[:40]}")
    if not (record.get("attempt") is None or strict.is_count(record["attempt"], _MOST_ATTEMPTS)):
        raise ValueError(f"attempt is {str(record['attempt'])[:40]}")


def compact_quarantine(store: Store, job_id: str) -> pa.Table:
    """Write all records of all rounds as one table, `quarantine.parquet`, for people and notebooks; returns it."""
    import pyarrow as pa

    records = list_quarantine(store, job_id, all_rounds=True)
    flat = [{key: value if _plain(value) else json.dumps(value) for key, value in record.items()} for record in records]
    keys = list(dict.fromkeys(key for record in flat for key in record))
    table = pa.table({key: _column([record.get(key) for record in flat]) for key in keys})
    store.write(layout.quarantine_table_path(job_id), to_parquet(table))
    return table


def write_shard(store: Store, job_id: str, number: int, table: pa.Table) -> None:
    """The commits of a shard in one table, overwriting: a shard's commits do not change, so all writers agree."""
    store.write(layout.shard_path(job_id, number), to_parquet(table))


def read_shard(store: Store, job_id: str, number: int) -> pa.Table:
    path = layout.shard_path(job_id, number)
    return from_parquet(store.read(path), path)


def write_manifest(store: Store, job_id: str, table: pa.Table, *, epoch: int = 0) -> None:
    """Put the manifest, a view that is made anew from plan, commits and quarantine each time.

    Written with If-Match. Superseded when the one that stands came from a higher epoch: another owner has the job.
    StoreUnavailable when others keep writing it for as long as an operation may take.
    """
    path = layout.manifest_path(job_id)
    data = to_parquet(table, {_EPOCH: str(epoch)})
    for _ in range(10):
        try:
            standing, tag = store.read_tagged(path)
        except NotFound:
            if create_or_read(store, path, data).ours:
                return
            continue
        try:
            found = int(metadata(standing, path).get(_EPOCH, "0"))
        except (Damaged, ValueError):  # a view that cannot be read is made anew
            found = 0
        if found > epoch:
            raise Superseded(f"{path} was written by epoch {found}, after our {epoch}")
        try:
            if replace_or_read(store, path, data, tag).ours:
                return
        except Changed:
            continue
    raise StoreUnavailable(f"{path}: others keep writing it")


def read_manifest(store: Store, job_id: str) -> pa.Table:
    """The job's manifest. NotFound where none was written yet."""
    path = layout.manifest_path(job_id)
    return from_parquet(store.read(path), path)


def usable_manifest(store: Store, job_id: str, columns: Iterable[str]) -> View | None:
    """The job's manifest for a reader of these columns. None where there is none, or it cannot be read, or lacks some:
    a view is made anew, and damage to it stops nobody.
    """
    path = layout.manifest_path(job_id)
    found = store.stat(path)  # before it is read: what is written in between counts as later than the view
    if found is None:
        return None
    try:
        table = read_manifest(store, job_id)
    except (NotFound, Damaged) as error:
        _log.warning("%s; it is made anew", error)
        return None
    if (reason := lacking(table, columns)) is not None:
        _log.warning("%s: %s; it is made anew", path, reason)
        return None
    return View(table, found.modified)


def _records(store: Store, job_id: str) -> Iterator[tuple[str, Take, int]]:
    for found in store.list(layout.quarantine_folder(job_id)):
        named = layout.parse_quarantine_path(found.path)
        if named is not None:
            yield found.path, *named


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _column(values: Iterable[Any]) -> pa.Array:
    """A column of one type; text where the records disagree."""
    import pyarrow as pa

    listed = list(values)
    try:
        return pa.array(listed)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in listed], pa.string())


def _json(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, indent=1, default=str).encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
