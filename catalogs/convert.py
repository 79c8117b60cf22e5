"""Turns a column of any type into the type of the schema, where its values convert without loss.

Each converter takes a column (an Arrow array, or a list of Python objects where a text file mixed types) and returns
the converted array, with null where a value cannot be converted, and the mask of those cells. Whole columns are cast
at once; only a column that holds a bad value is looked at cell by cell.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from catalogs.refusal import cell
from catalogs.schema import TIME, Column

Cells: TypeAlias = pa.Array | list[Any]
Converted: TypeAlias = tuple[pa.Array, np.ndarray]

_NO_CAST = (pa.ArrowInvalid, pa.ArrowNotImplementedError)
# What Python's int() and float() take beyond this ("1_000", other scripts' digits) is not meant as a number in a file.
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?|[+-]?(?i:nan|inf)")
# Years 1 to 9999 in microseconds: what Python's datetime, and so every reader of a manifest, can hold.
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
_US_PER = {"s": 1_000_000, "ms": 1_000, "us": 1}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class _BadError(ValueError):
    """The cell does not convert."""


def convert(cells: Cells, column: Column) -> Converted:
    """`cells` as `column.type` and the mask of cells that do not convert; shapes (n,) and (n,)."""
    if isinstance(cells, pa.Array):
        cells = plain(cells)
        if cells.null_count == len(cells):
            return pa.nulls(len(cells), column.type), np.zeros(len(cells), bool)
        if cells.type == column.type and not _holds_text(column.type):
            return cells, np.zeros(len(cells), bool)
    return _CONVERTERS[column.kind](cells, column)


def plain(array: pa.Array) -> pa.Array:
    """The array without encodings around its values: dictionary, run-end, extension."""
    while True:
        if isinstance(array.type, pa.BaseExtensionType):
            array = array.storage
        elif pt.is_dictionary(array.type):
            # take() does not look at the bytes; a cast would refuse the whole column for one that is not UTF-8.
            array = array.dictionary.take(array.indices)
        elif pt.is_run_end_encoded(array.type):
            array = pc.run_end_decode(array)
        else:
            return array


def is_text(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are text or bytes that may be text."""
    return any(
        test(kind)
        for test in (
            pt.is_string, pt.is_large_string, pt.is_string_view,
            pt.is_binary, pt.is_large_binary, pt.is_binary_view, pt.is_fixed_size_binary,
        )
    )  # fmt: skip


def _holds_text(kind: pa.DataType) -> bool:
    return is_text(kind) or pt.is_nested(kind)


def _by_cell(cells: Cells, kind: pa.DataType, one: Callable[[Any], Any]) -> Converted:
    """Converts cell by cell: `one` returns the value or raises ValueError."""
    values: list[Any] = [None] * len(cells)
    bad = np.zeros(len(cells), bool)
    for index in range(len(cells)):
        value = cell(cells, index)
        if value is not None:
            try:
                values[index] = one(value)
            except (ValueError, ArithmeticError, RecursionError):
                bad[index] = True
    return pa.array(values, kind), bad


def _all_bad(cells: pa.Array, kind: pa.DataType) -> Converted:
    return pa.nulls(len(cells), kind), np.asarray(cells.is_valid())


