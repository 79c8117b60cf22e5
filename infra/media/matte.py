"""The subject of a film cut out of its background, and the film with its background out of focus.

    for alpha in Matte(film).alphas(): ...      # (height, width), uint8, 255 where the subject is

Like the motion track, told from the pictures alone: a subject that has the background's colours is not cut out of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.media.background import Background, Picture, Plane, Still, threshold
from infra.media.components import grown
from infra.media.source import Source
from infra.media.track import Subject, find_subject, sampled

_NEAR: Final = 2  # pixels of the small mask that are added around the subject, for its soft edge
_BLUR: Final = 0.02  # of the longer side: standard deviation of the background's blur
_PASSES: Final = 3  # box filters one after the other: near enough to a Gaussian


class Matte:
    """A film's subject, frame by frame. Raises Unplayable for what is no film."""

    def __init__(self, film: Path, subject: Subject | None = None) -> None:
        self.subject = subject or find_subject(film)
        self.source = Source.open(film.read_bytes())
        self._background: Background = Plane() if self.subject.background == "border" else self._still()

    def alphas(self) -> Iterator[NDArray[np.uint8]]:
        """Per frame how much of each pixel is the subject, (height, width), 0 to 255."""
        for _, alpha in self._both():
            yield alpha

    def blurred(self) -> Iterator[Picture]:
        """The frames, (height, width, 3), with the background blurred and the subject as it is."""
        for picture, alpha in self._both():
            yield blur_behind(picture, alpha)

    def _still(self) -> Still:
        return Still(list(self.source.pictures(sampled(self.source.frames))))

    def _both(self) -> Iterator[tuple[Picture, NDArray[np.uint8]]]:
        numbers = range(self.source.frames)
        for picture, mask in zip(self.source.pictures(numbers), self.subject.masks, strict=True):
            yield picture, self._alpha(picture, mask)

    def _alpha(self, picture: Picture, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Soft at the edge, where a pixel is partly the subject; 0 wherever the small mask sees nothing near."""
        if not mask.any():
            return np.zeros(picture.shape[:2], np.uint8)
        height, width = picture.shape[:2]
        near = Image.fromarray(grown(mask, _NEAR)).resize((width, height), Image.Resampling.NEAREST)
        distance = self._background.distance(picture)
        inside = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
        solid = float(np.median(distance[np.asarray(inside)]))
        edge = min(threshold(distance), 0.5 * solid)
        share = (distance - 0.4 * edge) / max(1.0, 0.75 * solid - 0.4 * edge)
        alpha = np.clip(share, 0.0, 1.0) * np.asarray(near)
        return np.asarray(np.round(255 * alpha), np.uint8)


def blur_behind(picture: Picture, alpha: NDArray[np.uint8]) -> Picture:
    """The picture with everything blurred that `alpha` does not cover. The subject's colours do not bleed out of it."""
    share = (alpha.astype(np.float32) / 255)[..., None]
    radius = max(1, round(max(picture.shape[:2]) * _BLUR))
    colour, weight = _smooth(picture * (1 - share), radius), _smooth(1 - share, radius)
    far = np.where(weight > 1e-3, colour / np.maximum(weight, 1e-3), picture)
    return np.asarray(np.round(share * picture + (1 - share) * far), np.uint8)


def _smooth(values: NDArray[np.floating], radius: int) -> NDArray[np.floating]:
    """(height, width, channels) filtered; beyond the edge its outermost pixels go on."""
    for _ in range(_PASSES):
        for axis in (0, 1):
            reach = [(0, 0)] * 3
            reach[axis] = (radius + 1, radius)
            sums = np.cumsum(np.pad(values, reach, mode="edge"), axis=axis, dtype=np.float64)
            size = values.shape[axis]
            ahead = np.take(sums, range(2 * radius + 1, 2 * radius + 1 + size), axis=axis)
            values = np.asarray((ahead - np.take(sums, range(size), axis=axis)) / (2 * radius + 1), np.float32)
    return values
