"""Which method makes a long clip, how its task bears on the pieces, and what a plan must know of it. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

LONG_FROM = 2
"""A clip is long when it has more than so many times the frames that the model makes by default."""
BY_TASK: Mapping[str, str] = MappingProxyType(
    {
        "loop": "co_denoise",  # every moment has neighbours on both sides, also across the ends
        "extend": "overlap",  # the source's motion goes on; the source itself says where to
        "extend_back": "overlap",
        "v2v": "overlap",  # the source leads all along, so nothing drifts
        "edit": "overlap",
    }
)
OTHERWISE = "hierarchical"
"""For every other task: the prompt's story is told once over the whole film, and nothing drifts."""
IN_A_HURRY = "hierarchical"
"""With a deadline: gaps need not wait for one another, so that more gangs mean less time."""
_KEEP_THEIR_OWN = frozenset({"loop"})
_SOURCED = frozenset({"v2v", "edit", "infill"})
_ENDED = frozenset({"flf2v", "extend_back", "connect", "loop"})


class Story(NamedTuple):
    """How what a task is given bears on the pieces of a long clip; see `plan_pieces`."""

    backward: bool
    closed: bool
    sourced: bool
    ended: bool


def story_of(task: str, method: str) -> Story:
    """The same for whoever makes a clip and whoever looks at where its pieces meet.

    Args:
        task: of the catalog. method: of `model.long.METHODS`.
    """
    return Story(
        backward=task == "extend_back",
        closed=task == "loop" and method == "co_denoise",  # any other method closes a loop by its last frame
        sourced=task in _SOURCED,
        ended=task in _ENDED,
    )


def choose_method(task: str, *, deadline: bool = False) -> str:
    """The method for a task whose row names none.

    Args:
        task: of the row.
        deadline: whether the row has one. When it is does not count: a plan does not depend on the hour it is made.
    """
    if deadline and task not in _KEEP_THEIR_OWN:
        return IN_A_HURRY
    return BY_TASK.get(task, OTHERWISE)


def long_facts(frames: int, frame_stride: int) -> dict[str, Any]:
    """What a plan needs of a model to plan long clips, as plain data.

    Args:
        frames: that the model makes by default; its windows have as many.
        frame_stride: frames of one latent frame.

    Returns:
        window_frames; above (frames from which on a clip is long); by_task, otherwise, in_a_hurry, unhurried: methods.
        Empty where the model's own clip is too short to be moved along.
    """
    if (frames - 1) // frame_stride + 1 < 3:
        return {}
    return {
        "window_frames": frames,
        "above": LONG_FROM * frames,
        "by_task": dict(BY_TASK),
        "otherwise": OTHERWISE,
        "in_a_hurry": IN_A_HURRY,
        "unhurried": sorted(_KEEP_THEIR_OWN),
    }
