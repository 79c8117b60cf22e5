"""A watermark for the tests: blocks a little lighter or darker, in an order that a key gives; and how to find it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

BLOCK, STRENGTH = 8, 3


def pattern(key: str, height: int, width: int) -> np.ndarray:
    """(height, width) of -1 and 1."""
    rng = np.random.default_rng(int(key[:16], 16))
    blocks = rng.choice(np.array([-1, 1]), (-(-height // BLOCK), -(-width // BLOCK)))
    return blocks.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)[:height, :width]


def put(frames: np.ndarray, facts: Mapping[str, Any]) -> np.ndarray:
    mark = STRENGTH * pattern(facts["spec_key"], *frames.shape[1:3])
    return np.clip(frames.astype(np.int16) + mark[None, :, :, None], 0, 255).astype(np.uint8)


def strength(marked: np.ndarray, plain: np.ndarray, key: str) -> float:
    """How much of this key's mark is in the frames, given what they were without it: about STRENGTH, or about 0."""
    difference = marked.astype(np.float32).mean(axis=(0, 3)) - plain.astype(np.float32).mean(axis=(0, 3))
    return float((difference * pattern(key, *difference.shape)).mean())


def paint(frames: np.ndarray, facts: Mapping[str, Any]) -> np.ndarray:
    frames[:, :16] = 255  # a mark that everybody sees
    return frames


def crop(frames: np.ndarray, facts: Mapping[str, Any]) -> np.ndarray:
    return frames[:, 1:]


def fail(frames: np.ndarray, facts: Mapping[str, Any]) -> np.ndarray:
    raise ValueError("key 0000-1111 is not known")
