"""Columns that a catalog has of its own: handed through in a form that every reader of a plan can hold.

A plan's row is read as Python's values again and again, long after the catalog was accepted. So what Python has no
value for is told here: it costs its row, and not a farm that works.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from catalogs.convert import plain

LEGAL: Final = "values that are valid (text in UTF-8, times of the years 1 to 9999)"


def kept(cells: pa.Array | list[Any]) -> pa.Array:
    """An unknown column as it is, but without encodings that Arrow cannot filter or that differ between batches.

    Nanoseconds are cut to whole microseconds, and a zone that this machine does not know is UTC, as what is stored is.
    """
    array = cells if isinstance(cells, pa.Array) else pa.array(cells)
    if pt.is_dictionary(array.type) or pt.is_run_end_encoded(array.type):
        array = plain(array)
    cut, wanted = _kept_type(array.type, cut=True), _kept_type(array.type)
    if array.type == cut == wanted:
        return array
    if pt.is_string(wanted):  # by way of bytes, so that text that is not UTF-8 is found in its own row
        return array.cast(pa.binary()).view(wanted)
    return array.cast(cut, safe=False).cast(wanted, safe=False)


def unreadable(array: pa.Array) -> np.ndarray:
    """Where a value is not what its type says, such as text that is not UTF-8, or none that Python has; (n,) bool."""
    try:
        array.validate(full=True)
        if _holds_times(array.type):
            array.to_pylist()
    except (pa.ArrowInvalid, ValueError, OverflowError):
        return np.array([not _is_readable(array, index) for index in range(len(array))], bool)
    return np.zeros(len(array), bool)


def _is_readable(array: pa.Array, index: int) -> bool:
    try:
        plain(array).take(pa.array([index])).validate(full=True)
        if _holds_times(array.type):
            array[index].as_py()
    except (pa.ArrowInvalid, ValueError, OverflowError):
        return False
    return True


def _kept_type(kind: pa.DataType, *, cut: bool = False) -> pa.DataType:
    """The type with plain text and bytes in place of views of them, and with zones that are known.

    Args:
        cut: with microseconds in place of nanoseconds.
    """

    def inner(field: pa.Field) -> pa.Field:
        return field.with_type(_kept_type(field.type, cut=cut))

    if pt.is_string_view(kind):
        return pa.string()
    if pt.is_binary_view(kind):
        return pa.binary()
    if pt.is_timestamp(kind):
        return pa.timestamp(_unit(kind, cut), kind.tz if _is_zone(kind.tz) else "UTC")
    if pt.is_duration(kind):
        return pa.duration(_unit(kind, cut))
    if pt.is_time64(kind):
        return pa.time64(_unit(kind, cut))
    if pt.is_struct(kind):
        return pa.struct([inner(field) for field in kind])
    if pt.is_list(kind):
        return pa.list_(inner(kind.value_field))
    if pt.is_large_list(kind):
        return pa.large_list(inner(kind.value_field))
    if pt.is_fixed_size_list(kind):
        return pa.list_(inner(kind.value_field), kind.list_size)
    if pt.is_map(kind):
        return pa.map_(inner(kind.key_field), inner(kind.item_field), kind.keys_sorted)
    return kind


def _unit(kind: pa.DataType, cut: bool) -> str:
    return "us" if cut and kind.unit == "ns" else str(kind.unit)


def _is_zone(name: str | None) -> bool:
    if name is None:
        return True
    try:
        pa.scalar(0, pa.timestamp("s", name)).as_py()
    except (KeyError, ValueError):  # what zoneinfo and pytz raise
        return False
    return True


def _holds_times(kind: pa.DataType) -> bool:
    nested = (kind.field(place).type for place in range(kind.num_fields))
    return pt.is_temporal(kind) or any(map(_holds_times, nested))
