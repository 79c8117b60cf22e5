"""Finds the things of a clip: areas of one colour before the background, with their place, size and likeness."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.quality.components import eroded, label
from model.quality.paper import Paper
from model.training.world import COLORS, KINDS, ideal

Floats = NDArray[np.float32]
Ints = NDArray[np.integer]

INKS = tuple(COLORS)
# RGB distance from the background at which a pixel counts as thing. The palest flat pair (white on pink) lies 79 apart,
# a sketch's wash lets through less than half of that, and what codec and autoencoder leave is about 11.
_CONTRAST, _PALE_CONTRAST = 36.0, 20.0
_WASH = 0.45  # how much of its ink a sketch's wash has
_SMALLEST = 0.0015  # of the frame; a quarter of the smallest broken triangle covers 0.003
_SHARE = 0.12  # of an area's core: with less a colour is an edge, not a second thing
# So many times the smallest area is a thing whatever its share, as one that passes before a bar; the seam of colours
# around a small thing has fewer pixels.
_AMPLE = 5
# A blurred edge runs through the true outline at half of the contrast. Clay is dark at its rim, so that half would cut
# it off.
_OUTLINE, _CLAY_OUTLINE = 0.5, 0.2
# A soft edge lies so near to the line between its ink and the background; no two inks do on any background.
_SOFT = 30.0
_CLAY_BELOW = (
    -0.06
)  # slope of the light to the lower right, over a radius: about -0.2 in clay, within 0.05 of 0 where flat
# Share of its ink's contrast that a thing has at least, its soft edges included; clay's dark rim leaves 0.6.
_FAINT = 0.45
_SPECK = 50.0  # RGB distance from the ray of its ink from which a pixel is of another colour
_MOST_COVERED = 0.6  # of a clip; two large things and a zoom cover 0.4
_MOST = 12  # areas looked at in a frame; a clip of the world has six at most
# Area of each kind with a radius of 1, as the world draws it.
UNIT_AREA = {"circle": np.pi * 0.92**2, "square": 1.6**2, "triangle": 0.75 * 3**0.5}


@dataclass(frozen=True)
class Blob:
    """One area of one frame.

    Attributes:
        color: word of the palette.
        area: pixels.
        x, y: centroid, pixels; a pixel's own middle is at a half.
        box: left, top, right, bottom; the last two one beyond.
        whole: whether it neither touches the border nor another colour, so that its outline is its own.
        likeness: overlap with the ideal circle, square and triangle, 0..1; None where it is not whole.
    """

    color: str
    area: float
    x: float
    y: float
    box: tuple[int, int, int, int]
    whole: bool
    likeness: tuple[float, float, float] | None = None

    @property
    def extent(self) -> int:
        """Longer side of the box, pixels."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass
class _Areas:
    """Pixels of things, each with the number of its area, and what is known of each area."""

    frame: Ints
    y: Ints
    x: Ints
    number: Ints
    ink: Ints  # per area
    pure: NDArray[np.bool_]  # per area

    def kept(self, pixels: NDArray[np.bool_]) -> _Areas:
        parts = (self.frame[pixels], self.y[pixels], self.x[pixels], self.number[pixels])
        return _Areas(*parts, self.ink, self.pure)

    def sums(self, values: NDArray[np.floating] | Ints | None = None) -> NDArray[np.float64]:
        return np.bincount(self.number, values, minlength=len(self.ink)).astype(np.float64)


def find_blobs(video: Floats, paper: Paper) -> tuple[tuple[tuple[Blob, ...], ...], str]:
    """The things of each frame of a clip (frames, height, width, 3) in 0..255, and the clip's style."""
    away = paper.away(video)
    mask = away > (_PALE_CONTRAST if paper.bleached else _CONTRAST)
    smallest = max(4.0, _SMALLEST * mask[0].size)
    # What is nearly all thing and no background is not of the world, or has no thing that could be told.
    mask = _large(mask, smallest) if float(mask.mean()) < _MOST_COVERED else np.zeros_like(mask)
    if not mask.any():
        return ((),) * len(video), "sketch" if paper.bleached else "flat"
    core = eroded(mask, max(1, round(min(mask.shape[1:]) / 64)))
    areas = _areas(video, mask, core, paper, smallest)
    inside = core[areas.frame, areas.y, areas.x]
    style = "sketch" if paper.bleached else "clay" if _shading(areas, inside, video) < _CLAY_BELOW else "flat"
    # The outline of each area at its own contrast.
    edge = away[areas.frame, areas.y, areas.x]
    deep = areas.kept(inside)
    contrast = deep.sums(edge[inside]) / np.maximum(deep.sums(), 1)
    least = contrast * (_CLAY_OUTLINE if style == "clay" else _OUTLINE)
    areas = areas.kept(~_ghosts(areas, edge, paper)[areas.number])
    edge = away[areas.frame, areas.y, areas.x]
    areas = areas.kept(~areas.pure[areas.number] | (edge > least[areas.number]))
    return _blobs(areas, mask.shape, smallest, filled=paper.bleached), style


