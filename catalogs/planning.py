"""From shots to takes: what is to be rendered, under which keys, in which shards, and what it will cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalogs import schema
from catalogs.buffer import SPILL_BYTES, TableBuffer
from catalogs.cost import Cost
from catalogs.dependencies import Links, anchored, first_of_each_row
from catalogs.digests import DigestSet, digest_texts, from_hex, hex_column
from catalogs.drafts import LANCZOS, Draft
from catalogs.errors import CatalogError
from catalogs.keys import (
    NOT_IN_PICTURE,
    REVISION_DIGITS,
    REVISION_FIELDS,
    SPEC_FIELDS,
    documents,
    model_fields,
)
from catalogs.names import Names
from catalogs.reading import Batch
from catalogs.refusal import Refusal
from catalogs.resolve import ResolvedShots, resolve
from catalogs.sharding import Cut, Takes, cut, pack_shape
from catalogs.tasks import INPUTS
from catalogs.wording import Enhance

MAX_TAKES = 20_000_000
_CHUNK = 16_384

_TAKE_TYPES: dict[str, pa.DataType] = {
    "row": pa.int64(), "show": pa.string(), "shot_id": pa.string(), "revision": pa.string(), "take": pa.int32(),
    "seed": pa.int64(), "spec_key": pa.string(), "picture_key": pa.string(), "shard": pa.int32(), "task": pa.string(),
    "prompt": pa.string(), "encoded_prompt": pa.string(), "negative_prompt": pa.string(), "width": pa.int32(),
    "height": pa.int32(),
    "frames": pa.int32(), "fps": pa.float64(), "render_width": pa.int32(), "render_height": pa.int32(),
    "render_frames": pa.int32(), "steps": pa.int32(), "guidance_scale": pa.float64(), "image_uri": pa.string(),
    "last_image_uri": pa.string(), "video_uri": pa.string(), "mask_uri": pa.string(),
    **dict.fromkeys(INPUTS.values(), pa.string()),
    "depends_on": pa.string(), "source_shot": pa.string(), "source_frame": pa.string(), "parent": pa.string(),
    "variant": pa.string(), "locale": pa.string(), "picture_of": pa.string(),
    "deliver": pa.list_(pa.string()), "priority": pa.int32(), "deadline": schema.TIME, "not_before": schema.TIME,
    "budget_gpu_s": pa.float64(), "window_frames": pa.int32(), "tokens": pa.int64(), "cost_gpu_s": pa.float64(),
    "cached": pa.bool_(), "model": pa.string(), "draft": pa.string(), "draft_of": pa.string(), "upscaler": pa.string(),
}  # fmt: skip
TAKE_SCHEMA = pa.schema(
    [(name, _TAKE_TYPES[name]) for name in schema.PLAN_COLUMNS]
    + [(name, schema.BY_NAME[name].type) for name in schema.HANDED_THROUGH]
)
"""Columns of `Plan.takes`; the catalog's unknown columns follow them."""
SHARD_SCHEMA = pa.schema(
    [
        ("shard", pa.int32()), ("label", pa.string()), ("takes", pa.int32()), ("pending", pa.int32()),
        ("priority", pa.int32()), ("render_width", pa.int32()), ("render_height", pa.int32()),
        ("render_frames", pa.int32()), ("steps", pa.int32()), ("tokens", pa.int64()), ("cost_gpu_s", pa.float64()),
        ("pending_gpu_s", pa.float64()),
    ]
)  # fmt: skip
"""Columns of `Plan.shards`. Shape, steps and tokens are null in a shard of several shapes."""


@dataclass(frozen=True)
class Plan:
    """What a catalog comes to with one model.

    Attributes:
        takes: one row per take in the catalog's order, columns of TAKE_SCHEMA and the catalog's unknown ones. A large
            table lies in a mapped temporary file, so that memory is used for what is looked at.
        shards: one row per shard in the order in which they are to start, columns of SHARD_SCHEMA.
        cost: the estimate, all takes, cached and pending.
        refused: one entry per refused row, in the order of the rows.
        rows_total: rows of the catalog, refused ones included.
    """

    takes: pa.Table
    shards: pa.Table
    cost: Cost
    refused: list[Refusal]
    rows_total: int


