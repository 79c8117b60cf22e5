"""What a take costs, estimated from its tokens before anything is rendered.

Self-attention grows with the square of the tokens, so a job is weighed by this and never by its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Cost:
    """An estimate for a job.

    Attributes:
        takes, cached, pending: counts; takes = cached + pending.
        gpu_s: GPU seconds of all takes; gpu_s_cached and gpu_s_pending are its two parts.
        tflop: 10^12 operations of the pending takes.
        film_s: seconds of film that the pending takes make.
    """

    takes: int = 0
    cached: int = 0
    pending: int = 0
    gpu_s: float = 0.0
    gpu_s_cached: float = 0.0
    gpu_s_pending: float = 0.0
    tflop: float = 0.0
    film_s: float = 0.0


def forward_flops(tokens: np.ndarray, model_facts: Mapping[str, Any]) -> np.ndarray:
    """Operations of one pass through the transformer: projections, feed-forward and self-attention of each layer."""
    count = np.asarray(tokens, np.float64)
    width, ffn = float(model_facts["model_width"]), float(model_facts["ffn_dim"])
    return model_facts["layers"] * (12 * count * width**2 + 4 * count * width * ffn + 4 * count**2 * width)


def take_tflop(
    tokens: np.ndarray, steps: np.ndarray, guidance_scale: np.ndarray, model_facts: Mapping[str, Any]
) -> np.ndarray:
    """10^12 operations of one take; guidance above 1 takes two passes a step."""
    passes = np.where(np.asarray(guidance_scale) > 1, 2.0, 1.0)
    return forward_flops(tokens, model_facts) * passes * steps / 1e12


def take_gpu_s(
    tokens: np.ndarray, steps: np.ndarray, guidance_scale: np.ndarray, model_facts: Mapping[str, Any]
) -> np.ndarray:
    """GPU seconds of one take at the speed that the model's facts give."""
    return take_tflop(tokens, steps, guidance_scale, model_facts) * float(model_facts["gpu_s_per_tflop"])
