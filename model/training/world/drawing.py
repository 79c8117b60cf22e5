"""Draws scenes: shapes with soft edges, textures that move with the world, three styles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from model.training.world.motion import broken_at, camera_at, centres, colors
from model.training.world.scene import Scene, Thing
from model.training.world.vocabulary import BACKGROUNDS, COLORS, OCCLUDER, second_tone

PERIOD = 0.25  # of the short side: a texture's repeat, of which checks need two
_PAPER = 0.55  # how far a sketch's paper is from its background towards white
_PIECES = ((-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0))


def depth(kind: str, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """How deep a point lies inside a shape about the origin, in pixels; below 0 outside. x and y: same shape."""
    if kind == "circle":
        return 0.92 * radius - np.hypot(x, y)
    if kind == "square":
        return 0.8 * radius - np.maximum(np.abs(x), np.abs(y))
    if kind == "triangle":
        # Equilateral, point upwards; each side lies half the circumradius from the centre.
        return 0.5 * radius - np.maximum(np.abs(x) * 0.8660254 - y * 0.5, y)
    if kind == OCCLUDER:
        return radius - np.abs(x) + 0.0 * y
    raise ValueError(f"unknown shape {kind!r}")


def ideal(kind: str, centre: tuple[float, float], radius: float, width: int, height: int) -> np.ndarray:
    """Share of each pixel that one shape covers, (height, width) in 0..1."""
    x = np.arange(width)[None, :] + 0.5 - centre[0]
    y = np.arange(height)[:, None] + 0.5 - centre[1]
    x, y = np.broadcast_arrays(x, y)
    return np.clip(depth(kind, x, y, radius) + 0.5, 0.0, 1.0)


class Part(NamedTuple):
    """A box of a clip's frames: what is drawn where the whole clip is not wanted."""

    first: int
    frames: int
    left: int
    top: int
    width: int
    height: int


def whole(scene: Scene) -> Part:
    """All frames, from edge to edge."""
    return Part(0, scene.frames, 0, 0, scene.width, scene.height)


class _Frame(NamedTuple):
    """One frame of a part: its number in the clip, and where its columns (width,) and rows (height,) lie."""

    number: int
    x: np.ndarray
    y: np.ndarray
    zoom: float


def _frames(scene: Scene, part: Part) -> Iterator[_Frame]:
    offset, zoom = camera_at(scene)
    columns, rows = np.arange(part.width) + part.left + 0.5, np.arange(part.height) + part.top + 0.5
    for number in range(part.first, part.first + part.frames):
        x = (columns - scene.width / 2) / zoom[number] + scene.width / 2 + offset[number, 0]
        y = (rows - scene.height / 2) / zoom[number] + scene.height / 2 + offset[number, 1]
        yield _Frame(number, x, y, float(zoom[number]))


class _Stamp(NamedTuple):
    """What one thing covers of a frame: nothing outside of `box`. All arrays are of the box's size.

    Attributes:
        inside: how deep each point lies in the thing, in the world's pixels.
        dx, dy: from its centre.
    """

    box: tuple[slice, slice]
    inside: np.ndarray
    dx: np.ndarray
    dy: np.ndarray


def _stamp(thing: Thing, centre: np.ndarray, frame: _Frame, broken: int | None) -> _Stamp:
    # Pieces of a broken thing fly less than half a radius; a soft edge ends a pixel beyond the thing.
    reach = thing.radius * (1.0 if broken is None else 1.5) + 1.0 / frame.zoom
    box = tuple(
        slice(int(np.searchsorted(line, at - reach)), int(np.searchsorted(line, at + reach, side="right")))
        for line, at in ((frame.y, centre[1]), (frame.x, centre[0]))
    )
    rows, columns = (slice(None), box[1]) if thing.kind == OCCLUDER else box
    dx, dy = np.meshgrid(frame.x[columns] - centre[0], frame.y[rows] - centre[1])
    return _Stamp((rows, columns), _inside(thing, dx, dy, broken, frame.number), dx, dy)


def _inside(thing: Thing, dx: np.ndarray, dy: np.ndarray, broken: int | None, frame: int) -> np.ndarray:
    if broken is None or frame < broken:
        return depth(thing.kind, dx, dy, thing.radius)
    # Four quarters fly apart and then lie where they are.
    apart = thing.radius * 0.45 * min(1.0, (frame - broken + 1) / 3)
    pieces = []
    for sign_x, sign_y in _PIECES:
        px, py = dx - sign_x * apart, dy - sign_y * apart
        quarter = np.minimum(px * sign_x, py * sign_y)
        pieces.append(np.minimum(depth(thing.kind, px, py, thing.radius), quarter))
    return np.maximum.reduce(pieces)


