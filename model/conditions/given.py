"""What a task is given, before anything is made of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Film = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Given:
    """What a task is given, in pixels of the clip's size (see `spans.wants` for how many frames of each).

    Attributes:
        image: the first frame, (h, w, 3); in an edit the whole source, held still.
        last: the last frame, or the frames that the film is to end with, (n, h, w, 3).
        video: the frames of the source that the task looks at, (n, h, w, 3); one is a picture, held where it has to be.
            Of it and of `last`, a picture may be (h, w, 3).
        mask: where an edit makes anew, (n, h, w) or (h, w) bool; one frame stands for all, but of a picture's region
            only for those after the first: it is animated.
        keep: ranges of frames that infill keeps.
        strength: of v2v and edit: share of the noise to start from, 0 to 1.
    """

    image: Picture | None = None
    last: Film | None = None
    video: Film | None = None
    mask: Mask | None = None
    keep: tuple[tuple[int, int], ...] | None = None
    strength: float | None = None
