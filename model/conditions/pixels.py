"""Whether given pixels are what they are taken for: kinds of values, channels, and inputs that the task looks at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.conditions.given import Given
from model.conditions.spans import Clip, wants
from model.errors import InputError

COLUMNS = {"image": "image_uri", "last": "last_image_uri", "video": "video_uri", "mask": "mask_uri"}
"""What a task may be given -> the column of a catalog that names it."""


def checked(task: str, given: Given, clip: Clip) -> Given:
    """What is given, with a still mask, and a picture in the place of a film, as a film of one frame.

    A picture in 0..1 would be encoded as a black one, and a source that the task ignores is one that the caller has
    mistaken the task for: both are told, for the film would come out wrong without a word.

    Raises:
        InputError: pixels that are no 8-bit RGB, a mask that is no bools, or an input that the task does not look at.
    """
    looked_at = wants(task, clip)
    if not looked_at and task not in ("t2v", "still"):
        raise InputError(f"no task is called {task!r}")
    if task == "edit" and given.image is not None and given.video is not None:
        raise InputError("image_uri: an edit has one source, and video_uri is given; leave one of them out")
    for name, column in COLUMNS.items():
        pixels = getattr(given, name)
        if pixels is None:
            continue
        if name not in looked_at:
            raise InputError(f"{column}: the task {task} does not look at it; leave it out, or name another task")
        if name == "mask":
            if pixels.dtype != np.bool_:
                raise InputError(
                    f"{column}: a mask holds True where the picture is made anew and False where it stays, "
                    f"not {pixels.dtype}; compare it with a threshold, such as mask > 127"
                )
            if pixels.ndim == 2:
                given = replace(given, mask=pixels[None])
            elif pixels.ndim != 3:
                raise InputError(f"{column}: a mask is (h, w) or (frames, h, w), not {pixels.shape}")
        elif pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[-1] != 3:
            raise InputError(
                f"{column}: pixels are RGB of 8 bits, uint8 (h, w, 3) or (frames, h, w, 3), "
                f"not {pixels.dtype} {pixels.shape}"
            )
        elif pixels.ndim == 3 and name == "video":
            given = replace(given, video=pixels[None])
        elif pixels.ndim == 3 and name == "last":
            given = replace(given, last=pixels[None])
    return given
