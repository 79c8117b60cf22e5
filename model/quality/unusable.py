"""Films that nobody can use, whatever they were to show: wholly black, of one flat colour, or frozen though they move.

It looks for faults of machines, not of taste: a film is named only when all of it is so, and only when nothing in its
prompt may have asked for that. When in doubt a film is sound; `model.quality.score` ranks it low all the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.quality.asked import Asked, parse

Look = Literal["black", "flat", "frozen"]
LOOKS: tuple[Look, ...] = ("black", "flat", "frozen")


@dataclass(frozen=True)
class Bounds:
    """From where on a film has a look. All in grey levels, 0 to 255.

    Attributes:
        black: what no value of a black film exceeds.
        flat: how far the values of one channel in one frame of a flat film differ at most.
        frozen: how far a value of a frozen film ever is from that of its first frame at most.
    """

    black: float = 16.0
    flat: float = 2.0
    frozen: float = 1.0


def looks(frames: NDArray[np.generic], bounds: Bounds | None = None) -> list[Look]:
    """How all of a film (frames, height, width, 3), uint8 or uint16, looks; empty for nearly every one.

    It stops at the first frame that shows otherwise, so a sound film costs one frame's work. A picture is never frozen.
    """
    bounds = bounds or Bounds()
    scale = 257.0 if frames.dtype == np.uint16 else 1.0
    found: list[Look] = []
    if all(float(frame.max()) <= bounds.black * scale for frame in frames):
        found.append("black")
    if all(float(np.ptp(frame, axis=(0, 1)).max()) <= bounds.flat * scale for frame in frames):
        found.append("flat")
    if len(frames) > 1:
        first = frames[0].astype(np.int32)
        if all(float(np.abs(frame - first).max()) <= bounds.frozen * scale for frame in frames[1:]):
            found.append("frozen")
    return found


def unusable(
    frames: NDArray[np.generic],
    prompt: str,
    *,
    task: str = "t2v",
    bounds: Bounds | None = None,
    refused: Collection[str] = LOOKS,
) -> Look | None:
    """What is wrong with a film as a whole, or None.

    Args:
        frames: (frames, height, width, 3), uint8 or uint16.
        prompt: as it was rendered. What it may have asked for is no fault.
        task: of the row. The prompt of an edit tells of a part of the picture only, and says nothing of the rest.
        bounds: from where on a film has a look.
        refused: looks that count as faults.
    """
    part = task == "edit"
    asked = None if part else parse(prompt)
    for look in looks(frames, bounds):
        if look in refused and not (part and look == "frozen") and not may_be(look, prompt, asked):
            return look
    return None


def may_be(look: Look, prompt: str, asked: Asked | None) -> bool:
    """Whether a prompt may have asked for a film that looks so.

    asked: what `model.quality.asked.parse` says of it.
    """
    text = prompt.lower()
    if look == "frozen":
        if asked is not None and _moves(asked):
            return False
        return not _MOVING.search(text) or bool(_STILL.search(text))
    # Also for a thing on black: in few steps a model may not get as far as drawing it, and that is no machine's fault.
    if _DARK.search(text):
        return True
    return not _shows_something(asked) if asked is not None else bool(_PLAIN.search(text))


def _shows_something(asked: Asked) -> bool:
    """Whether something in a prompt of the small world's grammar stands out from its background."""
    return any(subject.color != asked.background for subject in asked.subjects)


def _moves(asked: Asked) -> bool:
    told = any(subject.motion not in (None, "still") for subject in asked.subjects)
    return told or asked.camera != "still" or bool(asked.changes)


def _words(*stems: str) -> re.Pattern[str]:
    """Words that begin with these."""
    return re.compile(r"\b(?:" + "|".join(stems) + r")\w*")


# Prompts are in any language: where no word of these is found, nothing is known of what was asked for motion, and
# nothing speaks for darkness.
_DARK = _words(
    "black", "dark", "night", "midnight", "void", "unlit", "shadow", "abyss", "eclips", "fade", "fading", "blind",
    "lights? (?:out|off|go)", "noir", "deep space", "outer space", "cave",
)  # fmt: skip
_PLAIN = _words(
    "blank", "plain", "empty", "emptiness", "nothing", "solid", "uniform", "flat", "monochrome", "minimal", "fog",
    "mist", "haze", "white-?out", "gradient", "chroma", "clear sky", "blizzard", "test (?:card|pattern)",
    "(?:pure|single|one|all) (?:colou?r|white|red|green|blue|gr[ae]y|yellow)",
    "(?:white|red|green|blue|gr[ae]y|yellow|colou?r) (?:screen|card|frame|field|background|wall)",
)  # fmt: skip
_STILL = _words(
    "still", "static", "motionless", "unmoving", "immobile", "frozen", "freez", "not mov", "no (?:motion|movement)",
    "without (?:motion|movement|moving)", "photo", "picture", "painting", "pause", "locked", "tripod", "stand", "rest",
    "sleep", "stop", "statue",
)  # fmt: skip
_MOVING = _words(
    "mov", "fall", "bounc", "orbit", "slid", "travel", "accelerat", "run(?:s|ning)?\\b", "walk", "fly", "flies", "jump",
    "danc", "spin", "rotat", "turn", "roll", "swim", "driv", "rid(?:es|ing)", "zoom", "pan(?:s|ning)?\\b", "tilt",
    "dolly", "tracking", "wav(?:es|ing)", "flow", "explod", "swing", "climb", "chas", "flap", "shak", "drift", "rush",
    "gallop", "pour", "splash", "burst",
)  # fmt: skip
