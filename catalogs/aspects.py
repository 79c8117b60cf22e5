"""Sizes of shots that are asked for in another aspect: as much picture as before, in another shape."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

import numpy as np
import pyarrow as pa

from catalogs import grid
from catalogs.schema import SIZE_MAX, SIZE_MIN


def reshaped(width: int, height: int, aspect: float, facts: Mapping[str, Any]) -> tuple[int, int]:
    """Even width and height of about the same area, whose ratio is `aspect`, that cost no more than the given ones.

    Args:
        width, height: as they would be without it.
        aspect: width over height.
        facts: of the model.
    """
    if width == aspect * height:
        return width, height
    most = _patches(width, height, facts)
    tall = _even(sqrt(width * height / aspect))
    while tall > SIZE_MIN and _patches(_even(tall * aspect), tall, facts) > most:
        tall -= 2
    return _even(tall * aspect), tall


def with_aspects(columns: Mapping[str, pa.Array], facts: Mapping[str, Any]) -> dict[str, pa.Array]:
    """Width and height of the shots, those of variants in an aspect of their own reshaped; each (n,)."""
    sides = {name: columns[name] for name in ("width", "height")}
    asked = np.nonzero(np.asarray(columns["variant.aspect"].is_valid()))[0]
    if not len(asked):
        return sides
    width, height = (sides[name].to_numpy().copy() for name in ("width", "height"))
    aspect = columns["variant.aspect"].fill_null(0.0).to_numpy()[asked]
    known: dict[tuple[int, int, float], tuple[int, int]] = {}
    for place, ratio in zip(asked.tolist(), aspect.tolist(), strict=True):
        key = int(width[place]), int(height[place]), ratio
        if key not in known:
            known[key] = reshaped(*key, facts)
        width[place], height[place] = known[key]
    return {"width": pa.array(width, pa.int32()), "height": pa.array(height, pa.int32())}


def _even(side: float) -> int:
    return min(max(2 * round(side / 2), SIZE_MIN), SIZE_MAX)


def _patches(width: int, height: int, facts: Mapping[str, Any]) -> int:
    return int(grid.tokens(grid.fit_side(width, facts), grid.fit_side(height, facts), 1, facts))
