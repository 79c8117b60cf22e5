"""A procedural world of coloured shapes, with its truth.

Every clip is drawn from a `Scene`, so each pixel and each word of its caption is known exactly, and nothing has an
owner. One shape moves along a straight line and never leaves the frame, wraps or turns back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Rgb = tuple[int, int, int]

COLORS: dict[str, Rgb] = {
    "red": (220, 40, 40),
    "green": (50, 180, 70),
    "blue": (50, 90, 220),
    "yellow": (240, 210, 50),
    "orange": (240, 140, 30),
    "purple": (140, 60, 190),
    "cyan": (60, 200, 220),
    "white": (245, 245, 245),
}
BACKGROUNDS: dict[str, Rgb] = {
    "black": (0, 0, 0),
    "gray": (120, 120, 120),
    "navy": (20, 30, 80),
    "pink": (245, 180, 200),
}
KINDS = ("circle", "square", "triangle")
# Radius of the shape's circumscribing disc over the short side of the frame.
SIZES = {"small": 0.11, "large": 0.2}
# Unit steps in image coordinates: x to the right, y downwards.
DIRECTIONS: dict[str, tuple[float, float]] = {
    "right": (1.0, 0.0),
    "left": (-1.0, 0.0),
    "up": (0.0, -1.0),
    "down": (0.0, 1.0),
    "up right": (0.7071, -0.7071),
    "up left": (-0.7071, -0.7071),
    "down right": (0.7071, 0.7071),
    "down left": (-0.7071, 0.7071),
    "still": (0.0, 0.0),
}
_MARGIN = 2.0  # pixels kept free around the shape; a soft edge reaches one and a half beyond a corner
SPEED_PER_SECOND = (0.14, 0.24)  # of the side travelled along


@dataclass(frozen=True)
class Scene:
    """One shape on a plain background.

    `start` and `velocity` are (x, y) in pixels and pixels per frame; `radius` is in pixels.
    """

    kind: str
    color: str
    size: str
    background: str
    direction: str
    start: tuple[float, float]
    velocity: tuple[float, float]
    radius: float


def sample_scene(rng: np.random.Generator, width: int, height: int, frames: int, fps: float = 8.0) -> Scene:
    """A scene whose shape stays wholly inside `width` x `height` for all of `frames`."""
    names = {
        "kind": str(rng.choice(KINDS)),
        "color": str(rng.choice(list(COLORS))),
        "size": str(rng.choice(list(SIZES))),
        "background": str(rng.choice(list(BACKGROUNDS))),
        "direction": str(rng.choice(list(DIRECTIONS))),
    }
    radius = SIZES[names["size"]] * min(width, height) * rng.uniform(0.92, 1.08)
    unit = DIRECTIONS[names["direction"]]
    # A diagonal covers less of each side, so that its speed along the path is the same.
    per_frame = rng.uniform(*SPEED_PER_SECOND) * min(width, height) / fps
    steps = max(frames - 1, 0)
    start, velocity = [], []
    for side, component in zip((width, height), unit, strict=True):
        room = max(side - 2 * (radius + _MARGIN), 0.0)
        travel = np.clip(component * per_frame * steps, -room, room)
        low, high = radius + _MARGIN - min(travel, 0.0), side - radius - _MARGIN - max(travel, 0.0)
        start.append(float(rng.uniform(low, max(high, low))))
        velocity.append(float(travel / steps) if steps else 0.0)
    return Scene(**names, start=(start[0], start[1]), velocity=(velocity[0], velocity[1]), radius=float(radius))


def centres(scene: Scene, frames: int) -> np.ndarray:
    """Centre of the shape in each frame, (frames, 2) as (x, y) in pixels."""
    step = np.arange(frames, dtype=np.float64)[:, None]
    return np.asarray(scene.start) + step * np.asarray(scene.velocity)


def coverage(scene: Scene, width: int, height: int, frames: int) -> np.ndarray:
    """Share of each pixel that the shape covers, (frames, height, width) in 0..1, with soft edges one pixel wide."""
    centre = centres(scene, frames)
    x = np.arange(width)[None, None, :] + 0.5 - centre[:, 0, None, None]
    y = np.arange(height)[None, :, None] + 0.5 - centre[:, 1, None, None]
    r = scene.radius
    if scene.kind == "circle":
        inside = 0.92 * r - np.hypot(x, y)
    elif scene.kind == "square":
        inside = 0.8 * r - np.maximum(np.abs(x), np.abs(y))
    elif scene.kind == "triangle":
        # Equilateral, point upwards; each side lies half the circumradius from the centre.
        x, y = np.broadcast_arrays(x, y + 0.0)
        slanted = np.abs(x) * 0.8660254 - y * 0.5
        inside = 0.5 * r - np.maximum(slanted, y)
    else:
        raise ValueError(f"unknown shape {scene.kind!r}; known: {', '.join(KINDS)}")
    return np.clip(inside + 0.5, 0.0, 1.0)


def draw(scene: Scene, width: int, height: int, frames: int) -> np.ndarray:
    """The clip, (frames, height, width, 3), uint8."""
    alpha = coverage(scene, width, height, frames)[..., None]
    ink, paper = np.asarray(COLORS[scene.color], float), np.asarray(BACKGROUNDS[scene.background], float)
    return np.rint(paper + alpha * (ink - paper)).astype(np.uint8)
