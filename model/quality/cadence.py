"""Cadence: for how many frames a clip holds each of its pictures. Drawn for 12 frames a second and shown at 24, two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.quality.general import DUPLICATE_BELOW, FROZEN_BELOW

LEAST_PICTURES = 4
"""Pictures that differ, of which a cadence can be told."""


def cadence(steps: NDArray[np.float64]) -> float | None:
    """Frames for which a picture is held, as the median over a clip's pictures: 1 where each frame is new.

    A clip that rests for a while still has most of its pictures one frame long, so that rest is no cadence. None where
    too little moves to tell.

    Args:
        steps: mean absolute difference of each frame from the one before, in grey levels (frames - 1,).
    """
    moving = steps[steps >= 2 * FROZEN_BELOW]
    if not len(moving):
        return None
    new = np.concatenate([[True], steps >= max(FROZEN_BELOW, DUPLICATE_BELOW * float(np.median(moving)))])
    begins = np.nonzero(new)[0]
    if len(begins) < LEAST_PICTURES:
        return None
    # The last picture ends with the clip, not with a next one: it may be cut short.
    return float(np.median(np.diff(begins)))
