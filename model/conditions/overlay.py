"""What of the source is laid over the decoded frames.

Pixels that must not change and that a latent cannot hold, as at the edge of a mask; and given frames that came back
badly: those that the autoencoder cannot give back, as pictures of another kind than it has learnt, and those that come
after others that were made, which a causal autoencoder decodes from a past that may not lead up to them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.autoencoder import Frames

log = logging.getLogger(__name__)

GIVEN_DB = 30.0
"""How well given frames come back at least: peak signal to noise ratio."""


@dataclass(frozen=True)
class Overlay:
    """Frames of the source and where they stay.

    Attributes:
        film: (frames, h, w, 3), uint8.
        keep: (frames, h, w) or (frames, 1, 1), bool.
    """

    film: NDArray[np.uint8]
    keep: NDArray[np.bool_]

    def on(self, frames: Frames) -> Frames:
        """Decoded frames (frames, h, w, 3), uint8 or uint16, with what stays put back."""
        own: Frames = self.film if frames.dtype == np.uint8 else self.film.astype(np.uint16) * 257
        laid = frames.copy()
        np.copyto(laid, own, where=self.keep[..., None])
        return laid


@dataclass(frozen=True)
class GivenFrames:
    """Frames that are given whole.

    Attributes:
        film: (frames, h, w, 3), uint8.
        given: which of them are given, (frames,) bool.
    """

    film: NDArray[np.uint8]
    given: NDArray[np.bool_]

    def poor(self, frames: Frames) -> NDArray[np.bool_]:
        """Which decoded frames (frames, h, w, 3) are given ones that came back below `GIVEN_DB`, (frames,)."""
        top = 255 if frames.dtype == np.uint8 else 65535
        found = np.zeros(len(self.given), bool)
        for place in np.nonzero(self.given)[0]:
            off = frames[place].astype(np.float32) / top - self.film[place].astype(np.float32) / 255
            found[place] = float(np.square(off).mean()) > 10 ** (-GIVEN_DB / 10)
        return found

    def on(self, frames: Frames) -> Frames:
        """Decoded frames (frames, h, w, 3); given ones that came back below `GIVEN_DB` are as they were given."""
        poor = self.poor(frames)
        if not poor.any():
            return frames
        log.info("%d given frames came back below %g dB and are laid over", poor.sum(), GIVEN_DB)
        return Overlay(self.film, poor[:, None, None]).on(frames)
