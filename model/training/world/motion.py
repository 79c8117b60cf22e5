"""Where things are in every frame, and what colour they have then. It follows from the scene; nothing is drawn."""

from __future__ import annotations

import numpy as np

from model.training.world.scene import Scene, Thing
from model.training.world.vocabulary import CAMERAS

FREE = 2.0  # pixels kept free around a thing; a soft edge reaches one and a half beyond a corner


def centres(scene: Scene) -> np.ndarray:
    """Centre of each thing in each frame, (things, frames, 2) as (x, y) in the world's pixels."""
    paths = np.stack([_alone(thing, scene) for thing in scene.things])
    if scene.push is not None:
        hit = scene.push
        later = np.arange(scene.frames - hit)[:, None]
        paths[0, hit:] = paths[0, hit]
        paths[1, hit:] = paths[1, hit] + later * np.asarray(scene.things[0].motion.velocity)
    for event in scene.events:
        if event.kind == "stops":
            paths[event.thing, event.frame :] = paths[event.thing, event.frame]
    return paths


def _alone(thing: Thing, scene: Scene) -> np.ndarray:
    motion, step = thing.motion, np.arange(scene.frames, dtype=np.float64)[:, None]
    start, velocity = np.asarray(motion.start), np.asarray(motion.velocity)
    if motion.kind == "orbiting":
        pivot = np.asarray(motion.pivot)
        arm = start - pivot
        angle = np.arctan2(arm[1], arm[0]) + motion.turn * step[:, 0]
        return pivot + np.hypot(*arm) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    if motion.kind == "falling":
        return _fall(thing, scene)
    path: np.ndarray = start + step * velocity + 0.5 * step**2 * np.asarray(motion.acceleration)
    if motion.kind == "bouncing":
        low = thing.radius + FREE
        room = np.asarray([scene.width, scene.height]) - 2 * low
        path = low + room - np.abs((path - low) % (2 * room) - room)
    return path


def _fall(thing: Thing, scene: Scene) -> np.ndarray:
    """Parabolas between the touches of the floor, each with `restitution` of the speed of the one before."""
    motion = thing.motion
    floor, gravity = scene.height - thing.radius - FREE, motion.acceleration[1]
    y, speed, began, path = motion.start[1], motion.velocity[1], 0.0, []
    for frame in range(scene.frames):
        while True:
            # The time of this parabola at which it meets the floor.
            lands = (-speed + np.sqrt(max(speed**2 + 2 * gravity * (floor - y), 0.0))) / gravity
            if frame - began <= lands or (abs(speed) < 1e-3 and floor - y < 1e-3):
                break
            speed = -(speed + gravity * lands) * motion.restitution
            began, y = began + lands, floor
            if abs(speed) < 0.35:
                speed = 0.0
        passed = frame - began
        resting = speed == 0.0 and floor - y < 1e-3
        path.append(floor if resting else min(y + speed * passed + 0.5 * gravity * passed**2, floor))
    x = motion.start[0] + np.arange(scene.frames) * motion.velocity[0]
    return np.stack([x, np.asarray(path)], axis=1)


def colors(scene: Scene, thing: int) -> list[str]:
    """The colour of a thing in each frame."""
    found = [scene.things[thing].color] * scene.frames
    for event in scene.events:
        if event.kind == "turns" and event.thing == thing and event.color is not None:
            found[event.frame :] = [event.color] * (scene.frames - event.frame)
    return found


def broken_at(scene: Scene, thing: int) -> int | None:
    """The frame in which a thing breaks, or None."""
    return next((event.frame for event in scene.events if event.kind == "breaks" and event.thing == thing), None)


def camera_at(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Offset (frames, 2) of the camera's window in the world's pixels, and its magnification (frames,)."""
    dx, dy, grow = CAMERAS[scene.camera]
    step = np.arange(scene.frames, dtype=np.float64)
    offset = step[:, None] * np.asarray([dx, dy]) * scene.camera_rate
    return offset, np.exp(np.log1p(scene.camera_rate) * grow * step)


def on_screen(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """As the camera sees them: centres (things, frames, 2) in the picture's pixels, and radii (things, frames)."""
    offset, zoom = camera_at(scene)
    middle = np.asarray([scene.width / 2, scene.height / 2])
    seen = (centres(scene) - offset - middle) * zoom[None, :, None] + middle
    return seen, np.asarray([thing.radius for thing in scene.things])[:, None] * zoom