# --- text -----------------------------------------------------------------------------------------------------------
def _utf8(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if not isinstance(value, str):
        raise _BadError
    value.encode("utf-8")  # a lone surrogate is no text
    return value


def _name_cell(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _utf8(value)


def _number_cell(value: object) -> str:
    # A table with gaps holds its whole numbers as floats; from 2^53 on one stands for several.
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return _name_cell(value)


def _text(cells: Cells, column: Column) -> Converted:
    named = column.kind == "name"
    one = _number_cell if named else _utf8
    if isinstance(cells, list):
        return _by_cell(cells, pa.string(), one)
    if is_text(cells.type):
        try:
            # By way of bytes: a cast from bytes to text checks that they are UTF-8, one from text does not.
            return cells.cast(pa.binary()).cast(pa.string()), np.zeros(len(cells), bool)
        except _NO_CAST:
            return _by_cell(cells, pa.string(), one)
    if named and pt.is_integer(cells.type):
        return cells.cast(pa.string()), np.zeros(len(cells), bool)
    if named and pt.is_floating(cells.type):
        return _by_cell(cells, pa.string(), one)
    return _all_bad(cells, pa.string())


# --- numbers --------------------------------------------------------------------------------------------------------
def _int_cell(value: Any) -> int:
    if isinstance(value, bool):
        raise _BadError
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    if isinstance(value, str):
        text = value.strip()
        if _INTEGER.fullmatch(text):
            value = int(text)
        elif _NUMBER.fullmatch(text):
            value = Decimal(text)  # "64.0", as a table with gaps is often written
        else:
            raise _BadError
    if isinstance(value, float | Decimal):
        # An exponent such as 1e999999 is not worked out: no column holds more than 19 digits.
        if not -(2**63) <= value < 2**63 or value != int(value):
            raise _BadError
    elif not isinstance(value, int):
        raise _BadError
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise _BadError
    return number


def _int(cells: Cells, column: Column) -> Converted:
    # Into int64, whatever the column's own type: a value beyond that one is for the range rule, which says more.
    if isinstance(cells, list):
        return _by_cell(cells, pa.int64(), _int_cell)
    numeric = pt.is_integer(cells.type) or pt.is_floating(cells.type) or pt.is_decimal(cells.type)
    if not numeric and not is_text(cells.type):
        return _all_bad(cells, pa.int64())
    try:
        # Arrow would read the text "0x40" as a number.
        if numeric or pc.all(pc.match_substring_regex(cells, r"\A[0-9]{1,18}\z")).as_py():
            return cells.cast(pa.int64()), np.zeros(len(cells), bool)
    except _NO_CAST:
        pass  # some cell does not convert: found below
    return _by_cell(cells, pa.int64(), _int_cell)


def _float_cell(value: object) -> float:
    if isinstance(value, bool):
        raise _BadError
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value.strip()):
            raise _BadError
        return float(value)
    if isinstance(value, int | float | Decimal):
        return float(value)
    raise _BadError


def _float(cells: Cells, column: Column) -> Converted:
    if isinstance(cells, list) or is_text(cells.type):
        return _by_cell(cells, pa.float64(), _float_cell)
    if pt.is_float16(cells.type) or pt.is_float32(cells.type):
        return _short_floats(cells), np.zeros(len(cells), bool)
    if pt.is_integer(cells.type) or pt.is_floating(cells.type) or pt.is_decimal(cells.type):
        try:
            return cells.cast(pa.float64()), np.zeros(len(cells), bool)
        except _NO_CAST:
            return _by_cell(cells, pa.float64(), _float_cell)
    return _all_bad(cells, pa.float64())


def _short_floats(cells: pa.Array) -> pa.Array:
    """Numbers of 16 or 32 bits as the shortest decimals that read back the same: 0.7, not 0.699999988079071.

    So 0.7 seconds at 5 frames a second are as many frames from a column of floats as from one of doubles or from CSV.
    """
    encoded = cells.cast(pa.float32()).dictionary_encode()
    values = encoded.dictionary.cast(cells.type).to_numpy(zero_copy_only=False)
    return pa.array([float(str(value)) for value in values], pa.float64()).take(encoded.indices)


# --- times ----------------------------------------------------------------------------------------------------------
def _time_cell(value: object) -> dt.datetime:
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    if isinstance(value, str):
        value = dt.datetime.fromisoformat(value.strip())
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day)
    if not isinstance(value, dt.datetime):
        raise _BadError
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


