"""Connected parts of a mask, by numpy alone: runs of a row, joined with the runs above that they touch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Component(NamedTuple):
    """One part: its box in pixels (half-open), its area, the sum of its weights, and its number in `labels`."""

    left: int
    top: int
    right: int
    bottom: int
    area: int
    mass: float
    label: int

    @property
    def centre(self) -> tuple[float, float]:
        """x, y of the box's middle."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


def label(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Numbers the parts of a mask (height, width) from 1, pixels that touch by a side or a corner being one.

    Returns labels (height, width), 0 where the mask is not set, and how many parts there are.
    """
    rows, columns = mask.shape
    padded = np.zeros((rows, columns + 2), np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded, axis=1)
    row_of, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    parents = np.arange(len(starts))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = int(parents[run])
        return run

    first = np.searchsorted(row_of, np.arange(rows + 1))
    for row in range(1, rows):
        above, here = int(first[row - 1]), int(first[row])
        while above < first[row] and here < first[row + 1]:
            if starts[above] <= ends[here] and starts[here] <= ends[above]:  # half-open ends: corners touch too
                parents[root(here)] = root(above)
            if ends[above] < ends[here]:
                above += 1
            else:
                here += 1
    roots = np.array([root(run) for run in range(len(starts))], np.int64)
    _, numbers = np.unique(roots, return_inverse=True)
    labels = np.zeros((rows, columns), np.int32)
    for line, start, end, number in zip(row_of, starts, ends, numbers, strict=True):
        labels[line, start:end] = number + 1
    return labels, int(numbers.max()) + 1 if len(numbers) else 0


def components(labels: NDArray[np.int32], count: int, weights: NDArray[np.float32], most: int) -> list[Component]:
    """The `most` heaviest of these parts, heaviest first; `weights` (height, width) say how much each pixel counts."""
    flat = labels.ravel()
    mass = np.bincount(flat, weights.ravel(), count + 1)
    area = np.bincount(flat, minlength=count + 1)
    mass[0] = -1.0
    found = []
    for number in np.argsort(mass)[::-1][: min(most, count)]:
        ys, xs = np.nonzero(labels == number)
        box = int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1
        found.append(Component(*box, int(area[number]), float(mass[number]), int(number)))
    return found


def grown(mask: NDArray[np.bool_], pixels: int = 1) -> NDArray[np.bool_]:
    """The mask with a rim of so many pixels added."""
    for _ in range(pixels):
        wide = np.pad(mask, 1)
        mask = np.zeros_like(mask)
        for down in range(3):
            for right in range(3):
                mask |= wide[down : down + mask.shape[0], right : right + mask.shape[1]]
    return mask


def shrunk(mask: NDArray[np.bool_], pixels: int = 1) -> NDArray[np.bool_]:
    """The mask with a rim of so many pixels taken off; the picture's edge is no rim."""
    return ~grown(~mask, pixels)
