"""From the plan to takes and take orders: reading a job's state from the store, and keys that the plan left open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from math import inf
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from actors.job import InputRules, JobSpec
from actors.policy import Assignment
from actors.rendering import INPUTS, Failure
from actors.scheduler import Scheduler
from actors.takes import Take
from catalogs.keys import picture_key, spec_fields, spec_key
from infra.inputs import digest_input
from infra.store import Store
from infra.store.commits import committed_keys, read_commit, read_many
from infra.store.errors import CommitUnreadable
from infra.store.jobs import quarantined, read_plan
from infra.store.layout import Take as TakeName
from infra.store.layout import log_path

_COLUMNS = (
    "show", "shot_id", "priority", "deadline", "not_before", "budget_gpu_s", "cost_gpu_s", "render_width",
    "render_height", "render_frames",
)  # fmt: skip
CACHED_READ_MOST = 2000
"""Commits that are read at the start for the GPU seconds they had cost; beyond, the plan's estimate counts."""


@dataclass
class Ledger:
    """A job as plan and store tell it.

    rows: the plan's takes; a take's id is its row's number. done: ids that are committed, with the GPU seconds that
    they had cost. given_up: ids that are quarantined in this round.
    """

    rows: pa.Table
    done: dict[int, float]
    given_up: set[int]

    @classmethod
    def read(cls, store: Store, spec: JobSpec) -> Ledger:
        """Reads plan, commits and the round's quarantine. Raises StoreError; NotFound where the job has no plan."""
        rows = read_plan(store, spec.job_id)
        listed = pc.is_in(rows["spec_key"], value_set=pa.array(sorted(committed_keys(store)), rows["spec_key"].type))
        numbers = pc.indices_nonzero(listed)
        keys, costs = rows["spec_key"].take(numbers).to_pylist(), rows["cost_gpu_s"].take(numbers).to_pylist()
        done = seconds_cached(store, list(zip(numbers.to_pylist(), keys, (cost or 0.0 for cost in costs), strict=True)))
        return cls(rows, done, _rows_of(rows, quarantined(store, spec.job_id, round=spec.round)) - done.keys())

    def settle(self, scheduler: Scheduler) -> None:
        """Tells the scheduler of the takes that need no rendering."""
        shards: Sequence[int] = self.rows["shard"].to_numpy()
        cached, given_up = Counter(shards[take] for take in self.done), Counter(shards[take] for take in self.given_up)
        for shard in sorted({*cached, *given_up}):
            scheduler.add_settled(int(shard), cached=cached[shard], quarantined=given_up[shard])
        scheduler.accounts.book_cached(sum(self.done.values()))
        for take in self._capped():
            row = self.rows.slice(take, 1)
            scheduler.charge((row["show"][0].as_py(), row["shot_id"][0].as_py()), self.done[take])

    def _capped(self) -> set[int]:
        """Takes that are done and whose shots have a budget."""
        return set(pc.indices_nonzero(pc.is_valid(self.rows["budget_gpu_s"])).to_pylist()) & self.done.keys()

    @cached_property
    def shard_sizes(self) -> dict[int, int]:
        """Takes by shard."""
        return {entry["values"]: entry["counts"] for entry in self.rows["shard"].value_counts().to_pylist()}

    @cached_property
    def planned(self) -> float:
        """Planned GPU seconds of the takes that are to be rendered."""
        costs = self.rows["cost_gpu_s"].to_numpy(zero_copy_only=False).astype(float)
        costs[[*self.done, *self.given_up]] = 0.0
        return float(np.nansum(costs))

    @property
    def pending(self) -> int:
        """Takes that are to be rendered."""
        return self.rows.num_rows - len(self.done) - len(self.given_up)

    def shards_in_order(self) -> list[int]:
        """Shards as they should be loaded: the most urgent first, then the planner's own order."""
        table = pa.table({name: self.rows[name] for name in ("shard", "priority", "deadline")})
        grouped = table.group_by("shard").aggregate([("priority", "max"), ("deadline", "min")]).to_pylist()
        return [
            row["shard"]
            for row in sorted(
                grouped,
                key=lambda row: (-(row["priority_max"] or 0), seconds(row["deadline_min"]) or inf, row["shard"]),
            )
        ]

    def takes_of(self, shard: int) -> list[Take]:
        """The takes of a shard that are to be rendered."""
        chosen = pc.indices_nonzero(pc.equal(self.rows["shard"], shard))
        columns = [self.rows[name].take(chosen).to_pylist() for name in _COLUMNS]
        takes = []
        for number, values in zip(chosen.to_pylist(), zip(*columns, strict=True), strict=True):
            if number in self.done or number in self.given_up:
                continue
            row = dict(zip(_COLUMNS, values, strict=True))
            takes.append(
                Take(
                    id=number,
                    shot=(row["show"], row["shot_id"]),
                    shape=(row["render_width"], row["render_height"], row["render_frames"]),
                    shard=shard,
                    cost=float(row["cost_gpu_s"] or 0.0),
                    priority=row["priority"] or 0,
                    deadline=seconds(row["deadline"]),
                    not_before=seconds(row["not_before"]),
                    budget=row["budget_gpu_s"],
                )
            )
        return takes

    def order(self, given: Assignment, spec: JobSpec) -> dict[str, Any]:
        """The take order: the plan's row, and which attempt of which job this is."""
        row: dict[str, Any] = self.rows.slice(given.take.id, 1).to_pylist()[0]
        return row | {
            "id": given.take.id,
            "attempt": given.attempt,
            "job_id": spec.job_id,
            "epoch": spec.epoch,
            "precision": given.precision,
            "low_memory": given.low_memory,
        }


