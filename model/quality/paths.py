"""How things move: paths, their directions, and how far they are from lines, parabolas, bounces and orbits.

Lengths are shares of the frame's short side throughout, so that one threshold serves every size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.quality.blobs import Blob
from model.quality.reading import Reading
from model.training.world import DIRECTIONS

Path = NDArray[np.float64]

# The slowest thing of the world covers 0.28 in 17 frames at 8 a second, a shaky rendered one that stands about 0.03.
STILL_BELOW = 0.09
# Root mean square distance from the law that a motion follows: drawn clips leave 0.006 (centroids of pixels), and a
# jump of a tenth of the frame in one of 17 frames 0.023.
RESIDUAL_MOST = 0.02


class Verdict(NamedTuple):
    """Whether a clip obeys in one respect, and how clearly: degree in 0..1, for ranks among clips that all do."""

    passed: bool
    degree: float


def path_of(reading: Reading, blobs: Sequence[Blob | None]) -> Path:
    """Centroids (frames, 2) as (x, y), in short sides; NaN where the thing is not seen."""
    nowhere = (np.nan, np.nan)
    return np.asarray([nowhere if blob is None else (blob.x, blob.y) for blob in blobs], float) / reading.short


def travel(path: Path) -> NDArray[np.float64]:
    """Way from the first quarter to the last quarter of the frames in which it is seen: (x, y)."""
    seen = path[np.isfinite(path[:, 0])]
    if len(seen) < 2:
        return np.zeros(2)
    count = max(1, len(seen) // 4)
    way: NDArray[np.float64] = seen[-count:].mean(axis=0) - seen[:count].mean(axis=0)
    return way


def heading(path: Path) -> str:
    """The word for where a path leads."""
    way = travel(path)
    if float(np.hypot(*way)) < STILL_BELOW:
        return "still"
    return max((name for name in DIRECTIONS if name != "still"), key=lambda name: float(way @ DIRECTIONS[name]))


def fitted(values: NDArray[np.float64], order: int) -> tuple[NDArray[np.float64], float]:
    """Polynomial coefficients over frame numbers, highest first, and the root mean square residual."""
    at = np.arange(len(values), dtype=float)
    seen = np.isfinite(values)
    if seen.sum() <= order:
        return np.zeros(order + 1), np.inf
    coefficients = np.polyfit(at[seen], values[seen], order)
    rest = values[seen] - np.polyval(coefficients, at[seen])
    return coefficients, float(np.sqrt(np.mean(rest**2)))


def obeys(path: Path, motion: str, direction: str | None, floor: float) -> Verdict:
    """Whether a path follows the law of a motion.

    Args:
        path: (frames, 2).
        motion: as `model.quality.asked.Subject` has it.
        direction: for straight and accelerating motion.
        floor: y of the frame's lower border, in short sides.
    """
    if float(np.isfinite(path[:, 0]).mean()) < 0.8 or len(path) < 5:
        return Verdict(False, 0.0)
    if motion == "straight":
        return _line(path, direction)
    if motion == "accelerating":
        return _faster(path, direction)
    if motion.startswith("falling"):
        return _fall(path, motion == "falling and bouncing", floor)
    if motion.startswith("bouncing"):
        return _walls(path, 0 if motion == "bouncing left and right" else 1)
    if motion == "orbiting":
        return _orbit(path)
    # Standing still: it stays where it is.
    spread = float(np.nanmax(np.nanstd(path, axis=0)))
    return Verdict(spread < STILL_BELOW / 3, _near(spread, STILL_BELOW / 3))


def _near(value: float, limit: float) -> float:
    """1 at 0, a half at the limit, towards 0 beyond."""
    return float(1 / (1 + max(value, 0.0) / limit))


def _line(path: Path, direction: str | None) -> Verdict:
    rest = max(fitted(path[:, axis], 1)[1] for axis in range(2))
    right = heading(path) == direction
    return Verdict(right and rest < RESIDUAL_MOST, _near(rest, RESIDUAL_MOST) if right else 0.0)


def _faster(path: Path, direction: str | None) -> Verdict:
    """From rest, with a constant acceleration: the quadratic term makes all of the way."""
    if heading(path) != direction or direction is None:
        return Verdict(False, 0.0)
    along = path @ np.asarray(DIRECTIONS[direction])
    (half_pull, _, _), rest = fitted(along, 2)
    steps = len(path) - 1
    way = float(np.nanmax(along) - np.nanmin(along))
    share = half_pull * steps**2 / max(way, 1e-6)
    # 1 when it starts at rest and 0 at constant speed.
    return Verdict(rest < RESIDUAL_MOST and 0.55 < share < 1.6, _near(rest, RESIDUAL_MOST) * _near(abs(share - 1), 1.0))


def _fall(path: Path, bounces: bool, floor: float) -> Verdict:
    """A parabola from rest to the floor; from there it stays, or rises again by less than it fell."""
    y = path[:, 1]
    height = float(np.nanmax(y) - y[np.isfinite(y)][0])
    landed = int(np.argmax(np.nan_to_num(y, nan=-1.0) >= np.nanmax(y) - 0.03))
    if height < 0.15 or landed < 3 or np.nanmax(y) < 0.6 * floor:
        return Verdict(False, 0.0)
    # The frame of the touch itself may already show the way up.
    (half_pull, _, _), rest = fitted(y[:landed], 2)
    way = float(np.nanmax(y[:landed]) - np.nanmin(y[:landed]))
    share = half_pull * (landed - 1) ** 2 / max(way, 1e-6)
    drift = float(np.nanstd(path[:, 0]))
    law = rest < RESIDUAL_MOST and 0.5 < share < 1.7 and drift < 0.05
    rise = float(np.nanmax(y) - np.nanmin(y[landed:])) / height
    after = 0.15 < rise < 0.9 if bounces else rise < 0.1
    return Verdict(law and after, _near(rest, RESIDUAL_MOST) * _near(abs(share - 1), 1.0) * (1.0 if after else 0.3))


def _walls(path: Path, axis: int) -> Verdict:
    """To and fro at one speed, and still across."""
    along, across = path[:, axis], path[:, 1 - axis]
    step = np.diff(along[np.isfinite(along)])
    speed = float(np.median(np.abs(step))) if len(step) else 0.0
    if speed < 0.01 or float(np.nanstd(across)) > 0.04:
        return Verdict(False, 0.0)
    sign = np.sign(np.where(np.abs(step) < 0.3 * speed, 0.0, step))
    sign = sign[sign != 0]
    turns = int(np.count_nonzero(np.diff(sign)))
    # The step in which it turns is shorter; all others are alike.
    even = float(np.mean(np.abs(np.abs(step) - speed) < 0.3 * speed))
    passed = 1 <= turns <= max(2, len(along) // 8) and even > 0.75
    return Verdict(passed, even if passed else 0.3 * even)


def _orbit(path: Path) -> Verdict:
    """A circle around some centre, at one speed, for a good part of a turn."""
    seen = path[np.isfinite(path[:, 0])]
    # A circle through points: x^2 + y^2 = 2ax + 2by + c is linear in a, b and c.
    system = np.column_stack([2 * seen, np.ones(len(seen))])
    (a, b, c), *_ = np.linalg.lstsq(system, (seen**2).sum(axis=1), rcond=None)
    radius = float(np.sqrt(max(c + a * a + b * b, 0.0)))
    rest = float(np.std(np.hypot(seen[:, 0] - a, seen[:, 1] - b)))
    angle = np.unwrap(np.arctan2(seen[:, 1] - b, seen[:, 0] - a))
    turn = abs(float(angle[-1] - angle[0])) / (2 * np.pi)
    (_, _), uneven = fitted(angle, 1)
    passed = 0.1 < radius < 0.6 and rest < RESIDUAL_MOST and turn > 0.4 and uneven * radius < 2 * RESIDUAL_MOST
    return Verdict(passed, _near(rest, RESIDUAL_MOST) * _near(uneven * radius, 2 * RESIDUAL_MOST))
