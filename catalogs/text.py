"""Reads CSV and JSON lines. A line that cannot be read costs that row only.

Rows are numbered as records: the header and blank lines do not count.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from catalogs.errors import CatalogError
from catalogs.raw import Raw, check_columns
from catalogs.refusal import ROW, Refusal, show
from catalogs.schema import BY_NAME
from catalogs.sources import Source

MAX_LINE = 16 << 20
MOST_NESTED = 100
"""Levels of lists and objects in a row. Some hundreds more, and Python itself gives up, at a depth nobody can tell."""
_MOST_TYPED = 16  # levels of a column that stays nested: Parquet and Arrow read back some tens of them
_NOT_TYPED = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, UnicodeEncodeError, OverflowError)


# --- CSV ------------------------------------------------------------------------------------------------------------
def read_csv(source: Source, batch_rows: int) -> Iterator[Raw]:
    """Rows of a CSV file with a header; every value is text, and an empty one is null.

    Raises:
        CatalogError: no header, or one without the required columns.
    """
    with _open_csv(source.path) as file:
        try:
            header = [name.strip() for name in next(csv.reader(file), [])]
        except csv.Error as error:
            raise CatalogError(f"the header of the catalog {source.shown} is not CSV: {error}") from error
    check_columns(header, source.shown)
    for name in header:
        if not _is_utf8(name):
            raise CatalogError(
                f"the header of the catalog {source.shown} is not UTF-8: the column {show(name)}. Save it as UTF-8"
            )
    return _csv_batches(source.path, header, batch_rows)


def _open_csv(path: Path) -> Any:
    # A byte that is not UTF-8 becomes a lone surrogate, which the rules for text find in its own cell.
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _csv_batches(path: Path, header: list[str], batch_rows: int) -> Iterator[Raw]:
    with _open_csv(path) as file:
        records = csv.reader(file, strict=True)  # else a quote that is never closed eats the rows after it
        next(records)
        row, numbers, cells, refused = -1, [], [], []
        yielded = False
        while True:
            line = records.line_num + 1
            try:
                record = next(records)
            except StopIteration:
                break
            except csv.Error as error:
                row += 1
                what = f"lines {line} to {records.line_num}: {error}" if records.line_num > line else str(error)
                refused.append(Refusal(row, ROW, what, f"a line of CSV with {len(header)} cells, each quote closed"))
                continue
            if not record:
                continue
            row += 1
            if len(record) == len(header):
                numbers.append(row)
                cells.append(record)
            else:
                refused.append(Refusal(row, ROW, f"{len(record)} cells", f"{len(header)} cells, as the header has"))
            if len(numbers) == batch_rows:
                yield _csv_raw(header, numbers, cells, refused)
                yielded, numbers, cells, refused = True, [], [], []
        if numbers or refused or not yielded:
            yield _csv_raw(header, numbers, cells, refused)


def _csv_raw(header: list[str], numbers: list[int], cells: list[list[str]], refused: list[Refusal]) -> Raw:
    columns: dict[str, pa.Array | list[Any]] = {}
    by_column = zip(*cells, strict=True) if cells else ([] for _ in header)
    for name, values in zip(header, by_column, strict=True):
        texts = [value if value != "" else None for value in values]
        try:
            columns[name] = pa.array(texts, pa.string())
        except UnicodeEncodeError:
            # Bytes that claim to be text, as a Parquet file may hold them: the rules find the bad cell.
            columns[name] = _claimed_text(texts, "surrogateescape")
    return Raw(np.asarray(numbers, np.int64), columns, refused)


# --- JSON lines -----------------------------------------------------------------------------------------------------
def read_jsonl(source: Source, batch_rows: int) -> Iterator[Raw]:
    """Rows of a file with one JSON object a line.

    The file is read twice: first for the types of its unknown columns, which are to be the same in every batch.

    Raises:
        CatalogError: not one line is an object, or no object has a required column.
    """
    known, unknown = _survey(source, batch_rows)
    check_columns([*known, *unknown], source.shown)
    return _json_batches(source, [*known], unknown, batch_rows)


def _survey(source: Source, batch_rows: int) -> tuple[dict[str, None], dict[str, pa.DataType]]:
    """Known columns that some row has, and the type of each unknown one: what Arrow finds for it, else JSON text."""
    known: dict[str, None] = {}
    types: dict[str, pa.DataType] = {}
    widened: set[str] = set()
    objects = 0
    for _, lines, _ in _lines(source, batch_rows):
        objects += len(lines)
        for name in dict.fromkeys(name for line in lines for name in line):
            if name in BY_NAME:
                known[name] = None
                continue
            before = types.get(name, pa.null())
            types[name] = _common(before, [line.get(name) for line in lines])
            if not before.equals(types[name]) and not pa.types.is_null(before):
                widened.add(name)
    if not objects:
        raise CatalogError(f"no line of the catalog {source.shown} is a JSON object; write one object a line")
    kept = {name: kind if _is_kept(kind) else pa.string() for name, kind in types.items()}
    if widened:
        _keep_to_text(source, batch_rows, kept, widened)
    return known, kept


def _keep_to_text(source: Source, batch_rows: int, types: dict[str, pa.DataType], names: set[str]) -> None:
    """Makes text of those columns whose first rows the type does not hold that was found for them by their last ones.

    A whole number beyond 2^53 and a fraction in another batch are such: no double is that number.
    """
    for _, lines, _ in _lines(source, batch_rows):
        for name in names:
            try:
                _typed([line.get(name) for line in lines], types[name])
            except _NOT_TYPED:
                types[name] = pa.string()


def _is_kept(kind: pa.DataType) -> bool:
    """Whether a table of a job can hold the type: no column of nothing but null, and Parquet has no empty structs."""
    return not pa.types.is_null(kind) and not _has_empty_struct(kind) and _levels(kind) <= _MOST_TYPED


def _levels(kind: pa.DataType) -> int:
    return 1 + max((_levels(kind.field(place).type) for place in range(kind.num_fields)), default=0)


def _has_empty_struct(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return not kind.num_fields or any(_has_empty_struct(field.type) for field in kind)
    return pa.types.is_list(kind) and _has_empty_struct(kind.value_type)


def _common(before: pa.DataType, values: list[Any]) -> pa.DataType:
    try:
        found = pa.schema([("x", pa.array(values).type)])
        return pa.unify_schemas([pa.schema([("x", before)]), found], promote_options="permissive").field("x").type
    except _NOT_TYPED:
        return pa.string()


def _json_batches(source: Source, known: list[str], unknown: dict[str, pa.DataType], batch_rows: int) -> Iterator[Raw]:
    for numbers, objects, refused in _lines(source, batch_rows):
        columns: dict[str, pa.Array | list[Any]] = {}
        for name in known:
            values = [line.get(name) for line in objects]
            try:
                columns[name] = pa.array(values)
            except _NOT_TYPED:
                columns[name] = values
        for name, kind in unknown.items():
            columns[name] = _typed([line.get(name) for line in objects], kind)
        yield Raw(np.asarray(numbers, np.int64), columns, refused)


def _typed(values: list[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_string(kind):
        return pa.array(values, kind)
    texts = [
        value if value is None or isinstance(value, str) else json.dumps(value, sort_keys=True) for value in values
    ]
    try:
        return pa.array(texts, kind)
    except UnicodeEncodeError:  # a lone surrogate
        return _claimed_text(texts, "surrogatepass")


def _claimed_text(texts: list[str | None], errors: str) -> pa.Array:
    """A column of text in which some cells may not be UTF-8."""
    return pa.array([None if text is None else text.encode("utf-8", errors) for text in texts], pa.binary()).view(
        pa.string()
    )


def _lines(source: Source, batch_rows: int) -> Iterator[tuple[list[int], list[dict[str, Any]], list[Refusal]]]:
    """Batches of row numbers, objects, and lines that are none; at least one batch."""
    row, numbers, objects, refused = -1, [], [], []
    yielded = False
    with source.path.open("rb") as file:
        while line := file.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE:
                raise CatalogError(
                    f"row {row + 1} of the catalog {source.shown} is longer than {MAX_LINE >> 20} MiB:"
                    " write one JSON object a line"
                )
            line = line.removeprefix(b"\xef\xbb\xbf") if row < 0 else line
            if not line.strip():
                continue
            row += 1
            try:
                value = json.loads(line)
                _check_names(line, value)
            except (ValueError, RecursionError) as error:
                shown = show(line.strip().decode("utf-8", "replace"))
                refused.append(Refusal(row, ROW, shown, f"one JSON object a line ({error})"))
                continue
            if isinstance(value, dict):
                numbers.append(row)
                objects.append(value)
            else:
                refused.append(Refusal(row, ROW, show(value), "one JSON object a line"))
            if len(numbers) == batch_rows:
                yield numbers, objects, refused
                yielded, numbers, objects, refused = True, [], [], []
    if numbers or refused or not yielded:
        yield numbers, objects, refused


def _check_names(line: bytes, value: Any) -> None:
    """Refuses an object that no table can hold, by a ValueError: a name that is no text, or too many levels."""
    # Half a pair of surrogates stands as \ud83d in a line, or as bytes of its own, which Python lets pass.
    if (b"\\u" in line or b"\xed" in line) and isinstance(value, dict):
        for name in value:
            if not _is_utf8(name):
                raise ValueError(f"the name {show(name)} is not text in UTF-8")
    # Few lines have so many brackets; only those are looked through.
    if line.count(b"[") + line.count(b"{") > MOST_NESTED and _depth(value) > MOST_NESTED:
        raise ValueError(f"nested at most {MOST_NESTED} levels deep")


def _depth(value: Any) -> int:
    """Levels of lists and objects, counted level by level, since they may be more than Python calls functions."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
