"""Which frames of a source a task looks at, and where they stand in the clip. Whole numbers only, no torch.

A clip's first latent frame is one frame, each later one a group of `stride`: group k is frames stride·(k-1)+1 to
stride·k. Only whole groups can be known to the model. The clip is fitted upwards to whole groups, and its film is then
trimmed at the end, so what stands at the end of the film is held through the frames that are trimmed away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.errors import InputError

Part = Literal["picture", "tail", "head", "whole"]

GROUPS_MOST = 2
"""Groups of a source, beside its single frame, that an extension looks at: 9 frames with a stride of 4."""


@dataclass(frozen=True)
class Clip:
    """A clip on the model's grid, and the film that is cut from it.

    Attributes:
        width, height, frames: as rendered; frames are a multiple of the stride plus one.
        film_frames: frames of the film, trimmed from the clip's start.
        stride: frames of one latent frame.
    """

    width: int
    height: int
    frames: int
    film_frames: int
    stride: int

    def __post_init__(self) -> None:
        if self.frames < 1 or (self.frames - 1) % self.stride:
            raise InputError(f"{self.frames} frames are not a multiple of {self.stride} plus one")
        if not 1 <= self.film_frames <= self.frames:
            raise InputError(f"a film of {self.film_frames} frames is not cut from a clip of {self.frames}")

    @property
    def groups(self) -> int:
        """Latent frames."""
        return (self.frames - 1) // self.stride + 1

    def first_frame(self, group: int) -> int:
        """The first frame of a group."""
        return 0 if group == 0 else self.stride * (group - 1) + 1

    @property
    def end(self) -> int:
        """The first frame of the group that holds the film's last frame."""
        return self.first_frame(-(-(self.film_frames - 1) // self.stride))


@dataclass(frozen=True)
class Want:
    """What a task looks at of one input: which part of it, and at most how many frames at the clip's rate.

    A picture will do for any of them: it is held still.
    """

    part: Part
    frames: int = 1


def wants(task: str, clip: Clip) -> dict[str, Want]:
    """What each input of a task is looked at for: image, last, video, mask. An input that is not given is skipped."""
    picture, whole = Want("picture"), Want("whole", clip.film_frames)
    match task:
        case "i2v" | "loop":
            return {"image": picture}
        case "flf2v":
            return {"image": picture, "last": picture}
        case "extend":
            return {"video": Want("tail", tail_length(clip, share=2))}
        case "extend_back":
            return {"video": Want("head", clip.frames - head_start(clip, share=2))}
        case "connect":
            return {
                "video": Want("tail", tail_length(clip, share=3)),
                "last": Want("head", clip.frames - head_start(clip, share=3)),
            }
        case "infill" | "v2v":
            return {"video": whole}
        case "edit":
            return {"image": picture, "video": whole, "mask": whole}
    return {}


def tail_length(clip: Clip, share: int, available: int | None = None) -> int:
    """Frames of a source's tail that begin a clip: whole groups, at most 1/share of the film and `GROUPS_MOST`."""
    most = max(1, clip.film_frames // share)
    groups = min((most - 1) // clip.stride, GROUPS_MOST)
    if available is not None:
        groups = min(groups, (available - 1) // clip.stride)
    return 1 + groups * clip.stride


def head_start(clip: Clip, share: int, available: int | None = None) -> int:
    """The clip's frame where a source's head begins that ends its film: whole groups, at most 1/share of the film.

    The last group is always known, however short the film.

    Args:
        available: frames that the source has.
    """
    start = clip.end
    for _ in range(GROUPS_MOST - 1):
        longer = start - clip.stride
        length = clip.film_frames - longer
        too_long = length > min(clip.film_frames // share, 1 + GROUPS_MOST * clip.stride)
        if longer < 1 or too_long or (available is not None and length > available):
            break
        start = longer
    return start


def default_keep(clip: Clip) -> tuple[tuple[int, int], ...]:
    """What infill keeps where nothing else is said: the film's first frame and its last group."""
    return ((0, 0), (clip.end, clip.film_frames - 1))


def kept_frames(clip: Clip, ranges: Iterable[tuple[int, int]]) -> NDArray[np.bool_]:
    """Which frames of the clip are kept, (frames,): those of the ranges, and with the film's last the trimmed ones."""
    kept = np.zeros(clip.frames, bool)
    for first, last in ranges:
        if not 0 <= first <= last < clip.film_frames:
            raise InputError(f"keep_frames: {first}-{last} are not frames of this film: 0 to {clip.film_frames - 1}")
        kept[first : last + 1] = True
    kept[clip.film_frames :] = kept[clip.film_frames - 1]
    return kept


def partly_kept(clip: Clip, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Kept frames in groups of which other frames are not kept, (frames,): the model cannot be told of those whole."""
    found = np.zeros(clip.frames, bool)
    for group in range(clip.groups):
        span = slice(clip.first_frame(group), clip.stride * group + 1)
        found[span] = kept[span] & (not kept[span].all())
    return found


def loop_frames(clip: Clip, *, ring: bool = False) -> NDArray[np.int64]:
    """The frames that make the film of a loop, (film_frames,), of the clip's; of a ring's, which is one turn already.

    The clip's last group shows the first frame again and is left out; what is before it is one turn. A turn of more
    frames than were asked for loses some evenly inside, so that its first and last frame stay neighbours.
    """
    turn = clip.frames - (1 if ring else clip.stride)
    if not 1 <= clip.film_frames <= turn:
        raise InputError(f"a loop of {clip.film_frames} frames does not fit into {turn}")
    return np.round(np.linspace(0, turn - 1, clip.film_frames)).astype(np.int64)


def held_between(known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each frame the known frame that is nearest in time, (frames,); of two equally near ones the later."""
    places = np.nonzero(known)[0]
    if not len(places):
        raise InputError("no frame is given")
    frames = np.arange(len(known))
    after = np.minimum(np.searchsorted(places, frames), len(places) - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.abs(places[before] - frames) < np.abs(places[after] - frames)
    return np.where(nearer, places[before], places[after]).astype(np.int64)
