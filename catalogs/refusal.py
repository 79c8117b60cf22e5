"""Why a row is refused: the entry that people see, and how a value is shown in it."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pyarrow as pa

from catalogs.schema import VALUE_SHOWN

ROW = "(row)"
"""Stands for the column where a whole row cannot be read, for example a line that is not JSON."""

_USERINFO = re.compile(r"(?<=://)[^/\s]*@")


def shown_url(url: str) -> str:
    """A URL as it may be shown: without user and password, and of http without the query, which may be a signature."""
    text = _USERINFO.sub("***@", url)
    head, mark, _ = text.partition("?")
    return f"{head}?***" if mark and text.startswith(("http://", "https://")) else text


class Refusal(NamedTuple):
    """One refused row: its 0-based number in the file, and the first rule that it breaks."""

    row: int
    column: str
    value: str
    legal: str


def show(value: object) -> str:
    """A value as people read it: at most 200 characters, control characters escaped, passwords in URLs left out."""
    if value is None:
        return "null"
    if isinstance(value, str):
        text = value[: VALUE_SHOWN + 1]
        text = _USERINFO.sub("***@", text) or '""'
    else:
        if isinstance(value, dict):  # a struct has the fields of all rows; what is null, this one did not say
            value = {name: item for name, item in value.items() if item is not None}
        text = repr(value) if isinstance(value, bytes | list | dict) else str(value)
    if not text.isprintable():
        text = repr(text[: VALUE_SHOWN + 1])[1:-1]
    return text if len(text) <= VALUE_SHOWN else text[: VALUE_SHOWN - 1] + "…"


def cell(column: pa.Array | list[Any], index: int) -> object:
    """The Python value of one cell, or its bytes where it is not valid text; never raises for a bad value."""
    if isinstance(column, list):
        return column[index]
    scalar = column[index]
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        storage = scalar.value if isinstance(scalar, pa.DictionaryScalar) else scalar
        return storage.as_buffer().to_pybytes() if hasattr(storage, "as_buffer") else "text that is not UTF-8"
    except (ValueError, OverflowError, KeyError):  # outside Python's years, or of a zone that is not known: its number
        return f"{scalar.value} {scalar.type}"
