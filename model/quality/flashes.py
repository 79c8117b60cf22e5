"""Flashes that may set off a seizure, after ITU-R BT.1702: how many there are in the worst second of a clip.

A flash is a pair of opposing changes of relative luminance of a tenth of the maximum or more, the darker side below
0.8 of it, on a quarter of the picture or more at once; more than three in any second are a danger. Two things that the
recommendation has are not looked for: changes to and from saturated red, and regular patterns. So a clip that passes
is not certified; one that fails would fail elsewhere too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CHANGE = 0.1
"""Of the maximum luminance, by which a change counts."""
DARK_BELOW = 0.8
"""Of the maximum luminance, which the darker side of a change must be below."""
AREA = 0.25
"""Of the picture, that has to change at once."""
_AT_ONCE = 2  # frames over which a change may reach the parts of the picture
_SIDE = 48  # cells along the short side; a flash is large, and noise in single pixels is none
_RED, _GREEN, _BLUE = 0.2126, 0.7152, 0.0722


def flashes(frames: NDArray[np.uint8], fps: float) -> float:
    """Flashes in the worst second of a clip (frames, height, width, 3), uint8: pairs of changes, so halves occur.

    A clip shorter than a second is taken as it is.
    """
    turns = _turns(frames)
    window = max(1, round(fps))
    inside = np.concatenate([[0], np.cumsum(turns)])
    most = max(
        (int(inside[min(end, len(turns))] - inside[end - window]) for end in range(window, len(inside))), default=0
    )
    return (most if len(turns) > window else int(turns.sum())) / 2


def _turns(frames: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Frames at which enough of the picture has changed, each time in the other direction than before: (frames,)."""
    found = np.zeros(len(frames), bool)
    first = _luminance(frames[0])
    low, high = first.copy(), first.copy()  # extremes of each cell since its last change
    way = np.zeros(first.shape, np.int8)  # of its last change
    recent: dict[int, list[NDArray[np.bool_]]] = {1: [], -1: []}
    last = 0
    for index in range(1, len(frames)):
        now = _luminance(frames[index])
        up = (now - low >= CHANGE) & (low < DARK_BELOW) & (way != 1)
        down = (high - now >= CHANGE) & (now < DARK_BELOW) & (way != -1)
        way[up], way[down] = 1, -1
        np.minimum(low, now, out=low)
        np.maximum(high, now, out=high)
        changed = up | down
        low[changed] = high[changed] = now[changed]
        for direction, cells in ((1, up), (-1, down)):
            recent[direction] = [*recent[direction], cells][-_AT_ONCE:]
            if direction != last and np.logical_or.reduce(recent[direction]).mean() >= AREA:
                found[index], last = True, direction
                recent = {1: [], -1: []}
                break
    return found


def _luminance(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Relative luminance of the picture's cells, 0 to 1, linear in light (gamma 2.4, as BT.1886 displays show it)."""
    by = max(1, min(frame.shape[:2]) // _SIDE)
    height, width = frame.shape[0] // by, frame.shape[1] // by
    linear = _LINEAR[frame[: height * by, : width * by]]
    light = linear[..., 0] * _RED + linear[..., 1] * _GREEN + linear[..., 2] * _BLUE
    cells: NDArray[np.float32] = light.reshape(height, by, width, by).mean(axis=(1, 3), dtype=np.float32)
    return cells


_LINEAR = ((np.arange(256) / 255.0) ** 2.4).astype(np.float32)
