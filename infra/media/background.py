"""What stands behind the subject of a film: two estimates without a learned model, and how far a frame is from them.

`Plane` takes the frame's border for the background: one colour, or a slope of colours, fitted so that a subject which
touches the border does not count. It finds subjects that stand still. `Still` takes what each place shows most of the
time: it finds whatever moves before a picture, however rich, that does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (height, width, 3)
_RING = 0.04  # of the shorter side: how thick the border is that is taken for background
_ROUNDS = 6
_ROWS = 64
_NOISE = 2.0  # grey levels: what an encoder leaves on a plain colour


class Background(Protocol):
    """Tells how far each pixel of a frame is from the background, in grey levels: (height, width), float32."""

    def distance(self, picture: Picture) -> NDArray[np.float32]: ...


class Plane:
    """The background is c0 + c1·x + c2·y in each channel, fitted anew to each frame's border."""

    def distance(self, picture: Picture) -> NDArray[np.float32]:
        rows, columns = picture.shape[:2]
        x = np.linspace(-1, 1, columns, dtype=np.float32)
        y = np.linspace(-1, 1, rows, dtype=np.float32)
        fitted = self._fit(picture, x, y)
        expected = fitted[0] + x[None, :, None] * fitted[1] + y[:, None, None] * fitted[2]
        return _length(picture - expected)

    @staticmethod
    def _fit(picture: Picture, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Coefficients (3, channels); pixels that the fit does not explain lose their weight, round by round."""
        rows, columns = picture.shape[:2]
        thick = max(1, round(min(rows, columns) * _RING))
        ring = np.zeros((rows, columns), bool)
        ring[:thick], ring[-thick:], ring[:, :thick], ring[:, -thick:] = True, True, True, True
        down, right = np.nonzero(ring)
        colours = picture[ring].astype(np.float32)
        places = np.stack([np.ones(len(down), np.float32), x[right], y[down]], axis=1)
        fitted = np.zeros((3, 3), np.float32)
        fitted[0] = np.median(colours, axis=0)
        for _ in range(_ROUNDS):
            off = _length(colours - places @ fitted)
            scale = 1.5 * float(np.median(off)) + _NOISE
            weight = 1.0 / (1.0 + (off / scale) ** 2) ** 2
            weighted = places * weight[:, None]
            fitted = np.linalg.solve(weighted.T @ places + 1e-3 * np.eye(3, dtype=np.float32), weighted.T @ colours)
        return np.asarray(fitted, np.float32)


class Still:
    """The background is the median of some frames, pixel by pixel."""

    FEWEST = 8  # frames: of less, the median is as likely to be the subject

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self._median = np.empty(pictures[0].shape, np.float32)
        for row in range(0, len(self._median), _ROWS):  # numpy's median holds everything twice, in float64
            part = np.stack([picture[row : row + _ROWS] for picture in pictures])
            self._median[row : row + _ROWS] = np.median(part, axis=0)

    def distance(self, picture: Picture) -> NDArray[np.float32]:
        return _length(picture.astype(np.float32) - self._median)


def threshold(distance: NDArray[np.float32]) -> float:
    """The distance from which a pixel is the subject's: above the noise, and a part of the frame's greatest ones."""
    noise = float(np.median(distance))
    return max(14.0, 4.0 * noise, 0.3 * float(np.percentile(distance, 99.7)))


def _length(difference: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.asarray(np.sqrt(np.square(difference).mean(axis=-1)), np.float32)
