"""The rules of a catalog, applied to a batch of rows column by column.

A row is refused for the first rule it breaks, in the order of the columns in `schema.py`. One rule needs more than one
column: an input that its task does not use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalogs import presets, schema, variants
from catalogs.checker import Checker
from catalogs.convert import Cells, convert
from catalogs.dependencies import ANCHORED, check_depends
from catalogs.givens import check_input, check_keep_frames, given
from catalogs.keys import identities
from catalogs.long import METHODS
from catalogs.refusal import Refusal
from catalogs.unknown import LEGAL as UNKNOWN_LEGAL
from catalogs.unknown import unreadable
from catalogs.uris import Resolver, UriError

# What a cell of a column may hold, said when it is of another kind altogether.
_WANTED = {
    "name": "text",
    "text": "text in UTF-8",
    "int": "a whole number of 64 bits",
    "float": "a number",
    "time": "a time in UTC, such as 2026-12-24T18:00:00Z",
    "list": "a list of texts",
    "tags": "a map from text to text",
    "variants": variants.LEGAL,
}
_IDS = ("shot_id", "show", "sequence", "depends_on")
_NO_CONTROL = "text without control characters, of which a tab and a new line may stand"
_LATER = {"lora": "null or an empty list: LoRAs are not built yet"}


class Checked(NamedTuple):
    """Rows after all rules: as in `Batch`."""

    shots: pa.RecordBatch
    refused: list[Refusal]
    lost: np.ndarray | None


class _Sources(NamedTuple):
    """Rows that need not name their source: it is another shot's film, (n,) bool each.

    depends: they name the shot. grouped: they belong to a scene or identity, whose first picture an i2v may start from.
    """

    depends: np.ndarray
    grouped: np.ndarray

    def of(self, task: pa.Array) -> np.ndarray:
        """The rows that need not name a source for their tasks."""
        if not self.grouped.any():
            return self.depends
        return self.depends | (self.grouped & np.asarray(pc.is_in(task, pa.array(ANCHORED))))


class Validator:
    """Checks one catalog batch by batch. Which of several rows has a name is settled later, by `catalogs.names`.

    Args:
        resolver: makes the rows' URIs absolute or refuses them.
        preset: of the rows that name none.
    """

    def __init__(self, resolver: Resolver, preset: str | None = None) -> None:
        self._resolver = resolver
        self._preset = preset

    def check(self, columns: Mapping[str, Cells], unknown: Mapping[str, pa.Array], rows: np.ndarray) -> Checked:
        """The good rows in the schema of a shot, variants as rows of their own, and why the others are refused.

        Args:
            columns: the known columns that the catalog has, of any type, each (n,).
            unknown: its other columns, under the names they are to have, each (n,).
            rows: numbers of the rows in the file, (n,).
        """
        checker = Checker(rows)
        shots: dict[str, pa.Array] = {}
        depends = _Sources(
            given(columns.get("depends_on"), len(rows)),
            _grouped(columns, len(rows)),
        )
        for column in schema.COLUMNS:
            cells = columns.get(column.name)
            if cells is None:
                cells = pa.nulls(len(rows), column.type)
            values, bad = convert(cells, column)
            legal = _LATER.get(column.name) if column.kind == "unbuilt" else self._legal_kind(column)
            checker.refuse(column.name, bad, cells, legal or "")
            if column.name in presets.FIELDS:
                values = presets.filled(values, shots["preset"], column.name)
            shots[column.name] = self._rule(checker, column.name, values, cells, shots, depends)
        for name, array in unknown.items():
            checker.refuse(name, unreadable(array), array, UNKNOWN_LEGAL)
        digests = identities(shots["show"], shots["shot_id"].fill_null(""))
        shots["seed"] = _with_default_seed(shots["seed"], digests)
        made = variants.expand(shots, checker.good)
        arrays = [pa.array(rows[made.source], pa.int64()), *made.columns.values()]
        arrays += [array.take(pa.array(made.source)) if made.expanded else array for array in unknown.values()]
        batch = pa.RecordBatch.from_arrays(arrays, names=["row", *made.columns, *unknown])
        lost = digests[~checker.good] if "depends_on" in columns else None
        keep = checker.good[made.source]
        return Checked(batch if keep.all() else batch.filter(pa.array(keep)), checker.refusals(), lost)

    def _legal_kind(self, column: schema.Column) -> str:
        return schema.NAME_LEGAL if column.name in _IDS else _WANTED[column.kind]

    def _rule(
        self,
        checker: Checker,
        name: str,
        values: pa.Array,
        cells: Cells,
        shots: Mapping[str, pa.Array],
        depends: _Sources,
    ) -> pa.Array:
        """Applies the rules of one column and returns its values with the defaults that do not depend on a model."""
        if name in _RANGES:
            low, high, legal = _RANGES[name]
            checker.refuse(name, _outside(values, low, high), cells, legal)
            values = _narrowed(values, schema.BY_NAME[name].type)
            return values.fill_null(0) if name == "priority" else values
        match name:
            case "shot_id":
                bad = ~_true(pc.match_substring_regex(values, schema.NAME_PATTERN))
                checker.refuse(name, bad, cells, schema.NAME_LEGAL)
            case "show" | "sequence":
                bad = _false(pc.match_substring_regex(values, schema.NAME_PATTERN))
                checker.refuse(name, bad, cells, schema.NAME_LEGAL)
                return values.fill_null(schema.DEFAULT_SHOW) if name == "show" else values
            case "prompt":
                length = _numbers(pc.utf8_length(values))
                blank = ~_true(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(values)), 0))
                legal = f"1 to {schema.PROMPT_MAX:,} characters, not only white space"
                checker.refuse(name, blank | (length > schema.PROMPT_MAX), cells, legal)
                checker.refuse(name, _control(values), cells, _NO_CONTROL)
            case "negative_prompt":
                bad = _numbers(pc.utf8_length(values)) > schema.PROMPT_MAX
                checker.refuse(name, bad, cells, f"at most {schema.PROMPT_MAX:,} characters")
                checker.refuse(name, _control(values), cells, _NO_CONTROL)
            case "scene" | "identity":
                return _unless_blank(values)
            case "camera":
                checker.refuse(name, _control(values), cells, _NO_CONTROL)
            case "task":
                return _task(checker, values, cells)
            case "preset":
                unknown = np.asarray(values.is_valid()) & ~np.asarray(pc.is_in(values, pa.array(list(presets.PRESETS))))
                checker.refuse(name, unknown, cells, presets.LEGAL)
                return values.fill_null(self._preset) if self._preset else values
            case "width" | "height":
                return _side(checker, name, values, cells)
            case "fps":
                bad = _outside(values, schema.FPS_MIN, schema.FPS_MAX)
                checker.refuse(name, bad, cells, f"{schema.FPS_MIN:g} to {schema.FPS_MAX:g} frames a second")
            case "duration_s":
                return _duration(checker, values, cells, shots)
            case "takes":
                return _takes(checker, values, cells, shots["seed"])
            case "keep":
                return _keep(checker, values, cells, shots["takes"])
            case "image_uri" | "last_image_uri" | "video_uri" | "mask_uri":
                check_input(checker, name, values, cells, shots, depends.of(shots["task"]))
                return self._uri(checker, name, values, cells)
            case "depends_on":
                check_depends(checker, values, cells, shots)
            case "keep_frames":
                return check_keep_frames(checker, values, cells, shots["task"])
            case "long_method":
                known = _false(pc.is_in(values, pa.array(METHODS))) & np.asarray(values.is_valid())
                checker.refuse(name, known, cells, ", ".join(METHODS))
            case "budget_gpu_s":
                bad = ~_holds(values, lambda budget: (budget > 0) & np.isfinite(budget))
                checker.refuse(name, bad, cells, "above 0 GPU seconds")
            case "deliver":
                return _deliver(checker, values, cells, shots["task"])
            case "variants":
                variants.check_variants(checker, values, cells)
        return values

    def _uri(self, checker: Checker, name: str, values: pa.Array, cells: Cells) -> pa.Array:
        named = np.asarray(values.is_valid())
        if not named.any():
            return values
        encoded = values.dictionary_encode()
        resolved: list[str | None] = []
        reasons: dict[int, str] = {}
        for place, uri in enumerate(encoded.dictionary.to_pylist()):
            try:
                resolved.append(self._resolver.resolve(uri))
            except UriError as error:
                resolved.append(None)
                reasons[place] = str(error)
        absolute = pa.array(resolved, pa.string()).take(encoded.indices)
        indices = encoded.indices.fill_null(0).to_numpy()
        checker.refuse(name, named & np.asarray(absolute.is_null()), cells, lambda index: reasons[int(indices[index])])
        return absolute


_RANGES: dict[str, tuple[float, float, str]] = {
    "steps": (1, schema.STEPS_MAX, f"1 to {schema.STEPS_MAX:,}"),
    "guidance_scale": (0, schema.GUIDANCE_MAX, f"0 to {schema.GUIDANCE_MAX:g}"),
    "strength": (0, 1, "0 to 1"),
    "upscale": (1, schema.UPSCALE_MAX, f"1 to {schema.UPSCALE_MAX:g}"),
    "priority": (schema.INT32_MIN, schema.INT32_MAX, "a whole number of 32 bits"),
}


def _true(mask: pa.Array) -> np.ndarray:
    """A boolean column as an array in which null is False."""
    return np.asarray(mask.fill_null(False))


def _false(mask: pa.Array) -> np.ndarray:
    """Where a boolean column is False; null is not."""
    return ~np.asarray(mask.fill_null(True))


def _control(texts: pa.Array) -> np.ndarray:
    """Where a text holds a character that nobody types, such as NUL: what follows it may never be encoded."""
    return _true(pc.match_substring_regex(texts, schema.CONTROL_PATTERN))


def _numbers(values: pa.Array) -> np.ndarray:
    return np.asarray(values.fill_null(0))


def _outside(values: pa.Array, low: float, high: float) -> np.ndarray:
    """Where a value is given and not within low..high; NaN never is."""
    return ~_holds(values, lambda number: (number >= low) & (number <= high))


def _holds(values: pa.Array, test: Any) -> np.ndarray:
    """Where a value is null or passes `test`, which takes and returns arrays."""
    with np.errstate(invalid="ignore"):
        return np.asarray(values.is_null()) | test(_numbers(values))


def _narrowed(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Checked numbers in the column's own type; what does not fit was refused, so it may become null."""
    if values.type == kind:
        return values
    if kind == pa.int32():
        fits = ~_outside(values, schema.INT32_MIN, schema.INT32_MAX)
        return pc.if_else(pa.array(fits), values, None).cast(kind)
    return values.cast(kind)


