"""Faults that any clip may have, whatever it shows: how far each general measure may go, and clips spoilt in each way.

A measure is held against a clip only where its caption leaves no room for it: what stands still is not frozen, and
where a colour is to change or the camera moves, the whole frame may change with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.quality.asked import Asked
from model.quality.general import DRIFT_USUAL, FLICKER_MOST, JUMP_USUAL, measure
from model.quality.seams import SEAM_MOST, seams

Clip = NDArray[np.uint8]

FROZEN_MOST = 0.25
"""Share of the steps of a clip that is to move throughout in which nothing does."""


class Fault(NamedTuple):
    """One fault.

    Attributes:
        most: of its measure in a sound clip.
        applies: whether a clip that was asked for so is held against it.
        spoil: a sound clip (frames, height, width, 3) that has the fault now.
    """

    most: float
    applies: Callable[[Asked], bool]
    spoil: Callable[[Clip], Clip]


def sound(frames: Clip, asked: Asked, fps: float = 8.0) -> dict[str, bool]:
    """Which of `FAULTS` a clip (frames, height, width, 3), uint8, of at least five frames is free of.

    Its seam is looked at in the middle, where a clip in two parts would have one.
    """
    found = {**vars(measure(frames, fps)), "seam": float(seams(frames, [len(frames) // 2])[0])}
    return {name: found[name] <= fault.most for name, fault in FAULTS.items() if fault.applies(asked)}


def spoilt(frames: Clip, name: str) -> Clip:
    """A clip with one of `FAULTS`."""
    return FAULTS[name].spoil(frames.copy())


def _always(asked: Asked) -> bool:
    return True


def _steady(asked: Asked) -> bool:
    return not asked.changes and asked.camera == "still" and asked.layout in ("alone", "alike", "pair")


def _moves(asked: Asked) -> bool:
    motion = asked.subjects[0].motion
    return _steady(asked) and asked.layout != "pair" and motion in ("straight", "orbiting")


def _part(frames: Clip) -> slice:
    """A fifth of the clip, in its midst."""
    return slice(2 * len(frames) // 5, 3 * len(frames) // 5)


def _black(frames: Clip) -> Clip:
    frames[_part(frames)] = 0
    return frames


def _blank(frames: Clip) -> Clip:
    frames[_part(frames)] = frames[0, 0, 0]
    return frames


def _frozen(frames: Clip) -> Clip:
    middle = len(frames) // 2
    frames[middle:] = frames[middle]
    return frames


def _duplicates(frames: Clip) -> Clip:
    frames[3:-1:4] = frames[2:-2:4]
    return frames


def _flicker(frames: Clip) -> Clip:
    frames[::2] = np.clip(frames[::2].astype(int) + 12, 0, 255)
    return frames


def _drift(frames: Clip) -> Clip:
    share = np.linspace(0, 0.4, len(frames))[:, None, None, None]
    return np.rint((1 - share) * frames + share * np.array([200, 140, 60])).astype(np.uint8)


def _jump(frames: Clip) -> Clip:
    frames[len(frames) // 2 :] = 255 - frames[len(frames) // 2 :]
    return frames


def _seam(frames: Clip) -> Clip:
    middle = len(frames) // 2
    frames[middle:] = np.roll(frames[middle:], [side // 4 for side in frames.shape[1:3]], axis=(1, 2))
    return frames


FAULTS: Mapping[str, Fault] = {
    "black": Fault(0.0, _always, _black),
    "blank": Fault(0.0, _always, _blank),
    "frozen": Fault(FROZEN_MOST, _moves, _frozen),
    "duplicates": Fault(0.0, _moves, _duplicates),
    "flicker": Fault(FLICKER_MOST, _steady, _flicker),
    "drift": Fault(DRIFT_USUAL, _steady, _drift),
    "jump": Fault(JUMP_USUAL, _steady, _jump),
    "seam": Fault(SEAM_MOST, _moves, _seam),
}
"""By the measure that tells."""
