"""Draws scenes: shapes with soft edges, textures that move with the world, three styles."""

from __future__ import annotations

import numpy as np

from model.training.world.motion import broken_at, camera_at, centres, colors
from model.training.world.scene import Scene, Thing
from model.training.world.vocabulary import BACKGROUNDS, COLORS, OCCLUDER, second_tone

_PERIOD = 0.25  # of the short side: a texture's repeat
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


def _places(scene: Scene, frame: int) -> tuple[np.ndarray, np.ndarray, float]:
    """The world's coordinates (height, width) of each pixel of a frame, and the magnification."""
    offset, zoom = camera_at(scene)
    x = (np.arange(scene.width) + 0.5 - scene.width / 2) / zoom[frame] + scene.width / 2 + offset[frame, 0]
    y = (np.arange(scene.height) + 0.5 - scene.height / 2) / zoom[frame] + scene.height / 2 + offset[frame, 1]
    across, down = np.meshgrid(x, y)
    return across, down, float(zoom[frame])


def _inside(
    thing: Thing, centre: np.ndarray, x: np.ndarray, y: np.ndarray, broken: int | None, frame: int
) -> np.ndarray:
    dx, dy = x - centre[0], y - centre[1]
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


def coverage(scene: Scene) -> np.ndarray:
    """Share of each pixel that any thing covers, (frames, height, width) in 0..1."""
    paths = centres(scene)
    broken = [broken_at(scene, index) for index in range(len(scene.things))]
    found = np.zeros((scene.frames, scene.height, scene.width), np.float32)
    for frame in range(scene.frames):
        x, y, zoom = _places(scene, frame)
        for index, thing in enumerate(scene.things):
            inside = _inside(thing, paths[index, frame], x, y, broken[index], frame)
            found[frame] = np.maximum(found[frame], np.clip(inside * zoom + 0.5, 0.0, 1.0))
    return found


def _paper(scene: Scene, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The background (height, width, 3) at the world's coordinates."""
    first = np.asarray(BACKGROUNDS[scene.background], float)
    if scene.texture == "plain":
        return np.broadcast_to(first, (*x.shape, 3))
    period = _PERIOD * min(scene.width, scene.height)
    u, v = x / period, y / period
    soft = period / 4  # edges about a pixel wide
    if scene.texture == "striped":
        share = np.clip(np.sin(2 * np.pi * u) * soft + 0.5, 0, 1)
    elif scene.texture == "checkered":
        share = np.clip(np.sin(np.pi * u) * np.sin(np.pi * v) * soft * 2 + 0.5, 0, 1)
    elif scene.texture == "dotted":
        share = np.clip((0.26 - np.hypot(u % 1 - 0.5, v % 1 - 0.5)) * period + 0.5, 0, 1)
    else:
        raise ValueError(f"unknown texture {scene.texture!r}")
    return first + share[..., None] * (np.asarray(second_tone(scene.background)) - first)


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


def draw(scene: Scene) -> np.ndarray:
    """The clip, (frames, height, width, 3), uint8."""
    paths = centres(scene)
    inks = [colors(scene, index) for index in range(len(scene.things))]
    broken = [broken_at(scene, index) for index in range(len(scene.things))]
    clip = np.empty((scene.frames, scene.height, scene.width, 3), np.uint8)
    for frame in range(scene.frames):
        x, y, zoom = _places(scene, frame)
        picture = _paper(scene, x, y)
        if scene.style == "sketch":
            picture = picture + _PAPER * (255.0 - picture)
        for index, thing in enumerate(scene.things):
            centre = paths[index, frame]
            inside = _inside(thing, centre, x, y, broken[index], frame)
            alpha = np.clip(inside * zoom + 0.5, 0.0, 1.0)
            if scene.style == "sketch":
                # A line two hundredths of the frame thick, and a light wash within.
                line = max(1.5, 0.02 * min(scene.width, scene.height))
                alpha = alpha * np.where(inside < line, 1.0, 0.45)
            ink = _ink(scene, thing, inks[index][frame], inside, x - centre[0], y - centre[1])
            picture = picture + alpha[..., None] * (ink - picture)
        clip[frame] = np.rint(picture)
    return clip