def plan(
    shots: Iterable[Batch],
    model_facts: Mapping[str, Any],
    done: Iterable[str] = (),
    *,
    digest_input: Callable[[str], str | None] | None = None,
    precision: Mapping[str, str] | None = None,
    shard_takes: int | None = None,
    enhance: Enhance | None = None,
    draft: Draft | None = None,
    upscaler: str = LANCZOS,
    spill_bytes: int = SPILL_BYTES,
) -> Plan:
    """Plans a catalog. Same catalog, facts and options, same table; `done` changes `cached` and the counts only.

    Args:
        shots: batches of one catalog, as `read` gives them.
        model_facts: the model's grid, limits, defaults and cost, as `model.read_facts` gives them.
        done: spec_keys that the store holds.
        digest_input: SHA-256 (hexadecimal) of an input's bytes, or None where it cannot be read; asked once for each
            URI. A take whose input has no digest has null keys, and so has one that starts from another shot's take.
        precision: part of the model -> dtype; the model's own otherwise.
        shard_takes: most takes in a shard, instead of a size that follows the job's.
        enhance: makes a prompt richer before it is encoded; the catalog's own stays in `prompt`.
        draft: how small and quick all takes are made, where they are a draft of the catalog.
        upscaler: what brings films with `upscale` to their size; its name is part of their keys.
        spill_bytes: size of the takes beyond which they go to a temporary file.

    Raises:
        CatalogError: from reading; or more takes than a job may have; or no room for the plan.
        ValueError: a key in `done` that is none, or `shard_takes` below 1.
    """
    if shard_takes is not None and shard_takes < 1:
        raise ValueError(f"shard_takes is {shard_takes}; it must be at least 1")
    planner = _Planner(model_facts, done, digest_input, precision, Resolving(enhance, draft, upscaler), spill_bytes)
    try:
        for batch in shots:
            planner.add(batch)
        return planner.finish(shard_takes)
    finally:
        planner.close()


class Resolving(NamedTuple):
    """How shots become what is rendered, beyond the model's facts; as `plan` takes them."""

    enhance: Enhance | None
    draft: Draft | None
    upscaler: str