def _large(mask: NDArray[np.bool_], smallest: float) -> NDArray[np.bool_]:
    """The mask without specks, and with no more areas in a frame than a clip of the world could have."""
    numbers, count = label(mask)
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)
    keep = sizes >= smallest
    keep[0] = False
    for frame in numbers:
        there = np.unique(frame[keep[frame]])
        if len(there) > _MOST:
            keep[there[np.argsort(sizes[there])[:-_MOST]]] = False
    return keep[numbers]


def _areas(video: Floats, mask: NDArray[np.bool_], core: NDArray[np.bool_], paper: Paper, smallest: float) -> _Areas:
    numbers, count = label(mask)
    frame, y, x = np.nonzero(mask)
    number = numbers[frame, y, x] - 1
    far = _distances(video[frame, y, x], paper)
    nearest = far.argmin(axis=1)
    inside = core[frame, y, x]
    # An area too thin for a core is judged by all of its pixels.
    cored = np.bincount(number, inside, minlength=count) >= 4
    judged = inside | ~cored[number]
    votes = _votes(number[judged], nearest[judged], count)
    # A soft edge between an ink and the background may look like a third colour. It is none.
    edge = _mixture(video[frame, y, x], votes.argmax(axis=1)[number], paper) < _SOFT
    nearest = np.where(edge, votes.argmax(axis=1)[number], nearest)
    votes = _votes(number[judged], nearest[judged], count)
    share = votes >= _SHARE * votes.sum(axis=1, keepdims=True)
    told = (share & (votes >= smallest / 2)) | (votes >= _AMPLE * smallest)
    told[np.arange(count), votes.argmax(axis=1)] = True
    pure = told.sum(axis=1) == 1
    ink = votes.argmax(axis=1)
    if pure.all():
        return _Areas(frame, y, x, number, ink, pure)
    for index in range(len(INKS)):
        if told[~pure, index].any():
            far[:, index] = np.minimum(far[:, index], _mixture(video[frame, y, x], np.full(len(y), index), paper))
    return _split(_Areas(frame, y, x, number, ink, pure), np.where(told[number], far, np.inf).argmin(axis=1), mask)


def _length(vectors: Floats) -> Floats:
    """Of vectors (n, 3)."""
    found: Floats = np.sqrt(np.einsum("nc,nc->n", vectors, vectors))
    return found


def _votes(number: Ints, nearest: Ints, count: int) -> NDArray[np.int_]:
    """Pixels of each ink in each area, (areas, inks)."""
    return np.bincount(number * len(INKS) + nearest, minlength=count * len(INKS)).reshape(count, len(INKS))


def _mixture(pixels: Floats, ink: Ints, paper: Paper) -> Floats:
    """RGB distance of pixels (n, 3) from the line between their ink (n,) and the nearer tone of the background."""
    inks = np.asarray(list(COLORS.values()), np.float32)[ink]
    found = []
    for tone in {paper.first, paper.second}:
        line = inks - np.asarray(tone, np.float32)
        rest = pixels - np.asarray(tone, np.float32)
        share = np.einsum("nc,nc->n", rest, line) / np.einsum("nc,nc->n", line, line)
        rest = rest - np.clip(share, 0, 1)[:, None] * line
        found.append(_length(rest))
    return np.minimum.reduce(found)


def _split(areas: _Areas, nearest: Ints, mask: NDArray[np.bool_]) -> _Areas:
    """Areas of several colours taken apart: one number for each connected part of one colour."""
    number, inks, pures = areas.number.copy(), list(areas.ink), list(areas.pure)
    mixed = ~areas.pure[areas.number]
    for ink in np.unique(nearest[mixed]):
        part = mixed & (nearest == ink)
        plane = np.zeros_like(mask)
        plane[areas.frame[part], areas.y[part], areas.x[part]] = True
        numbers, count = label(plane)
        number[part] = numbers[areas.frame[part], areas.y[part], areas.x[part]] - 1 + len(inks)
        inks += [int(ink)] * count
        pures += [False] * count
    return _Areas(areas.frame, areas.y, areas.x, number, np.asarray(inks), np.asarray(pures))


def _distances(pixels: Floats, paper: Paper) -> Floats:
    """RGB distance of pixels (n, 3) from each ink as the style shows it: (n, inks)."""
    found = []
    for rgb in COLORS.values():
        ink = np.asarray(rgb, np.float32)
        if paper.bleached:
            tones = [np.asarray(tone, np.float32) for tone in (paper.first, paper.second)]
            shown = [ink, *(tone + _WASH * (ink - tone) for tone in tones)]
            found.append(np.minimum.reduce([_length(pixels - one) for one in shown]))
        else:
            # Clay shades its ink, and an edge on black darkens it: along the ray it stays the same colour.
            light = np.clip(pixels @ ink / float(ink @ ink), 0.4, 1.1)
            found.append(_length(pixels - light[:, None] * ink))
    return np.stack(found, axis=1)


