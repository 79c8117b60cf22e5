"""Frame rates as exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

# Rates that television divides by 1.001: 23.976, 29.97, 47.952, 59.94, 119.88 and the halves that models use.
_NTSC = tuple(Fraction(nominal * 1000, 1001) for nominal in (12, 15, 24, 30, 48, 60, 120))
# People round 23.976 to 23.98; a float32 column keeps seven digits.
_CLOSE = 2e-4
_LARGEST = 1000


def as_rate(fps: float | Fraction) -> Fraction:
    """The exact rate that a number means: 8 -> 8, 23.976 and 23.98 -> 24000/1001, 12.5 -> 25/2.

    ValueError when it is not a number above 0 and up to 1000.
    """
    if not math.isfinite(fps) or not 0 < fps <= _LARGEST:
        raise ValueError(f"a frame rate is above 0 and at most {_LARGEST} per second, not {fps}")
    if isinstance(fps, Fraction):
        return fps.limit_denominator(1001)
    near = [Fraction(round(fps)), *_NTSC]
    exact = min(near, key=lambda rate: abs(rate - Fraction(fps)))
    if exact > 0 and abs(exact - Fraction(fps)) <= (_CLOSE if exact.denominator == 1001 else 1e-6) * exact:
        return exact
    return max(Fraction(fps).limit_denominator(_LARGEST), Fraction(1, _LARGEST))
