"""What can be told of any clip, whatever it shows: flicker, freezing, black and repeated frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.quality.drift import drift
from model.quality.lab import to_lab
from model.quality.reading import reduced
from model.quality.seams import steps

BLACK_BELOW = 16.0
"""Grey level that hardly a pixel of a black frame exceeds: black of limited-range video comes out at 16 at most."""
FROZEN_BELOW = 0.1
"""Grey levels between two frames below which nothing moved: half a pixel's step of the smallest thing makes 0.3."""
DUPLICATE_BELOW = 0.1
"""Share of the steps around it below which a step repeats a frame; at the top of a bounce they are a third."""
DRIFT_USUAL = 6.0
"""Delta E from first to last second that things which come and go make in a sound clip; twice that is not usual."""
JUMP_USUAL = 4.0
"""Times the 90th percentile of a clip's steps: a motion that speeds up stays below 2, a cut is above 5."""
FLICKER_MOST = 1.0
"""Delta E by which the whole frame's colour may jump away and back; about what is just seen. Drawn clips make 0.1."""
_SPECKS = 0.005  # of a frame: so few bright pixels do not make it light
_PIXELS = 4096  # of a frame whose mean colour is taken; more do not change it


@dataclass(frozen=True)
class General:
    """Measures of one clip.

    Attributes:
        black: share of the frames that are black.
        blank: share of the frames that have one colour only.
        frozen: share of the steps in which nothing moves; of a still, 0.
        duplicates: share of the steps that repeat a frame in a clip that otherwise moves.
        flicker: mean Delta E (1976) of each frame's mean colour from that of its two neighbours.
        drift: Delta E (2000) from the mean colour of the first second to that of the last.
        jump: the largest step as a multiple of the 90th percentile of steps; a cut, or a thing that leaps.
    """

    black: float
    blank: float
    frozen: float
    duplicates: float
    flicker: float
    drift: float
    jump: float


def measure(frames: NDArray[np.generic], fps: float = 8.0) -> General:
    """The measures of a clip (frames, height, width, 3), uint8 or uint16; fps: of the clip, for what a second is.

    Raises:
        ValueError: no clip.
    """
    frames = reduced(frames)
    bright = np.maximum(np.maximum(frames[..., 0], frames[..., 1]), frames[..., 2])
    black = (bright > BLACK_BELOW).mean(axis=(1, 2)) < _SPECKS
    blank = np.asarray([max(int(np.ptp(frame[..., channel])) for channel in range(3)) < 3 for frame in frames])
    step = steps(frames)
    by = max(1, int(np.sqrt(bright[0].size / _PIXELS)))
    colours = np.asarray([to_lab(frame[::by, ::by]).mean(axis=(0, 1)) for frame in frames])
    between = colours[1:-1] - (colours[:-2] + colours[2:]) / 2
    high = float(np.percentile(step, 90)) if len(step) else 0.0
    return General(
        black=float(black.mean()),
        blank=float(blank.mean()),
        frozen=float((step < FROZEN_BELOW).mean()) if len(step) else 0.0,
        duplicates=float(_repeats(step).mean()) if len(step) else 0.0,
        flicker=float(np.linalg.norm(between, axis=1).mean()) if len(between) else 0.0,
        drift=drift(frames[:, ::by, ::by], fps),
        jump=float(step.max()) / max(high, 2 * FROZEN_BELOW) if len(step) else 1.0,
    )


def _repeats(step: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which steps repeat a frame: one or two near nothing between steps that move. A thing that stops is no repeat."""
    found = np.zeros(len(step), bool)
    for length in (1, 2):
        for begin in range(1, len(step) - length):
            around = min(step[begin - 1], step[begin + length])
            within = step[begin : begin + length]
            if around > 2 * FROZEN_BELOW and float(within.max()) < DUPLICATE_BELOW * around:
                found[begin : begin + length] = True
    return found


def soundness(found: General, *, eventful: bool = False) -> float:
    """One figure in 0..1 for how sound a clip is: 1 where none of its measures is out of the usual.

    Black, blank and repeated frames count by their share, the last doubly, because few of them already spoil a clip;
    flicker, drift and jumps by how far they are beyond what is usual. That a clip stands still is no fault here:
    whether it should is the prompt's matter.

    eventful: whether colours are to change or the camera to move, so that drift and jumps are no faults.
    """
    spoilt = max(found.black, found.blank)
    share = (1 - spoilt) * (1 - min(1.0, 2 * found.duplicates))
    beyond = [found.flicker / FLICKER_MOST]
    if not eventful:
        beyond += [found.drift / DRIFT_USUAL, found.jump / JUMP_USUAL]
    for value in beyond:
        share *= 1 / (1 + max(value - 1, 0.0))
    return float(share)
