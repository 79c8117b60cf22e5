"""Bringing rendered frames to a larger size: by Lanczos, or by a function of the farm's owner."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from infra.hooks import function_of
from infra.media.errors import BadFrames, UpscalerFailed
from infra.media.shape import Frames, check_frames

LANCZOS = "lanczos"
Upscaler = Callable[[Frames, int, int], Frames]
"""Called with frames (frames, height, width, 3), which cannot be written to, and the width and height that they are to
have. Returns as many frames of that size and of the same type; the same frames must give the same result."""


def of_aspect(frames: Frames, width: int, height: int, frames_count: int) -> Frames:
    """The first `frames_count` frames, and of them the largest part around the centre with the proportions of
    width x height: a view, nothing is copied. BadFrames where there are fewer frames.
    """
    check_frames(frames)
    have, rows, columns, _ = frames.shape
    if not 1 <= frames_count <= have:
        raise BadFrames(f"{have} frames cannot be cut down to {frames_count}")
    wide, tall = columns, max(1, round(columns * height / width))
    if tall > rows:
        wide, tall = max(1, round(rows * width / height)), rows
    top, left = (rows - tall) // 2, (columns - wide) // 2
    return frames[:frames_count, top : top + tall, left : left + wide]


def upscale(frames: Frames, width: int, height: int, upscaler: str = LANCZOS) -> Frames:
    """The frames at width x height.

    Args:
        frames: (frames, height, width, 3), uint8 or uint16.
        upscaler: `lanczos`, or `module:function` as `Upscaler` has it.

    Raises:
        UpscalerFailed: of a function; the message names it.
        BadFrames: these are no frames.
    """
    check_frames(frames)
    if upscaler == LANCZOS:
        return lanczos(frames, width, height)
    shown = frames.view()
    shown.flags.writeable = False
    function = function_of(upscaler, "media.upscale", UpscalerFailed)
    try:
        made = function(shown, width, height)
    except Exception as error:  # whatever somebody else's code raises
        raise UpscalerFailed(f"the upscaler {upscaler} failed: {type(error).__name__}: {error}") from error
    wanted = (len(frames), height, width, 3)
    if not isinstance(made, np.ndarray) or made.shape != wanted or made.dtype != frames.dtype:
        got = f"{made.dtype} of {made.shape}" if isinstance(made, np.ndarray) else type(made).__name__
        raise UpscalerFailed(f"the upscaler {upscaler} gave {got}, not {frames.dtype} of {wanted}")
    return made


def lanczos(frames: Frames, width: int, height: int) -> Frames:
    """The frames resampled with a Lanczos window of three lobes, each channel by itself."""
    made = np.empty((len(frames), height, width, 3), frames.dtype)
    for number, frame in enumerate(frames):
        if frame.dtype == np.uint8:
            picture = Image.fromarray(np.ascontiguousarray(frame), "RGB")
            made[number] = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))
        else:
            for channel in range(3):  # Pillow has no RGB of 16 bits
                made[number, ..., channel] = _deep(frame[..., channel], width, height)
    return made


def _deep(plane: npt.NDArray[np.uint16], width: int, height: int) -> npt.NDArray[np.uint16]:
    picture = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32), "F")
    resampled = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))
    return np.clip(np.rint(resampled), 0, 65535).astype(np.uint16)
