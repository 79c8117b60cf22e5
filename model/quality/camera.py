"""What the camera does, read from how the background moves; a plain background shows nothing of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_SIDE = 64  # pixels of the short side at which the background is compared
_PAIRS = 10
# Frames between those compared: at 8 frames a second the world pans some 4 of the 64 pixels in that time, and a zoom
# moves the border by more than one.
_LAG = 3
_SHIFTS = range(1, 9)
_ZOOMS = tuple(0.03 * step for step in range(1, 7))  # logarithms of the magnification
_BETTER = 0.7  # a motion must leave less than this of the difference that a still camera leaves
_LEAST = 0.004  # mean squared difference of tones (0..1) below which nothing moved; noise leaves about 0.002


def find_camera(tones: Floats, seen: NDArray[np.bool_]) -> str | None:
    """A word of `vocabulary.CAMERAS`; None where the background cannot tell.

    Args:
        tones: (frames, height, width), 0..1 where the background has its first and its second tone.
        seen: where the background is seen at all.
    """
    count = len(tones) - _LAG
    if count < 1 or min(tones.shape[1:]) < 16:
        return None
    by = max(1, round(min(tones.shape[1:]) / _SIDE))
    votes: list[str] = []
    for first in np.unique(np.linspace(0, count - 1, min(count, _PAIRS)).round().astype(int)):
        one, other = _small(tones[first], seen[first], by), _small(tones[first + _LAG], seen[first + _LAG], by)
        votes.append(_between(one, other))
    return max(sorted(set(votes)), key=votes.count)


def _small(tones: Floats, seen: NDArray[np.bool_], by: int) -> tuple[Floats, Floats]:
    """Means over squares of `by` pixels and a little blur: (values times weight, weight)."""
    weight = seen.astype(np.float32)
    parts = []
    for plane in (tones * weight, weight):
        height, width = (side // by * by for side in plane.shape)
        small = plane[:height, :width].reshape(height // by, by, width // by, by).mean(axis=(1, 3))
        wide = np.pad(small, 1, mode="edge")
        wide = (wide[:-2] + 2 * wide[1:-1] + wide[2:]) / 4
        parts.append(((wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]) / 4).astype(np.float32))
    return parts[0] / np.maximum(parts[1], 1e-3), (parts[1] > 0.9).astype(np.float32)


def _between(one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> str:
    """The motion that turns one frame into the other with the least difference."""
    still = _difference(one, other)
    best, name = still, "still"
    for size in _SHIFTS:
        # A window that moves right sees what was `size` further right.
        cuts = {
            "pans right": (np.s_[:, size:], np.s_[:, :-size]),
            "pans left": (np.s_[:, :-size], np.s_[:, size:]),
            "pans down": (np.s_[size:, :], np.s_[:-size, :]),
            "pans up": (np.s_[:-size, :], np.s_[size:, :]),
        }
        for word, (before, after) in cuts.items():
            found = _difference((one[0][before], one[1][before]), (other[0][after], other[1][after]))
            if found < best:
                best, name = found, word
    for zoom in _ZOOMS:
        for word, (wide, near) in {"zooms in": (one, other), "zooms out": (other, one)}.items():
            found = _difference((_zoomed(wide[0], zoom), _zoomed(wide[1], zoom)), near)
            if found < best:
                best, name = found, word
    return name if still > _LEAST and best < _BETTER * still else "still"


def _difference(one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> float:
    weight = one[1] * other[1]
    total = float(weight.sum())
    # Too little left to compare is no evidence for a motion.
    return float((weight * (one[0] - other[0]) ** 2).sum()) / total if total > 0.3 * weight.size else np.inf


def _zoomed(plane: Floats, zoom: float) -> Floats:
    """The plane magnified by exp(zoom) about its middle, linearly between pixels."""
    axes = []
    for side in plane.shape:
        at = (np.arange(side) + 0.5 - side / 2) / np.exp(zoom) + side / 2 - 0.5
        low = np.clip(np.floor(at).astype(int), 0, side - 2)
        axes.append((low, (at - low).astype(np.float32)))
    (y, v), (x, u) = axes
    rows = plane[y] * (1 - v)[:, None] + plane[y + 1] * v[:, None]
    return rows[:, x] * (1 - u) + rows[:, x + 1] * u
