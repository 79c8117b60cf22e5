"""The small JSON objects of a store, read strictly.

Whoever may write to a store may have written one by hand, and a disk may have cut one short. Python's own reader takes
more than JSON: NaN, infinite numbers, and any depth until its stack ends. Here all that is one error, ValueError.
"""

from __future__ import annotations

import json
import math
from typing import Any

MOST = 2**63 - 1
"""The largest number that tables hold."""


def read_json(data: bytes) -> Any:
    """The content. ValueError for what is no JSON, holds a number that is none, or is nested too deep."""
    try:
        return json.loads(data, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def read_object(data: bytes) -> dict[str, Any]:
    """The content of an object. ValueError for anything else."""
    found = read_json(data)
    if not isinstance(found, dict):
        raise ValueError(f"it is {type(found).__name__}, no object")
    return found


def is_count(found: Any, most: int = MOST) -> bool:
    """Whether it is a whole number from 0 to `most`; true and false are none."""
    return type(found) is int and 0 <= found <= most


def is_amount(found: Any) -> bool:
    """Whether it is a finite number from 0 up that tables hold."""
    return not isinstance(found, bool) and isinstance(found, int | float) and 0 <= found <= MOST


def _refuse_constant(text: str) -> float:
    """JSON has no NaN and no Infinity, and no comparison with NaN holds."""
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    found = float(text)
    if not math.isfinite(found):
        raise ValueError(f"{text[:40]} is too large a number")
    return found


def _whole(text: str) -> int:
    if len(text) > 20 or not -MOST - 1 <= int(text) <= MOST:
        raise ValueError(f"{text[:40]} is too large a number")
    return int(text)
