"""Levels of a film after EBU R 103: how much of the picture is outside of what a broadcaster takes.

R 103 allows R, G and B from -5 % to 105 % and luma from -1 % to 103 % of their nominal range, and lets one pixel in a
hundred stray beyond. Measured of the file as it is, decoded: rings that an encoder leaves at edges count, too.
"""

from __future__ import annotations

import os
from typing import Final

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from infra.media.errors import Unplayable

_RGB: Final = (-0.05, 1.05)
_LUMA: Final = (-0.01, 1.03)
_RED_V, _BLUE_U = 1.5748, 1.8556  # BT.709
_GREEN_U, _GREEN_V = -0.1873, -0.4681
MOST_FRAMES: Final = 48
"""Frames that are looked at, evenly chosen."""


def out_of_range(path: str | os.PathLike[str], *, frames: int) -> float:
    """The share of pixels outside R 103, 0 to 1: the mean over the frames looked at.

    Args:
        path: of a film in BT.709, limited range, 8 bit 4:2:0, as takes are.
        frames: how many it has.

    Raises:
        Unplayable: it cannot be decoded.
    """
    every = max(1, -(-frames // MOST_FRAMES))
    shares: list[float] = []
    try:
        with av.open(os.fspath(path)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index % every == 0:
                    shares.append(_outside(np.asarray(frame.reformat(format="yuv444p").to_ndarray(), np.uint8)))
    except (av.error.FFmpegError, OSError) as error:
        raise Unplayable(os.fspath(path), str(error)) from error
    if not shares:
        raise Unplayable(os.fspath(path), "no frames in it")
    return float(np.mean(shares))


def _outside(planes: NDArray[np.uint8]) -> float:
    luma = (planes[0].astype(np.float32) - 16) / 219
    blue, red = ((plane.astype(np.float32) - 128) / 224 for plane in planes[1:])
    bad = (luma < _LUMA[0]) | (luma > _LUMA[1])
    for part in (luma + _RED_V * red, luma + _GREEN_U * blue + _GREEN_V * red, luma + _BLUE_U * blue):
        bad |= (part < _RGB[0]) | (part > _RGB[1])
    return float(bad.mean())
