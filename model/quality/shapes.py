"""Reads the attributes of a one-shape clip back from its pixels, to hold them against the prompt.

Made for the world of `model.training.world`: one shape in one colour on a plain background. Each measure is checked
against drawn clips in the tests before it is trusted on rendered ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.training.world import BACKGROUNDS, COLORS, DIRECTIONS, Rgb

# Area over bounding box: a triangle fills 0.50 of its box, a circle 0.79 and a square all of it.
_TRIANGLE_BELOW, _SQUARE_ABOVE = 0.64, 0.89
# Longer side of the box over the short side of the frame: small shapes reach 0.22, large ones begin at 0.29.
_LARGE_ABOVE = 0.265
# Path over the short side of the frame; the slowest moving shape covers 0.28 in 17 frames.
_STILL_BELOW = 0.09
_CONTRAST = 50.0  # RGB distance from the background at which a pixel counts as shape


@dataclass(frozen=True)
class Seen:
    """What a clip shows. `kind`, `color`, `size` and `direction` are None where no shape was found."""

    background: str
    kind: str | None = None
    color: str | None = None
    size: str | None = None
    direction: str | None = None


def nearest(rgb: np.ndarray, palette: dict[str, Rgb]) -> str:
    """Name of the palette's entry closest to `rgb` (3,) by Euclidean distance."""
    return min(palette, key=lambda name: float(np.linalg.norm(rgb - np.asarray(palette[name]))))


def look(frames: np.ndarray) -> Seen:
    """Attributes of a clip, (frames, height, width, 3) uint8."""
    video = frames.astype(np.float64)
    height, width = video.shape[1:3]
    border = np.concatenate([video[:, 0], video[:, -1], video[:, :, 0], video[:, :, -1]], axis=1)
    paper = np.median(border.reshape(-1, 3), axis=0)
    background = nearest(paper, BACKGROUNDS)
    distance = np.linalg.norm(video - paper, axis=-1)
    mask = distance > _CONTRAST
    areas = mask.sum(axis=(1, 2))
    if np.count_nonzero(areas >= 9) < (len(frames) + 1) // 2:
        return Seen(background)
    fills, extents, centroids, inks = [], [], [], []
    for frame, inside in zip(video, mask, strict=True):
        if inside.sum() < 9:
            continue
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        box = (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
        fills.append(inside.sum() / (box[0] * box[1]))
        extents.append(max(box) / min(width, height))
        y, x = np.nonzero(inside)
        centroids.append((x.mean(), y.mean()))
        core = np.linalg.norm(frame - paper, axis=-1)
        inks.append(np.median(frame[core >= np.quantile(core[inside], 0.5)], axis=0))
    fill = float(np.median(fills))
    kind = "triangle" if fill < _TRIANGLE_BELOW else "square" if fill > _SQUARE_ABOVE else "circle"
    return Seen(
        background,
        kind=kind,
        color=nearest(np.median(inks, axis=0), COLORS),
        size="large" if float(np.median(extents)) > _LARGE_ABOVE else "small",
        direction=_direction(np.asarray(centroids), min(width, height)) if len(centroids) > 1 else None,
    )


def _direction(centroids: np.ndarray, side: int) -> str:
    count = max(1, len(centroids) // 4)
    path = centroids[-count:].mean(axis=0) - centroids[:count].mean(axis=0)
    if np.linalg.norm(path) < _STILL_BELOW * side:
        return "still"
    moving = {name: unit for name, unit in DIRECTIONS.items() if name != "still"}
    return max(moving, key=lambda name: float(path @ np.asarray(moving[name])))
