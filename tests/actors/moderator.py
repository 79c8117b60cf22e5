"""A moderation hook for tests: it looks for words in prompts, and at the colour of films."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def moderate(take: Mapping[str, Any], frames: NDArray[np.generic] | None) -> str | None:
    """Forbids the word ``wicked``, and films of takes whose prompt has ``unseemly``."""
    if frames is None:
        return "it speaks of wickedness" if "wicked" in take["prompt"] else None
    return "it shows what is unseemly" if "unseemly" in take["prompt"] else None


def paint_black(take: Mapping[str, Any], frames: NDArray[np.generic] | None) -> str | None:
    """What checkers of other projects do with a film that they do not like."""
    if frames is not None:
        frames[:] = 0
    return None


def say_yes(take: Mapping[str, Any], frames: NDArray[np.generic] | None) -> bool:
    """No verdict: nobody knows what is meant."""
    return True


def out_of_reach(take: Mapping[str, Any], frames: NDArray[np.generic] | None) -> str | None:
    """A service that is away."""
    raise ConnectionError("no route to host")


def brightness(record: Any, take: Any, frames: Any) -> float:
    """A scorer: the brightest take is the best."""
    return float(frames.mean())


def no_rank(record: Any, take: Any, frames: Any) -> Any:
    """A scorer whose answer is none."""
    return "very good"