def _unless_blank(values: pa.Array) -> pa.Array:
    """Texts, and null for those of white space alone: rows that all leave a cell blank share nothing."""
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(values), ""), None, values)


def _grouped(columns: Mapping[str, Cells], count: int) -> np.ndarray:
    """Rows that name a scene or an identity, before it is known whether they are legal, (n,) bool."""
    named = np.zeros(count, bool)
    for name in ("scene", "identity"):
        if name in columns:
            values, bad = convert(columns[name], schema.BY_NAME[name])
            named |= bad | np.asarray(_unless_blank(values).is_valid())
    return named


def _task(checker: Checker, values: pa.Array, cells: Cells) -> pa.Array:
    values = values.fill_null(schema.DEFAULT_TASK)
    known = _true(pc.is_in(values, pa.array(schema.TASKS)))
    checker.refuse("task", ~known, cells, ", ".join(schema.TASKS))
    return values


def _side(checker: Checker, name: str, values: pa.Array, cells: Cells) -> pa.Array:
    def legal(side: np.ndarray) -> np.ndarray:
        return (side >= schema.SIZE_MIN) & (side <= schema.SIZE_MAX) & (side % 2 == 0)

    checker.refuse(name, ~_holds(values, legal), cells, f"an even number, {schema.SIZE_MIN} to {schema.SIZE_MAX}")
    return _narrowed(values, pa.int32())


