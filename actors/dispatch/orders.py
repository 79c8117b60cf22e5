"""From the plan to takes and take orders: a job's state as the store tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from math import inf
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from actors.chains.cached import seconds_cached, vouched_for
from actors.chains.chains import Chains
from actors.chains.found import find_linked
from actors.job import JobSpec
from actors.scheduling.policy import Assignment
from actors.scheduling.scheduler import Scheduler
from actors.scheduling.takes import Take
from infra.store import Store
from infra.store.additions import read_takes
from infra.store.commits import keys_since
from infra.store.jobs import quarantined, usable_manifest
from infra.store.keeping import Kept, keep_of, kept
from infra.store.layout import Take as TakeName

_COLUMNS = (
    "show", "shot_id", "take", "takes", "keep", "priority", "deadline", "not_before", "budget_gpu_s", "cost_gpu_s",
    "render_width", "render_height", "render_frames",
)  # fmt: skip


@dataclass(frozen=True)
class Additions:
    """Takes that were added to a job: all rows as they are now, which of the new ones are committed, and the links."""

    rows: pa.Table
    done: Mapping[int, float]
    chains: Chains


@dataclass
class Ledger:
    """A job as plan and store tell it.

    rows: the job's takes, the plan's and then what was added; a take's id is its row's number. done: ids that are
    committed, with the GPU seconds that they had cost. given_up: ids that are quarantined in this round. standing: keys
    of takes that stand in the store and that others come after, by id. started: of takes whose keys the plan left open
    because they start from another shot, the key of the take that they started from. linked: those of them that were
    found done when the job was read.
    """

    rows: pa.Table
    done: dict[int, float]
    given_up: set[int]
    standing: dict[int, str] = field(default_factory=dict)
    started: dict[int, str] = field(default_factory=dict)
    linked: dict[int, str] = field(default_factory=dict)
    kept: Kept = field(default_factory=Kept)

    @classmethod
    def read(cls, store: Store, spec: JobSpec) -> Ledger:
        """Reads plan, commits and the round's quarantine. Raises StoreError; NotFound where the job has no plan."""
        rows = read_takes(store, spec.job_id)
        view = usable_manifest(store, spec.job_id, ("spec_key", "state", "gpu_s"))
        committed, later = keys_since(store, None if view is None else view.written)
        vouched = {} if view is None else vouched_for(view.table, later)
        listed = pc.is_in(rows["spec_key"], value_set=pa.array(sorted(committed), rows["spec_key"].type))
        numbers = pc.indices_nonzero(listed)
        keys, costs = rows["spec_key"].take(numbers).to_pylist(), rows["cost_gpu_s"].take(numbers).to_pylist()
        done = seconds_cached(
            store, list(zip(numbers.to_pylist(), keys, (cost or 0.0 for cost in costs), strict=True)), vouched
        )
        ledger = cls(rows, done, _rows_of(rows, quarantined(store, spec.job_id, round=spec.round)))
        if ledger.chains.any:
            ledger._find_linked(store, spec, committed)
        ledger.given_up -= done.keys()
        keys = _Keys(rows["spec_key"], ledger.linked)
        ledger.kept = kept(store, rows, keys, done=done.keys(), given_up=ledger.given_up)
        return ledger

    @cached_property
    def chains(self) -> Chains:
        """Which takes come after which others."""
        return Chains(self.rows)

    def _find_linked(self, store: Store, spec: JobSpec, committed: set[str]) -> None:
        """Takes that start from others and stand in the store, whichever of the others they started from."""
        for take in self.done:
            if self.chains.awaited(take):
                self.standing[take] = self.rows["spec_key"][take].as_py()
        linked = find_linked(
            store, self.rows, self.chains, self.standing, committed.__contains__, spec.model_facts, spec.precision
        )
        costs = self.rows["cost_gpu_s"]
        done = seconds_cached(store, [(take, key, costs[take].as_py() or 0.0) for take, (key, _) in linked.items()])
        self.done |= done
        for take, (key, source) in linked.items():
            self.standing[take], self.started[take] = key, source
        self.linked = {take: key for take, (key, _) in linked.items() if take in done}

    def additions(self, store: Store, spec: JobSpec) -> Additions | None:
        """What was added to the job since it was read; None where nothing was. Changes nothing. Raises StoreError."""
        rows, first = read_takes(store, spec.job_id), self.rows.num_rows
        if rows.num_rows <= first:
            return None
        new = rows.slice(first)
        costs = new["cost_gpu_s"].to_pylist()
        keys = [(first + n, key, costs[n] or 0.0) for n, key in enumerate(new["spec_key"].to_pylist()) if key]
        return Additions(rows, seconds_cached(store, keys), Chains(rows))

    def take_in(self, found: Additions) -> dict[int, list[int]]:
        """Takes in what was added: the ids of the new takes, by shard. Takes that were there keep theirs."""
        first = self.rows.num_rows
        self.rows = found.rows
        self.done |= found.done
        for stale in ("shard_sizes", "planned"):
            self.__dict__.pop(stale, None)
        self.__dict__["chains"] = found.chains
        shards: dict[int, list[int]] = {}
        for number, shard in enumerate(found.rows["shard"].slice(first).to_pylist(), first):
            shards.setdefault(int(shard), []).append(number)
        return shards

    def stands(self, take: int, key: str, source: str | None) -> None:
        """A take has been committed, or was found so: those that come after it may need its key."""
        if self.chains.awaited(take):
            self.standing[take] = key
        if source is not None:
            self.started[take] = source

    def settle(self, scheduler: Scheduler) -> None:
        """Tells the scheduler of the takes that need no rendering."""
        shards: Sequence[int] = self.rows["shard"].to_numpy()
        cached, given_up = Counter(shards[take] for take in self.done), Counter(shards[take] for take in self.given_up)
        skipped = Counter(shards[take] for take in self.kept.skipped)
        for shard in sorted({*cached, *given_up, *skipped}):
            scheduler.add_settled(int(shard), cached=cached[shard], quarantined=given_up[shard], skipped=skipped[shard])
        for shot, passed in self.kept.passed.items():
            scheduler.note_passed(shot, passed)
        scheduler.accounts.book_cached(sum(self.done.values()))
        for take in (*self.done, *self.given_up, *self.kept.skipped):
            if self.chains.awaited(take):
                scheduler.note_settled(take, done=take in self.done)
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
        costs[[*self.done, *self.given_up, *self.kept.skipped]] = 0.0
        return float(np.nansum(costs))

    @property
    def pending(self) -> int:
        """Takes that are to be rendered."""
        return self.rows.num_rows - len(self.done) - len(self.given_up) - len(self.kept.skipped)

    def shards_in_order(self) -> list[int]:
        """Shards as they should be loaded: the most urgent first, then the planner's own order."""
        table = pa.table({name: self.rows[name] for name in ("shard", "priority", "deadline")})
        depth = np.zeros(self.rows.num_rows, np.int64)
        if self.chains.any:  # what others wait for is as urgent as they are, and comes before them
            depth = self.chains.depth()
            due = pc.fill_null(pc.cast(table["deadline"].cast(pa.int64()), pa.float64()), inf).to_numpy()
            lent = -self.chains.lent(-due)
            urgent = pa.array(np.where(np.isinf(lent), 0, lent).astype(np.int64), mask=np.isinf(lent))
            table = table.set_column(2, "deadline", urgent.cast(table["deadline"].type))
            priority = pc.fill_null(table["priority"], 0).to_numpy()
            table = table.set_column(1, "priority", pa.array(self.chains.lent(priority).astype(np.int64)))
        table = table.append_column("depth", pa.array(depth))
        aims = [("priority", "max"), ("deadline", "min"), ("depth", "min")]
        grouped = table.group_by("shard").aggregate(aims).to_pylist()
        return [
            row["shard"]
            for row in sorted(
                grouped,
                key=lambda row: (
                    -(row["priority_max"] or 0), seconds(row["deadline_min"]) or inf, row["depth_min"], row["shard"],
                ),
            )
        ]  # fmt: skip

    def takes_of(self, shard: int) -> list[Take]:
        """The takes of a shard that are to be rendered."""
        chosen = pc.indices_nonzero(pc.equal(self.rows["shard"], shard))
        names = [name for name in _COLUMNS if name in self.rows.column_names]  # an older plan has no `keep`
        columns = [self.rows[name].take(chosen).to_pylist() for name in names]
        takes = []
        for number, values in zip(chosen.to_pylist(), zip(*columns, strict=True), strict=True):
            if number in self.done or number in self.given_up or number in self.kept.skipped:
                continue
            row = dict(zip(names, values, strict=True))
            original = self.chains.original(number)
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
                    after=self.chains.sources(number) if original is None else (original,),
                    needs=1,
                    gangless=original is not None,
                    keep=keep_of(row),
                )
            )
        return takes

    def order(self, given: Assignment, spec: JobSpec) -> dict[str, Any]:
        """The take order: the plan's row with what is encoded as its prompt, and which attempt of which job this is.

        A take that starts from another shot is told the keys of that shot's takes (`sources`), a copy the key of its
        original (`original`) and what that one started from (`source`).
        """
        row: dict[str, Any] = self.rows.slice(given.take.id, 1).to_pylist()[0]
        original = self.chains.original(given.take.id)
        if original is not None:
            row |= {"original": self.standing.get(original), "source": self.started.get(original)}
        elif row.get("source_shot"):
            ids = self.chains.sources(given.take.id)
            row["sources"] = [self.standing[other] for other in ids if other in self.standing]
        return row | {
            "prompt": row.get("encoded_prompt") or row["prompt"],
            "id": given.take.id,
            "attempt": given.attempt,
            "job_id": spec.job_id,
            "epoch": spec.epoch,
            "precision": given.precision,
            "low_memory": given.low_memory,
            "retried": dict(given.retried),
        }


class _Keys(Mapping[int, str]):
    """The spec_key of each row as far as it is known: the plan's own, or of a take found by what it started from."""

    def __init__(self, planned: pa.ChunkedArray, linked: Mapping[int, str]) -> None:
        self._planned, self._linked = planned, linked

    def __getitem__(self, take: int) -> str:
        key: str | None = self._linked.get(take) or self._planned[take].as_py()
        if key is None:
            raise KeyError(take)
        return key

    def __iter__(self) -> Iterator[int]:
        return (take for take in range(len(self._planned)) if take in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _rows_of(rows: pa.Table, takes: set[TakeName]) -> set[int]:
    if not takes:
        return set()
    shots = pa.array({take.shot_id for take in takes}, rows["shot_id"].type)
    near = pc.indices_nonzero(pc.is_in(rows["shot_id"], value_set=shots))
    names = zip(*(rows[name].take(near).to_pylist() for name in ("show", "shot_id", "take")), strict=True)
    return {number for number, name in zip(near.to_pylist(), names, strict=True) if name in takes}


def seconds(value: datetime | float | None) -> float | None:
    """A timestamp of the plan as seconds since the epoch."""
    return value.timestamp() if isinstance(value, datetime) else value
