"""The background of a clip: its name, its texture, its two tones, and whether it is a sketch's bleached paper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.training.world import BACKGROUNDS
from model.training.world.vocabulary import second_tone

Floats = NDArray[np.float32]

_BLEACH = 0.55  # how far the world bleaches a sketch's background towards white
_FAR = 60.0  # RGB distance from which a pixel is no evidence for a background, however much further it is
# A second tone must be seen on so much of the frame; dots, the sparsest texture, cover a fifth.
_TEXTURED_FROM = 0.1
_NEAR = 30.0  # RGB distance within which a pixel has a tone; the closest tones of one background lie 71 apart
# A texture explains more than one tone does, so it must explain better by this: codec noise alone is about 8.
_TEXTURE_COST = 3.0
_STRANGE = 35.0  # mean RGB distance: large things on a background that fits leave 20
_DOTS_BELOW = 0.36  # share of the second tone: dots a fifth, stripes and checks a half


@dataclass(frozen=True)
class Paper:
    """What lies behind the things.

    Attributes:
        name, texture: words of the vocabulary.
        bleached: whether it is a sketch's paper.
        first, second: its tones as the clip has them, RGB in 0..255; the same where it is plain.
        distance: mean RGB distance of the clip's pixels from it, none counted above 60. Clips not of the world are far.
    """

    name: str
    texture: str
    bleached: bool
    first: tuple[float, float, float]
    second: tuple[float, float, float]
    distance: float

    def away(self, pixels: Floats) -> Floats:
        """RGB distance of pixels (..., 3) from the line between the tones, on which their soft edges lie."""
        return _from_line(pixels, np.asarray(self.first, np.float32), np.asarray(self.second, np.float32))

    def tone(self, pixels: Floats) -> Floats:
        """Which tone pixels (..., 3) have: 0 the first, 1 the second."""
        first, second = np.asarray(self.first, np.float32), np.asarray(self.second, np.float32)
        line = second - first
        share: Floats = np.clip((pixels - first) @ line / max(float(line @ line), 1e-6), 0, 1)
        return share


def _from_line(pixels: Floats, first: Floats, second: Floats) -> Floats:
    line = second - first
    length = float(line @ line)
    rest = pixels - first
    if length > 1e-6:
        rest = rest - np.clip(rest @ line / length, 0, 1)[..., None] * line
    distance: Floats = np.sqrt(np.einsum("...c,...c->...", rest, rest))
    return distance


def find_paper(video: Floats) -> Paper:
    """The background that explains most of a clip (frames, height, width, 3), values in 0..255."""
    some = video[np.linspace(0, len(video) - 1, min(len(video), 5)).round().astype(int)]
    pixels = some[:, ::2, ::2] if min(video.shape[1:3]) > 40 else some
    best: tuple[float, str, bool, bool] | None = None
    for name, rgb in BACKGROUNDS.items():
        for bleached in (False, True):
            tones = [np.asarray(tone, np.float32) for tone in (rgb, second_tone(name))]
            first, second = (tone + _BLEACH * (255 - tone) if bleached else tone for tone in tones)
            plain = float(np.minimum(_from_line(pixels, first, first), _FAR).mean())
            candidates = [(plain, name, bleached, False)]
            if float((_from_line(pixels, second, second) < _NEAR).mean()) >= _TEXTURED_FROM:
                textured = float(np.minimum(_from_line(pixels, first, second), _FAR).mean())
                candidates.append((textured + _TEXTURE_COST, name, bleached, True))
            best = min([*candidates, best] if best else candidates)
    assert best is not None  # the vocabulary has backgrounds
    distance, name, bleached, textured = best
    if distance > _STRANGE:
        # None of the world's: what the border mostly shows is behind the things nevertheless.
        red, green, blue = (float(value) for value in np.median(_border(some), axis=0))
        return Paper(name, "plain", bleached, (red, green, blue), (red, green, blue), distance)
    return _refined(pixels, name, bleached, textured, distance)


def _border(video: Floats) -> Floats:
    """Pixels (n, 3) of the outermost rows and columns."""
    sides = (video[:, 0], video[:, -1], video[:, :, 0], video[:, :, -1])
    return np.concatenate([side.reshape(-1, 3) for side in sides])


def _refined(pixels: Floats, name: str, bleached: bool, textured: bool, distance: float) -> Paper:
    """The paper with its tones as the clip has them, and its texture."""
    tones = []
    for tone in (BACKGROUNDS[name], second_tone(name)):
        ideal = np.asarray(tone, np.float32)
        ideal = ideal + _BLEACH * (255 - ideal) if bleached else ideal
        near = pixels[_from_line(pixels, ideal, ideal) < _NEAR]
        found = np.median(near, axis=0) if len(near) >= 16 else ideal
        tones.append((float(found[0]), float(found[1]), float(found[2])))
    if not textured:
        return Paper(name, "plain", bleached, tones[0], tones[0], distance)
    paper = Paper(name, "striped", bleached, tones[0], tones[1], distance)
    return Paper(name, _texture(paper, pixels), bleached, tones[0], tones[1], distance)


def _texture(paper: Paper, pixels: Floats) -> str:
    share = paper.tone(pixels)
    share[paper.away(pixels) > _NEAR] = np.nan  # things
    if float(np.nanmean(share)) < _DOTS_BELOW:
        return "dotted"
    # Stripes stand upright: a column has one tone.
    whole = float(np.nanvar(share))
    with np.errstate(invalid="ignore"):
        filled = np.isfinite(share).any(axis=1)
        columns = np.nansum(share, axis=1) / np.maximum(np.isfinite(share).sum(axis=1), 1)
    return "striped" if float(np.var(columns[filled])) > 0.5 * whole else "checkered"