def _duration(checker: Checker, values: pa.Array, cells: Cells, shots: Mapping[str, pa.Array]) -> pa.Array:
    bad = ~_holds(values, lambda seconds: (seconds > 0) & (seconds <= schema.DURATION_MAX_S))
    checker.refuse("duration_s", bad, cells, f"above 0 and at most {schema.DURATION_MAX_S:g} seconds")
    with np.errstate(invalid="ignore", over="ignore"):
        frames = _numbers(values) * _numbers(shots["fps"])
    long = (frames > schema.FRAMES_MAX) & ~_true(pc.equal(shots["task"], "still"))
    checker.refuse("duration_s", long, cells, f"at most {schema.FRAMES_MAX:,} frames with this row's fps")
    return values


def _takes(checker: Checker, values: pa.Array, cells: Cells, seed: pa.Array) -> pa.Array:
    checker.refuse("takes", _outside(values, 1, schema.TAKES_MAX), cells, f"1 to {schema.TAKES_MAX:,}")
    takes = _narrowed(values, pa.int32()).fill_null(1)
    last = schema.INT64_MAX - (_numbers(takes).astype(np.int64) - 1)
    checker.refuse("takes", _numbers(seed) > last, cells, "so few that seed + takes - 1 stays below 2^63")
    return takes


def _keep(checker: Checker, values: pa.Array, cells: Cells, takes: pa.Array) -> pa.Array:
    bad = _outside(values, 1, schema.TAKES_MAX) | (_numbers(values) > _numbers(takes))
    checker.refuse("keep", bad, cells, lambda index: f"1 to this row's takes, {takes[index].as_py()}")
    return _narrowed(values, pa.int32())


def _deliver(checker: Checker, values: pa.Array, cells: Cells, task: pa.Array) -> pa.Array:
    default = pa.scalar(list(schema.DEFAULT_DELIVER), values.type)
    values = pc.if_else(values.is_valid(), values, default)
    flat, parent = values.flatten(), np.asarray(pc.list_parent_indices(values))
    tasks = task.take(pa.array(parent))
    legal = np.zeros(len(flat), bool)
    for profile, may in schema.PROFILES.items():
        legal |= _true(pc.equal(flat, profile)) & _true(pc.is_in(tasks, pa.array(may)))
    legal |= _true(pc.match_substring_regex(flat, rf"^{schema.OWN_PROFILE}[a-z0-9.-]{{1,62}}$"))
    bad = np.zeros(len(values), bool)
    bad[parent[~legal]] = True

    def known(index: int) -> str:
        own = task[index].as_py()
        return (
            "a list of: " + ", ".join(name for name, may in schema.PROFILES.items() if own in may) + ", or x-… of yours"
        )

    checker.refuse("deliver", bad, cells, known)
    return values


def _with_default_seed(seed: pa.Array, digests: np.ndarray) -> pa.Array:
    if not seed.null_count:
        return seed
    own = np.ascontiguousarray(digests[:, :4]).view(">u4").astype(np.int64)[:, 0]
    return pc.coalesce(seed, pa.array(own))
