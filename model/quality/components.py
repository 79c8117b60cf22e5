"""Connected areas of masks, for whole clips at once: NumPy has none, and a flood fill in Python would be slow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def label(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Numbers the connected areas of each frame.

    Args:
        mask: (frames, height, width). Pixels that share a side are connected; frames never are.

    Returns:
        Numbers (frames, height, width): 0 outside, areas from 1 on in the order of their first pixels; and how many.
    """
    frames, height, width = mask.shape
    # One column of False keeps the rows of the flattened clip apart.
    rows = np.zeros((frames * height, width + 1), bool)
    rows[:, :width] = mask.reshape(-1, width)
    flat = rows.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    numbers, count = _joined(starts, ends, width + 1, height)
    painted = np.zeros(flat.shape, np.int32)
    painted[flat] = np.repeat(numbers + 1, ends - starts)
    return painted.reshape(frames, height, width + 1)[..., :width], count


def _joined(
    starts: NDArray[np.int_], ends: NDArray[np.int_], stride: int, height: int
) -> tuple[NDArray[np.int32], int]:
    """The area of each run of pixels, from 0 on, and how many areas there are."""
    # Runs of the row above that overlap with each run are neighbours in the list of runs.
    low = np.searchsorted(ends + stride, starts, side="right")
    high = np.searchsorted(starts + stride, ends, side="left")
    touching = np.where((starts // stride) % height == 0, 0, np.maximum(high - low, 0))
    below = np.repeat(np.arange(len(starts)), touching)
    within = np.arange(len(below)) - np.repeat(np.cumsum(touching) - touching, touching)
    above = np.repeat(low, touching) + within
    root = np.arange(len(starts))
    while True:
        one, other = root[below], root[above]
        if np.array_equal(one, other):
            break
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(root, shorter := root[root]):
            root = shorter
    found, numbers = np.unique(root, return_inverse=True)
    return numbers.astype(np.int32), len(found)


def eroded(mask: NDArray[np.bool_], times: int) -> NDArray[np.bool_]:
    """Pixels of (frames, height, width) masks whose neighbours to all four sides are inside too, so many times over.

    What lies beyond the border counts as inside.
    """
    for _ in range(times):
        inner = mask.copy()
        inner[:, 1:] &= mask[:, :-1]
        inner[:, :-1] &= mask[:, 1:]
        inner[:, :, 1:] &= mask[:, :, :-1]
        inner[:, :, :-1] &= mask[:, :, 1:]
        mask = inner
    return mask
