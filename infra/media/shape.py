"""Frames as arrays: what is accepted, and how rendered frames are brought to the size that was asked for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from infra.media.errors import BadFrames

Frames = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def check_frames(frames: Frames) -> Frames:
    """The same array if it is (frames >= 1, height, width, 3) of uint8 or uint16, else BadFrames."""
    if frames.dtype not in (np.uint8, np.uint16):
        raise BadFrames(f"frames are uint8 or uint16, not {frames.dtype}")
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise BadFrames(f"frames have the shape (frames, height, width, 3), not {frames.shape}")
    return frames


def fit(frames: Frames, width: int, height: int, frames_count: int) -> Frames:
    """The first `frames_count` frames, cropped around the centre to width x height: a view, nothing is copied.

    A model renders on its own grid, fitted upwards; this takes off what is too much. BadFrames where too little is
    there.
    """
    check_frames(frames)
    have, rows, columns, _ = frames.shape
    if frames_count < 1 or width < 1 or height < 1 or have < frames_count or rows < height or columns < width:
        raise BadFrames(
            f"{have} frames of {columns}x{rows} cannot be cut down to {frames_count} frames of {width}x{height}"
        )
    top, left = (rows - height) // 2, (columns - width) // 2
    return frames[:frames_count, top : top + height, left : left + width]


def to_eight_bit(frame: Frames) -> npt.NDArray[np.uint8]:
    """uint16 frames scaled to 0..255 and rounded; uint8 as it is. For previews only: films are dithered by ffmpeg."""
    if frame.dtype == np.uint8:
        return frame.astype(np.uint8, copy=False)
    return ((frame.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