class _Planner:
    """Collects the takes of one catalog, and beside them the few numbers by which shards are cut."""

    def __init__(
        self,
        model_facts: Mapping[str, Any],
        done: Iterable[str],
        digest_input: Callable[[str], str | None] | None,
        precision: Mapping[str, str] | None,
        resolving: Resolving,
        spill_bytes: int,
    ) -> None:
        self._facts, self._resolving = model_facts, resolving
        self._constants = model_fields(model_facts, precision)
        self._done = DigestSet(from_hex(done))
        self._digest_input = digest_input
        self._input_digests: dict[str, str | None] = {}
        self._spill_bytes = spill_bytes
        self._buffer: TableBuffer | None = None
        self._refused: list[Refusal] = []
        self._rows = 0
        self._takes = 0
        # Of each chunk of takes: priority, shape, GPU seconds, cached.
        self._cuts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        self._film_s = self._tflop = 0.0
        self._links = Links()
        self._names = Names()

    def add(self, batch: Batch) -> None:
        how = self._resolving
        resolved, refused = resolve(
            batch.shots, self._facts, self._names, how.enhance, draft=how.draft, upscaler=how.upscaler
        )
        self._rows += _count_rows(batch)
        self._refused += first_of_each_row([*batch.refused, *refused]) if refused else batch.refused
        self._links.add(resolved.columns, batch.lost, batch.shots)
        if self._buffer is None:
            unknown = [batch.shots.schema.field(name) for name in _unknown(batch.shots)]
            fields = [TAKE_SCHEMA.field(name) for name in TAKE_SCHEMA.names if name != "shard"]
            self._buffer = TableBuffer(pa.schema([*fields, *unknown]), self._spill_bytes)
        counts = resolved.columns["takes"].to_numpy()
        self._takes += int(counts.sum())
        if self._takes > MAX_TAKES:
            raise CatalogError(
                f"the catalog asks for more than {MAX_TAKES:,} takes, from about row {resolved.columns['row'][-1]} on;"
                " split it into several catalogs"
            )
        digests = {digest: self._digests(resolved.columns[uri]) for uri, digest in INPUTS.items()}
        for start, stop in _slices(counts):
            own = {name: column.slice(start, stop - start) for name, column in digests.items()}
            self._add_takes(resolved.slice(start, stop), own, counts[start:stop])

    def _digests(self, uris: pa.Array) -> pa.Array:
        if uris.null_count == len(uris) or self._digest_input is None:
            return pa.nulls(len(uris), pa.string())
        encoded = uris.dictionary_encode()
        found = []
        for uri in encoded.dictionary.to_pylist():
            if uri not in self._input_digests:
                self._input_digests[uri] = self._digest_input(uri)
            found.append(self._input_digests[uri])
        return pa.array(found, pa.string()).take(encoded.indices)

    def _add_takes(self, shots: ResolvedShots, digests: Mapping[str, pa.Array], counts: np.ndarray) -> None:
        revision = hex_column(digest_texts(shots.revision_documents(REVISION_FIELDS))[:, : REVISION_DIGITS // 2])
        unlinked = pa.nulls(len(counts), pa.string())
        columns = dict(shots.columns) | {"revision": revision, **digests}
        columns |= {"source_shot": unlinked, "source_frame": unlinked, "draft_of": unlinked}
        columns.setdefault("draft", unlinked)
        number = np.ones(len(counts), np.int64)
        if (counts != 1).any():
            parent = np.repeat(np.arange(len(counts)), counts)
            number = np.arange(len(parent)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
            columns = {name: column.take(pa.array(parent)) for name, column in columns.items()}
        columns["take"] = pa.array(number, pa.int32())
        columns["seed"] = pa.array(columns["seed"].to_numpy() + (number - 1))
        cached = self._add_keys(columns)
        width, height, frames, steps = (
            columns[name].to_numpy() for name in ("render_width", "render_height", "render_frames", "steps")
        )
        guidance, cost = columns["guidance_scale"].to_numpy(), columns["cost_gpu_s"].to_numpy()
        shape = pack_shape(width, height, frames, steps, guidance > 1)
        self._cuts.append((columns["priority"].to_numpy(), shape, cost, cached))
        self._count_work(columns, ~cached, 1.0)
        assert self._buffer is not None
        fields = self._buffer.schema
        self._buffer.append(pa.RecordBatch.from_arrays([columns[name] for name in fields.names], schema=fields))

    def _count_work(self, columns: Mapping[str, pa.Array], counted: np.ndarray, sign: float) -> None:
        """Adds what some takes come to, or takes it off again."""
        cost, frames, fps = (columns[name].to_numpy() for name in ("cost_gpu_s", "frames", "fps"))
        self._tflop += sign * float(cost[counted].sum()) / float(self._facts["gpu_s_per_tflop"])
        moving = counted & ~np.asarray(pc.equal(columns["task"], "still"))
        self._film_s += sign * float((frames / fps)[moving].sum())

    def _add_keys(self, columns: dict[str, pa.Array]) -> np.ndarray:
        """Adds spec_key, picture_key and cached to the columns; returns the last."""
        # The column `model` holds a name, and the key the digest of what it stands for.
        fields = {name: columns[name] for name in SPEC_FIELDS if name in columns and name not in self._constants}
        # A still has no rate, so that its key does not change with one.
        fields["fps"] = pc.if_else(pc.equal(fields["task"], "still"), None, fields["fps"])
        fields["prompt"] = pc.coalesce(columns["encoded_prompt"], fields["prompt"])
        spec = digest_texts(documents(fields, self._constants, SPEC_FIELDS))
        shared = {name: column for name, column in fields.items() if name not in NOT_IN_PICTURE}
        picture = digest_texts(documents(shared, self._constants, SPEC_FIELDS))
        # Which take another shot will start from is known when that shot is rendered.
        known = np.asarray(columns["depends_on"].is_null()) & ~anchored(columns)
        for uri, digest in INPUTS.items():
            known &= np.asarray(pc.or_(columns[uri].is_null(), columns[digest].is_valid()))
        cached = known & self._done.contains(spec)
        columns["spec_key"], columns["picture_key"] = hex_column(spec, known), hex_column(picture, known)
        columns["cached"] = pa.array(cached)
        return cached

    def finish(self, shard_takes: int | None) -> Plan:
        if self._buffer is None:
            raise CatalogError("the catalog has no batches; pass what catalogs.read returns, once")
        takes = self._buffer.table()
        parts = [np.concatenate(list(part)) for part in zip(*self._cuts, strict=True)] if self._cuts else []
        priority, shape, cost, cached = parts or (
            np.empty(0, np.int32),
            *(np.empty(0, np.int64),) * 2,
            np.empty(0, bool),
        )
        self._cuts = []
        if self._links.used:
            takes, keep = self._linked(takes)
            priority, shape, cost, cached = (values[keep] for values in (priority, shape, cost, cached))
        pieces = cut(Takes(priority, shape, cost), shard_takes)
        takes = takes.add_column(
            schema.PLAN_COLUMNS.index("shard"), TAKE_SCHEMA.field("shard"), [pa.array(pieces.shard)]
        )
        gpu_s, gpu_s_cached = float(cost.sum()), float(cost[cached].sum())
        estimate = Cost(
            takes=len(cost),
            cached=int(cached.sum()),
            pending=int((~cached).sum()),
            gpu_s=gpu_s,
            gpu_s_cached=gpu_s_cached,
            gpu_s_pending=float(cost[~cached].sum()),
            tflop=self._tflop,
            film_s=self._film_s,
        )
        return Plan(takes, _shard_table(takes, pieces, cost, cached), estimate, self._refused, self._rows)

    def _linked(self, takes: pa.Table) -> tuple[pa.Table, np.ndarray]:
        """The takes with what is known of their links once all rows are, and which of them stay."""
        assert self._buffer is not None
        settled = self._links.settle(takes, self._buffer.forget)
        pa.default_memory_pool().release_unused()  # the columns of all shots at once, which nothing needs any more
        shot = np.cumsum(np.asarray(pc.equal(takes["take"], 1))) - 1
        keep = np.ones(len(shot), bool)
        if settled.refused:
            keep = ~settled.bad[shot]
            self._count_work(_whole(takes), ~keep, -1.0)
            takes = self._kept(takes, keep)
            self._refused = first_of_each_row([*self._refused, *settled.refused])
        place = pa.array(shot[keep])
        for name in ("source_shot", "source_frame", "identity"):
            column = getattr(settled, name)
            if column.null_count < len(column):
                takes = takes.set_column(takes.column_names.index(name), name, column.take(place))
        del settled
        pa.default_memory_pool().release_unused()
        return takes, keep

    def _kept(self, takes: pa.Table, keep: np.ndarray) -> pa.Table:
        """Some of the takes, written anew piece by piece: a large table is never in memory as a whole."""
        whole, self._buffer = self._buffer, TableBuffer(takes.schema, self._spill_bytes)
        start = 0
        for batch in takes.to_batches(max_chunksize=_CHUNK):
            self._buffer.append(batch.filter(pa.array(keep[start : start + batch.num_rows])))
            start += batch.num_rows
            if whole is not None:
                whole.forget()
        return self._buffer.table()

    def close(self) -> None:
        if self._buffer is not None:
            self._buffer.close()


def _unknown(shots: pa.RecordBatch) -> list[str]:
    own = set(schema.SHOT_SCHEMA.names)
    return [name for name in shots.schema.names if name not in own]


def _count_rows(batch: Batch) -> int:
    """Rows of the catalog in a batch: one with variants may be several shots, and be refused in part besides."""
    rows = batch.shots["row"].to_numpy()
    if batch.shots["parent"].null_count == len(rows):
        return len(rows) + len(batch.refused)
    return len(set(rows.tolist()) | {refusal.row for refusal in batch.refused})


def _whole(takes: pa.Table) -> dict[str, pa.Array]:
    return {name: takes[name].combine_chunks() for name in ("cost_gpu_s", "frames", "fps", "task")}


def _slices(counts: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of shots that come to about 16,384 takes each; a shot is never split."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, before + _CHUNK, side="right")), start + 1)
        yield start, stop
        start = stop


def _shard_table(takes: pa.Table, pieces: Cut, cost: np.ndarray, cached: np.ndarray) -> pa.Table:
    count = len(pieces.starts) - 1
    if not count:
        return SHARD_SCHEMA.empty_table()
    first, last = pieces.order[pieces.starts[:-1]], pieces.order[pieces.starts[1:] - 1]
    sizes = np.diff(pieces.starts)
    columns: dict[str, Any] = {
        "shard": np.arange(count),
        "label": _labels(takes, pieces, first, last),
        "takes": sizes,
        "pending": np.bincount(pieces.shard, ~cached, count),
        "priority": takes["priority"].take(pa.array(first)).to_numpy(),
        "cost_gpu_s": np.bincount(pieces.shard, cost, count),
        "pending_gpu_s": np.bincount(pieces.shard, np.where(cached, 0.0, cost), count),
    }
    for name in ("render_width", "render_height", "render_frames", "steps", "tokens"):
        values = takes[name].take(pa.array(first)).combine_chunks()
        columns[name] = pa.nulls(count, values.type) if pieces.mixed else values
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in SHARD_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SHARD_SCHEMA)


def _labels(takes: pa.Table, pieces: Cut, first: np.ndarray, last: np.ndarray) -> list[str]:
    """Names for people: the shots of a shard, or its first and last."""
    names = takes["shot_id"]
    ends = zip(names.take(pa.array(first)).to_pylist(), names.take(pa.array(last)).to_pylist(), strict=True)
    sizes = np.diff(pieces.starts).tolist()
    return [
        one if one == other else f"{one}, {other}" if size == 2 else f"{one} … {other} ({size} takes)"
        for (one, other), size in zip(ends, sizes, strict=True)
    ]
