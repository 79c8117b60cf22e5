"""Whether the colours of a long clip wander off: its last second beside its first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.quality.lab import delta_e_2000, to_lab


def drift(frames: NDArray[np.uint8], fps: float) -> float:
    """CIEDE2000 between the mean colours of the first and of the last second. Up to 3, a clip keeps its look.

    It sees the whole frame: what enters or leaves the picture for good counts as well.

    Args:
        frames: (frames, height, width, 3).
        fps: of the film.
    """
    count = max(1, min(len(frames), round(fps)))
    return float(delta_e_2000(mean_colour(frames[:count]), mean_colour(frames[-count:])))


def mean_colour(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean CIE Lab of frames (frames, height, width, 3): (3,)."""
    return np.mean([to_lab(frame).mean(axis=(0, 1)) for frame in frames], axis=0)