def coverage(scene: Scene, part: Part | None = None) -> np.ndarray:
    """Share of each pixel that any thing covers, (frames, height, width) in 0..1, of the whole clip or a part of it."""
    part = part or whole(scene)
    paths = centres(scene)
    broken = [broken_at(scene, index) for index in range(len(scene.things))]
    found = np.zeros((part.frames, part.height, part.width), np.float32)
    for picture, frame in zip(found, _frames(scene, part), strict=True):
        for index, thing in enumerate(scene.things):
            stamp = _stamp(thing, paths[index, frame.number], frame, broken[index])
            covered = np.clip(stamp.inside * frame.zoom + 0.5, 0.0, 1.0)
            picture[stamp.box] = np.maximum(picture[stamp.box], covered)
    return found


def tones(scene: Scene) -> np.ndarray:
    """How much of each pixel's background has its second tone, (frames, height, width) in 0..1; 0 on a plain one."""
    frames = list(_frames(scene, whole(scene)))
    if scene.camera == "still" or scene.texture == "plain":
        return np.broadcast_to(_tone(scene, frames[0].x, frames[0].y), (scene.frames, scene.height, scene.width))
    return np.stack([_tone(scene, frame.x, frame.y) for frame in frames])


def _tone(scene: Scene, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of the second tone (height, width) at the world's coordinates, x: (width,), y: (height,)."""
    if scene.texture == "plain":
        return np.zeros((len(y), len(x)))
    x, y = np.meshgrid(x, y)
    period = PERIOD * min(scene.width, scene.height)
    u, v = x / period, y / period
    soft = period / 4  # edges about a pixel wide
    share: np.ndarray
    if scene.texture == "striped":
        share = np.clip(np.sin(2 * np.pi * u) * soft + 0.5, 0, 1)
    elif scene.texture == "checkered":
        share = np.clip(np.sin(np.pi * u) * np.sin(np.pi * v) * soft * 2 + 0.5, 0, 1)
    elif scene.texture == "dotted":
        share = np.clip((0.26 - np.hypot(u % 1 - 0.5, v % 1 - 0.5)) * period + 0.5, 0, 1)
    else:
        raise ValueError(f"unknown texture {scene.texture!r}")
    return share


def _paper(scene: Scene, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The background (height, width, 3) at the world's coordinates, x: (width,), y: (height,)."""
    first = np.asarray(BACKGROUNDS[scene.background], float)
    return first + _tone(scene, x, y)[..., None] * (np.asarray(second_tone(scene.background)) - first)


def _ink(scene: Scene, thing: Thing, color: str, inside: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Colour (height, width, 3) of a thing at each pixel."""
    rgb = np.asarray(COLORS[color], float)
    if scene.style == "clay":
        # Lit from the upper left, darker towards the rim, as a lump of clay is.
        rim = np.clip(inside / (0.5 * thing.radius), 0.0, 1.0)
        # A bar is as long as the frame is high: it is lit across only.
        slope = dx + (0.0 if thing.kind == OCCLUDER else dy)
        light = 0.62 + 0.38 * np.sqrt(rim) - 0.22 * slope / (2 * thing.radius)
        return np.clip(rgb * light[..., None], 0, 255)
    return np.broadcast_to(rgb, (*inside.shape, 3))


def draw(scene: Scene, part: Part | None = None) -> np.ndarray:
    """The clip, (frames, height, width, 3), uint8, or a part of it."""
    part = part or whole(scene)
    paths = centres(scene)
    inks = [colors(scene, index) for index in range(len(scene.things))]
    broken = [broken_at(scene, index) for index in range(len(scene.things))]
    clip = np.empty((part.frames, part.height, part.width, 3), np.uint8)
    paper: np.ndarray | None = None
    for shown, frame in zip(clip, _frames(scene, part), strict=True):
        if paper is None or scene.camera != "still":
            paper = _paper(scene, frame.x, frame.y)
            if scene.style == "sketch":
                paper = paper + _PAPER * (255.0 - paper)
        picture = paper.copy()
        for index, thing in enumerate(scene.things):
            stamp = _stamp(thing, paths[index, frame.number], frame, broken[index])
            alpha = np.clip(stamp.inside * frame.zoom + 0.5, 0.0, 1.0)
            if scene.style == "sketch":
                # A line two hundredths of the frame thick, and a light wash within.
                line = max(1.5, 0.02 * min(scene.width, scene.height))
                alpha = alpha * np.where(stamp.inside < line, 1.0, 0.45)
            under = picture[stamp.box]
            ink = _ink(scene, thing, inks[index][frame.number], stamp.inside, stamp.dx, stamp.dy)
            picture[stamp.box] = under + alpha[..., None] * (ink - under)
        shown[...] = np.rint(picture)
    return clip
