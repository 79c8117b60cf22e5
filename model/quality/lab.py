"""Colours as the eye tells them apart: CIE Lab, and the distance Delta E of 2000."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Linear sRGB to XYZ, and the white point D65, of IEC 61966-2-1.
_TO_XYZ = np.asarray([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = _TO_XYZ.sum(axis=1)


def to_lab(rgb: ArrayLike) -> Floats:
    """CIE L*, a*, b* of sRGB colours in 0..255; any shape that ends in 3."""
    share = np.asarray(rgb, np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T / _WHITE
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def delta_e_2000(one: ArrayLike, other: ArrayLike) -> Floats:
    """CIEDE2000 of Lab colours (..., 3), by the formulas of Sharma, Wu and Dalal (2005); about 1 is just seen."""
    first, second = np.asarray(one, np.float64), np.asarray(other, np.float64)
    l1, l2 = first[..., 0], second[..., 0]
    chroma = (np.hypot(first[..., 1], first[..., 2]) + np.hypot(second[..., 1], second[..., 2])) / 2
    grow = 1.5 - 0.5 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    a1, a2, b1, b2 = first[..., 1] * grow, second[..., 1] * grow, first[..., 2], second[..., 2]
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    grey = c1 * c2 == 0
    turn = np.where(grey, 0.0, (h2 - h1 + 180) % 360 - 180)
    dl, dc, dh = l2 - l1, c2 - c1, 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))
    light, colour = (l1 + l2) / 2, (c1 + c2) / 2
    hue = np.where(grey, h1 + h2, (h1 + turn / 2) % 360)
    weight = (
        1
        - 0.17 * np.cos(np.radians(hue - 30))
        + 0.24 * np.cos(np.radians(2 * hue))
        + 0.32 * np.cos(np.radians(3 * hue + 6))
        - 0.20 * np.cos(np.radians(4 * hue - 63))
    )
    sl = 1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2)
    sc, sh = 1 + 0.045 * colour, 1 + 0.015 * colour * weight
    bend = np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    tilt = -2 * np.sqrt(colour**7 / (colour**7 + 25.0**7)) * bend
    squares = (dl / sl) ** 2 + (dc / sc) ** 2 + (dh / sh) ** 2 + tilt * (dc / sc) * (dh / sh)
    distance: Floats = np.sqrt(np.maximum(squares, 0.0))
    return distance