@dataclass(frozen=True, slots=True)
class Prepared:
    """An order that is ready to be rendered; or whose take stands in the store already; or that cannot be rendered."""

    order: dict[str, Any]
    commit: dict[str, Any] | None = None
    failure: Failure | None = None


def prepare_order(store: Store, order: Mapping[str, Any], spec: JobSpec, rules: InputRules, life: int) -> Prepared:
    """What must be known before a gang is occupied: keys, and whether the take has been committed meanwhile.

    life: how often the job's dispatcher has died. After a death attempts are numbered above those that left a log.
    Never raises; runs in a thread.
    """
    ready = dict(order)
    try:
        if life:
            ready["attempt"] = _free_attempt(store, ready, spec)
        ready = resolve_keys(ready, spec, rules)
        return Prepared(ready, _standing(store, ready["spec_key"]))
    except Exception as error:
        return Prepared(ready, failure=Failure.of(error))


def resolve_keys(order: Mapping[str, Any], spec: JobSpec, rules: InputRules) -> dict[str, Any]:
    """The order with the keys that the plan left open, because an input could not be read then.

    Raises the errors of ``infra.inputs`` where it still cannot.
    """
    if order.get("spec_key"):
        return dict(order)
    digests = {
        digest: digest_input(
            order[uri],
            roots=rules.roots,
            max_bytes=rules.max_bytes,
            storage_options=rules.options,
            timeout_s=rules.timeout_s,
        )
        for uri, digest in INPUTS.items()
        if order.get(uri)
    }
    fields = spec_fields(order, spec.model_facts, precision=spec.precision, **digests)
    return {**order, **digests, "spec_key": spec_key(fields), "picture_key": picture_key(fields)}


def _standing(store: Store, key: str) -> dict[str, Any] | None:
    try:
        return read_commit(store, key)
    except CommitUnreadable:  # it counts for nothing: rendering the take replaces it
        return None


def _free_attempt(store: Store, order: Mapping[str, Any], spec: JobSpec) -> int:
    names = (order["show"], order["shot_id"], order["revision"], order["take"], spec.job_id, spec.epoch)
    attempt = int(order["attempt"])
    while store.stat(log_path(*names, attempt)) is not None:
        attempt += 1
    return attempt


def seconds_cached(store: Store, keys: list[tuple[int, str, float]]) -> dict[int, float]:
    """GPU seconds that commits had cost, by take id; a commit that cannot be read is left out: its take is not done.

    keys: (take id, spec_key, planned cost) of takes whose commits were listed. Beyond ``CACHED_READ_MOST`` the name is
    believed and the planned cost is counted; ``verify`` reads all.
    """
    looked_at, believed = keys[:CACHED_READ_MOST], keys[CACHED_READ_MOST:]
    commits = read_many(store, [key for _, key, _ in looked_at])
    found = {take: planned for take, _, planned in believed}
    for take, key, _ in looked_at:
        commit = commits.get(key)
        if isinstance(commit, dict):
            found[take] = float(commit["gpu_s"])
    return found


def _rows_of(rows: pa.Table, takes: set[TakeName]) -> set[int]:
    if not takes:
        return set()
    shots = pa.array({take.shot_id for take in takes}, rows["shot_id"].type)
    near = pc.indices_nonzero(pc.is_in(rows["shot_id"], value_set=shots))
    names = zip(*(rows[name].take(near).to_pylist() for name in ("show", "shot_id", "take")), strict=True)
    return {number for number, name in zip(near.to_pylist(), names, strict=True) if name in takes}


def frame_bytes(order: Mapping[str, Any]) -> int:
    """Bytes of a take's frames as the renderer returns them (uint8)."""
    return int(order["render_width"]) * int(order["render_height"]) * int(order["render_frames"]) * 3


def seconds(value: datetime | float | None) -> float | None:
    """A timestamp of the plan as seconds since the epoch."""
    return value.timestamp() if isinstance(value, datetime) else value