def _ghosts(areas: _Areas, edge: Floats, paper: Paper) -> NDArray[np.bool_]:
    """Which areas are too faint for things of their ink, as the trails that an autoencoder leaves are."""
    inks = np.asarray(list(COLORS.values()), np.float32)
    full = paper.away(inks)[areas.ink] * (_WASH if paper.bleached else 1.0)
    return areas.sums(edge) / np.maximum(areas.sums(), 1) < _FAINT * full


def _shading(areas: _Areas, inside: NDArray[np.bool_], video: Floats) -> float:
    """Slope of the light from the upper left to the lower right, over a radius, in all areas of one colour."""
    some = areas.kept(inside & areas.pure[areas.number])
    inks = np.asarray(list(COLORS.values()), np.float32)[some.ink[some.number]]
    pixels = video[some.frame, some.y, some.x]
    light = np.einsum("nc,nc->n", pixels, inks) / np.einsum("nc,nc->n", inks, inks)
    # A speck of another colour is no light.
    own = _length(pixels - light[:, None] * inks) < _SPECK
    some, light = some.kept(own), light[own]
    if not len(light):
        return 0.0
    size = np.maximum(some.sums(), 1)
    # The light on a bar changes across it only, which along the diagonal of so long an area is next to nothing.
    tall, wide = (
        some.sums(side.astype(np.float64) ** 2) / size - (some.sums(side.astype(np.float64)) / size) ** 2
        for side in (some.y, some.x)
    )
    compact = (tall < 4 * wide)[some.number]
    if compact.any():
        some, light = some.kept(compact), light[compact]
        size = np.maximum(some.sums(), 1)
    radius = np.sqrt(size / 2.3)  # between a circle's and a square's of that area
    place = (some.x + some.y).astype(np.float64)
    place = (place - (some.sums(place) / size)[some.number]) / (2 * radius[some.number])
    light = light - (some.sums(light) / size)[some.number]
    return float((place * light).sum() / max(float((place * place).sum()), 1e-6))


def _blobs(areas: _Areas, shape: tuple[int, ...], smallest: float, *, filled: bool) -> tuple[tuple[Blob, ...], ...]:
    frames, height, width = shape
    size = areas.sums()
    order = np.argsort(areas.number, kind="stable")
    ends = np.cumsum(size.astype(int))
    found: list[list[Blob]] = [[] for _ in range(frames)]
    for number in np.flatnonzero(size >= smallest):
        own = order[ends[number] - int(size[number]) : ends[number]]
        y, x = areas.y[own], areas.x[own]
        box = (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)
        free = box[0] > 0 and box[1] > 0 and box[2] < width and box[3] < height
        whole = bool(areas.pure[number]) and free
        blob = Blob(INKS[areas.ink[number]], float(len(own)), float(x.mean()) + 0.5, float(y.mean()) + 0.5, box, whole)
        found[int(areas.frame[own[0]])].append(_told(blob, y, x, filled) if whole else blob)
    return tuple(tuple(sorted(frame, key=lambda blob: -blob.area)) for frame in found)


def _told(blob: Blob, y: Ints, x: Ints, filled: bool) -> Blob:
    """The blob with its likeness; a sketch's outline is filled first."""
    left, top, right, bottom = blob.box
    inside = np.zeros((bottom - top, right - left), bool)
    inside[y - top, x - left] = True
    if filled:
        inside = _between(inside, 0) & _between(inside, 1)
        y, x = np.nonzero(inside)
        y, x = y + top, x + left
        blob = replace(blob, area=float(len(y)), x=float(x.mean()) + 0.5, y=float(y.mean()) + 0.5)
    circle, square, triangle = (overlap(inside, kind, (blob.x - left, blob.y - top)) for kind in KINDS)
    return replace(blob, likeness=(circle, square, triangle))


def _between(inside: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Pixels that have some of the mask on both sides along an axis."""
    before = np.maximum.accumulate(inside, axis=axis)
    after = np.flip(np.maximum.accumulate(np.flip(inside, axis), axis=axis), axis)
    both: NDArray[np.bool_] = before & after
    return both


def overlap(inside: NDArray[np.bool_], kind: str, centre: tuple[float, float]) -> float:
    """Intersection over union of a mask (height, width) with a shape of that kind, of its area, about that centre."""
    height, width = inside.shape
    radius = float(np.sqrt(inside.sum() / UNIT_AREA[kind]))
    margin = 4  # an ideal shape of that area may reach beyond the mask's own box
    wide = np.pad(inside, margin)
    shape = ideal(kind, (centre[0] + margin, centre[1] + margin), radius, width + 2 * margin, height + 2 * margin)
    return float(np.minimum(shape, wide).sum() / np.maximum(shape, wide).sum())
