"""Drafts and upscaled films: shots that are rendered smaller than they are asked for, and how much smaller.

A draft is a job of its own: every shot small and in few steps, so that people choose by what moves where. Its mark is
in each take's revision, so a draft never passes for a final, even where size and steps come out the same. A film with
`upscale` is a final: it is rendered that many times smaller, and brought to its size before it is encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalogs.schema import SIZE_MAX, SIZE_MIN

LANCZOS = "lanczos"
"""The upscaler that a plan names where nobody chose another."""


class Draft(NamedTuple):
    """How small and how quick a draft is.

    Attributes:
        scale: of width and height, above 0 and at most 1.
        steps: denoising steps, at most; a shot that asks for fewer keeps its own.
    """

    scale: float
    steps: int

    @property
    def mark(self) -> str:
        """What stands in the plan's column `draft`, and so in the revision."""
        return f"scale {self.scale:g}, {self.steps} steps"


def drafted(columns: Mapping[str, pa.Array], facts: Mapping[str, Any], draft: Draft) -> dict[str, pa.Array]:
    """The columns of shots that a draft changes, each (n,): width, height, steps, upscale, draft.

    The film keeps its proportions; its shorter side is never below the model's smallest, of which a centre would be
    cut out. A draft is not upscaled: what people look at is what was rendered.

    Args:
        columns: width, height, steps and upscale of the shots, defaults filled in.
        facts: of the model.
    """
    width, height = (columns[name].to_numpy().astype(np.float64) for name in ("width", "height"))
    factor = draft.scale / _times(columns["upscale"])
    shorter = np.maximum(np.minimum(width, height), 1.0)
    factor = np.minimum(np.maximum(factor, float(facts["min_size"]) / shorter), 1.0)
    steps = np.minimum(columns["steps"].to_numpy(), draft.steps)
    return {
        "width": _even(width * factor),
        "height": _even(height * factor),
        "steps": pa.array(steps, pa.int32()),
        "upscale": pa.nulls(len(width), pa.float64()),
        "draft": pa.array([draft.mark] * len(width), pa.string()),
    }


def sides_to_render(columns: Mapping[str, pa.Array]) -> dict[str, np.ndarray]:
    """Width and height of what a model is to render at least, int64, each (n,): the film's own over `upscale`."""
    times = _times(columns["upscale"])
    return {name: np.ceil(columns[name].to_numpy() / times).astype(np.int64) for name in ("width", "height")}


def upscaled(columns: Mapping[str, pa.Array], sides: Mapping[str, np.ndarray], upscaler: str) -> pa.Array:
    """The upscaler's name for each film that is larger than what is rendered of it, null for the others, (n,).

    Args:
        columns: width, height and upscale of the shots.
        sides: as they are rendered, fitted to the model's grid.
    """
    smaller = np.zeros(len(columns["width"]), bool)
    for name in ("width", "height"):
        smaller |= sides[name] < columns[name].to_numpy()
    smaller &= np.asarray(columns["upscale"].is_valid())
    return pc.if_else(pa.array(smaller), upscaler, pa.scalar(None, pa.string()))


def _times(upscale: pa.Array) -> np.ndarray:
    return upscale.fill_null(1.0).to_numpy()


def _even(sides: np.ndarray) -> pa.Array:
    return pa.array(np.clip(2 * np.round(sides / 2), SIZE_MIN, SIZE_MAX).astype(np.int32))