def _time(cells: Cells, column: Column) -> Converted:
    if isinstance(cells, list) or is_text(cells.type):
        return _by_cell(cells, TIME, _time_cell)
    if pt.is_date(cells.type):
        cells = cells.cast(pa.timestamp("s" if pt.is_date32(cells.type) else "ms"))
    if not pt.is_timestamp(cells.type):
        return _all_bad(cells, TIME)
    valid = np.asarray(cells.is_valid())
    ticks = np.asarray(cells.view(pa.int64()).fill_null(0))
    if cells.type.unit == "ns":  # a deadline's nanoseconds mean nothing to anyone
        us, inside = ticks // 1000, np.ones(len(ticks), bool)
    else:
        per = _US_PER[cells.type.unit]
        inside = (ticks >= _FIRST_US // per) & (ticks <= _LAST_US // per)
        us = np.where(inside, ticks, 0) * per
    return pa.array(us, pa.int64(), mask=~(valid & inside)).view(TIME), valid & ~inside


# --- nested ---------------------------------------------------------------------------------------------------------
def _from_json(value: object) -> object:
    return json.loads(value) if isinstance(value, str | bytes) else value


def _list_cell(value: object) -> list[str] | None:
    value = _from_json(value)
    if value is None:  # the JSON text "null"
        return None
    if not isinstance(value, list):
        raise _BadError
    return [_utf8(item) for item in value]


def _list(cells: Cells, column: Column) -> Converted:
    if isinstance(cells, pa.Array) and not is_text(cells.type):
        if not _is_list(cells.type):
            return _all_bad(cells, column.type)
        cast = _checked_cast(cells, column.type)
        if cast is not None and cast.flatten().null_count == 0:
            return cast, np.zeros(len(cells), bool)
    return _by_cell(cells, column.type, _list_cell)


def _checked_cast(cells: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """The array as a nested type of texts, or None where that does not work for all of it."""
    try:
        cast = cells.cast(kind)
        cast.validate(full=True)
    except _NO_CAST:
        return None
    return cast


def _is_list(kind: pa.DataType) -> bool:
    tests = (pt.is_list, pt.is_large_list, pt.is_fixed_size_list, pt.is_list_view, pt.is_large_list_view)
    return any(test(kind) for test in tests)


def _tags_cell(value: object) -> list[tuple[str, str | None]] | None:
    value = _from_json(value)
    if value is None:
        return None
    if isinstance(value, dict):
        pairs = [(key, item) for key, item in value.items() if item is not None]
    elif isinstance(value, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        pairs = value
    else:
        raise _BadError
    # A whole number beside another row's fraction has become a float.
    return [(_utf8(key), None if item is None else _number_cell(item)) for key, item in pairs]


def _tags(cells: Cells, column: Column) -> Converted:
    if isinstance(cells, pa.Array):
        if pt.is_map(cells.type):
            cast = _checked_cast(cells, column.type)
            if cast is not None:
                return cast, np.zeros(len(cells), bool)
        elif not pt.is_struct(cells.type) and not is_text(cells.type) and not _is_list(cells.type):
            return _all_bad(cells, column.type)
    return _by_cell(cells, column.type, _tags_cell)  # an empty list is an empty map, whatever the rows beside it hold


# --- variants -------------------------------------------------------------------------------------------------------
_AXES: dict[str, Callable[[Any], Any]] = {
    "aspect": _utf8, "duration_s": _float_cell, "style": _utf8, "locale": _utf8,
}  # fmt: skip


def _variants(cells: Cells, column: Column) -> Converted:
    """A struct of lists; null and one whose axes are all null or empty ask for nothing and become null."""
    return _by_cell(cells, column.type, _variants_cell)


def _variants_cell(value: object) -> dict[str, list[Any] | None] | None:
    value = _from_json(value)
    if value is None:
        return None
    if isinstance(value, list) and value and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        value = dict(value)  # a map
    if not isinstance(value, dict):
        raise _BadError
    # A struct has the axes of all rows: those that others misspelt are null in this one.
    asked = {axis: items for axis, items in value.items() if items is not None and items != []}
    if not set(asked) <= set(_AXES) or not all(isinstance(items, list) for items in asked.values()):
        raise _BadError
    return {axis: [_AXES[axis](item) for item in items] for axis, items in asked.items()} or None


# --- features of later work -----------------------------------------------------------------------------------------
def _unbuilt(cells: Cells, column: Column) -> Converted:
    """Any value that asks for something is bad; null, [] and a struct of nothing ask for nothing."""
    return _by_cell(cells, column.type, _ask_cell)


def _ask_cell(value: object) -> None:
    if isinstance(value, str) and value.strip() in ("[]", "{}", "null"):
        return
    if isinstance(value, dict):
        value = [item for item in value.values() if item]
    if value != []:
        raise _BadError


_CONVERTERS: dict[str, Callable[[Cells, Column], Converted]] = {
    "name": _text,
    "text": _text,
    "int": _int,
    "float": _float,
    "time": _time,
    "list": _list,
    "tags": _tags,
    "variants": _variants,
    "unbuilt": _unbuilt,
}
