"""Where a film that is closed in time is cut open."""

from __future__ import annotations

import numpy as np

from model.autoencoder import Frames

_CALM = 0.8


def opened(frames: Frames) -> Frames:
    """A ring of frames (n, h, w, 3) as a film that begins where little moves, so that its ends meet unseen.

    That is the first step of at most 0.8 times the median one: the first and not the smallest, because two that are
    nearly the same must not change places with the last bit of a value.
    """
    before = np.roll(frames, 1, axis=0)
    steps = np.array(
        [
            np.abs(one.astype(np.int32) - other.astype(np.int32)).mean()
            for one, other in zip(frames, before, strict=True)
        ]
    )
    calm = np.nonzero(steps <= _CALM * np.median(steps))[0]
    return np.roll(frames, -int(calm[0] if len(calm) else np.argmin(steps)), axis=0)
