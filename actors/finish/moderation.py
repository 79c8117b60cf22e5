"""Moderation: a function of the farm's owner that is asked about every prompt and about every film before it is kept.

What it forbids is a verdict with a reason, and becomes a quarantine record of class ``policy``. It never becomes
pictures: the film is either kept as it was rendered, or not kept at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.errors import ModerationFailed, PolicyRefused
from actors.gangs.rendering import Frames, Order
from infra.hooks import function_of

Hook = Callable[[Mapping[str, Any], NDArray[np.generic] | None], str | None]
"""Called with a take and None before it is rendered, and again with its frames (frames, height, width, 3), which cannot
be written to, before it is kept. Returns the reason why it is forbidden, or None where it is not."""


def hook_of(path: str) -> Hook:
    """The function that ``module:function`` names. Raises ModerationFailed where there is none."""
    return function_of(path, "farm.moderation", ModerationFailed)


def moderate(path: str | None, order: Order, frames: Frames | None = None) -> None:
    """Asks the hook, where there is one.

    Raises:
        PolicyRefused: the take is forbidden; with the reason.
        ModerationFailed: there is no verdict. Nothing may be kept without one, and no shot is to blame for it.
    """
    if path is None:
        return
    hook, shown = hook_of(path), None
    if frames is not None:
        shown = frames.view()
        shown.flags.writeable = False  # a verdict is words: a checker that paints over what it finds is told so
    try:
        reason = hook(dict(order), shown)
    except Exception as error:
        raise ModerationFailed(f"{path} gave no verdict: {type(error).__name__}: {error}") from error
    if reason is None:
        return
    if not isinstance(reason, str) or not reason.strip():
        raise ModerationFailed(f"{path} gave no verdict: {type(reason).__name__} is neither a reason nor None")
    raise PolicyRefused(f"{'the prompt' if frames is None else 'the film'} is forbidden: {reason.strip()}")
