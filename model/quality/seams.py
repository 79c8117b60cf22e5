"""Whether a clip that was made in parts shows where they meet: the step over a join beside the clip's usual step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEAST_STEP = 0.25
"""Grey levels below which a step is rounding: a clip that stands still has no usual step to compare with."""

SEAM_MOST = 1.5
"""Median steps up to which a join is not seen as one."""


def steps(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean absolute difference of each frame from the one before, in grey levels: (frames - 1,).

    Args:
        frames: (frames, height, width, 3).
    """
    found = np.empty(max(len(frames) - 1, 0))
    for index in range(len(found)):  # frame by frame: a minute of film as float64 would not fit everywhere
        found[index] = np.abs(frames[index + 1].astype(np.int16) - frames[index].astype(np.int16)).mean()
    return found


def seams(frames: NDArray[np.uint8], joins: Sequence[int]) -> NDArray[np.float64]:
    """The step over each join as a multiple of the clip's median step: (joins,). Up to `SEAM_MOST` it is not seen.

    Args:
        frames: (frames, height, width, 3).
        joins: for each, the first frame after it, 1 .. frames - 1.

    Raises:
        ValueError: a join that is not between two frames.
    """
    strange = [join for join in joins if not 1 <= join < len(frames)]
    if strange:
        raise ValueError(f"{strange} are not between two of {len(frames)} frames")
    found = steps(frames)
    return found[np.asarray(joins, int) - 1] / max(float(np.median(found)), LEAST_STEP)
