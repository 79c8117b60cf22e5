"""Whether several clips show the same subject: the shots of one scene, taken by several cameras."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from model.quality.blobs import INKS
from model.quality.reading import Reading, read

Features = tuple[NDArray[np.float64], NDArray[np.float64], float]


def identity(clips: Sequence[NDArray[np.generic]]) -> float:
    """How much the clips show the same subject, 0..1: the mean over all pairs of clips; 1 for a single one.

    A third each comes from the shares of its colours, from its likeness to the kinds, and from its size.

    Args:
        clips: each (frames, height, width, 3), uint8 or uint16; sizes may differ.
    """
    return identity_of([read(clip) for clip in clips])


def identity_of(readings: Sequence[Reading]) -> float:
    """As `identity`, of clips that are read already."""
    found = [_features(reading) for reading in readings]
    pairs = [_alike(one, other) for one, other in combinations(found, 2)]
    return float(np.mean(pairs)) if pairs else 1.0


def _features(reading: Reading) -> Features | None:
    """The main thing's share of frames by colour, its likeness to each kind, and its size over the short side."""
    main = [blob for blob in reading.main() if blob is not None]
    if len(main) < 0.5 * len(reading.blobs) or not main:
        return None
    colours = np.asarray([sum(blob.color == ink for blob in main) for ink in INKS]) / len(main)
    whole = [blob.likeness for blob in main if blob.likeness is not None]
    # What matters is how far the best kind stands out: overlaps of the others are high as well.
    likeness = np.exp(20 * np.mean(whole, axis=0)) if whole else np.ones(3)
    size = float(np.median([np.sqrt(blob.area) for blob in main])) / reading.short
    return colours, likeness / likeness.sum(), size


def _alike(one: Features | None, other: Features | None) -> float:
    if one is None or other is None:
        return 0.0  # no subject is not the same subject
    shared = [float(np.minimum(one[part], other[part]).sum()) for part in (0, 1)]
    ratio = min(one[2], other[2]) / max(one[2], other[2])
    return (shared[0] + shared[1] + ratio) / 3
