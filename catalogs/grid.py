"""From the film that is asked for to the clip that a model renders: its grid, fitted upwards, and its tokens.

Every function takes whole numbers or arrays of them, and the facts of a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def film_frames(duration_s: np.ndarray, fps: np.ndarray) -> np.ndarray:
    """Frames of a film: floor(duration_s · fps + 0.5), at least one; int64."""
    return np.maximum(np.floor(duration_s * fps + 0.5), 1).astype(np.int64)


def fit_side(side: Any, model_facts: Mapping[str, Any]) -> Any:
    """Width or height to render: the next multiple of the model's grid, at least its smallest size."""
    grid = model_facts["grid"]
    return -(-np.maximum(side, model_facts["min_size"]) // grid) * grid


def fit_frames(frames: Any, model_facts: Mapping[str, Any]) -> Any:
    """Frames to render: the next number of the form stride · n + 1."""
    stride = model_facts["frame_stride"]
    return -(-(np.asarray(frames) - 1) // stride) * stride + 1


def tokens(width: Any, height: Any, frames: Any, model_facts: Mapping[str, Any]) -> Any:
    """Spacetime patches of a clip whose size is on the grid."""
    patch_t, patch_h, patch_w = model_facts["patch"]
    spatial, stride = model_facts["spatial_stride"], model_facts["frame_stride"]
    latent_frames = (np.asarray(frames, np.int64) - 1) // stride + 1
    rows, columns = np.asarray(height) // (spatial * patch_h), np.asarray(width) // (spatial * patch_w)
    return -(-latent_frames // patch_t) * rows * columns
