"""Clips that are wrong on purpose: all as a scene asks but for one respect. A check that passes one is no check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from model.quality.asked import Asked, asked_of
from model.training.world import (
    BACKGROUNDS,
    CAMERAS,
    COLORS,
    DIRECTIONS,
    KINDS,
    SIZES,
    STYLES,
    TEXTURES,
    Motion,
    Scene,
    Thing,
    centres,
    draw,
)

Clip = np.ndarray
Maker = Callable[[Scene, Asked, np.random.Generator], "Clip | None"]


def wrong_clip(scene: Scene, measure: str, rng: np.random.Generator) -> Clip | None:
    """A clip (frames, height, width, 3) that fails the scene's caption in one measure of `obedience.CHECKS`.

    None where the scene has nothing that could be wrong in that respect.
    """
    return MAKERS[measure](scene, asked_of(scene), rng)


def _other(rng: np.random.Generator, words: Iterable[str], *taken: str | None) -> str:
    return str(rng.choice([word for word in words if word not in taken]))


def _changed(scene: Scene, **fields: Any) -> Scene:
    """The scene with other fields of its first subject; all of several that are alike."""
    alike = asked_of(scene).layout == "alike"
    things = [replace(thing, **fields) if alike or not index else thing for index, thing in enumerate(scene.things)]
    return replace(scene, things=tuple(things))


def _color(scene: Scene, asked: Asked, rng: np.random.Generator) -> Clip | None:
    if asked.layout == "pair":
        return None
    taken = [thing.color for thing in scene.things] + [event.color for event in scene.events]
    return draw(_changed(scene, color=_other(rng, COLORS, *taken)))


def _shape(scene: Scene, asked: Asked, rng: np.random.Generator) -> Clip | None:
    return None if asked.layout == "pair" else draw(_changed(scene, kind=_other(rng, KINDS, scene.things[0].kind)))


def _size(scene: Scene, asked: Asked, rng: np.random.Generator) -> Clip | None:
    thing = scene.things[0]
    if asked.layout not in ("alone", "alike") or (asked.layout == "alike" and thing.size == "small"):
        return None  # large ones in the places of small ones would run into one another
    other = _other(rng, SIZES, thing.size)
    return draw(_changed(scene, radius=thing.radius * SIZES[other] / SIZES[thing.size]))


def _count(scene: Scene, asked: Asked, rng: np.random.Generator) -> Clip | None:
    if asked.layout in ("alike", "pair"):
        return draw(replace(scene, things=scene.things[1:]))
    if asked.layout != "alone" or scene.camera != "still":
        return None
    # A second one in the corner that is furthest from the path of the first.
    radius = SIZES["small"] * min(scene.width, scene.height)
    corners = [(x, y) for x in (radius + 2, scene.width - radius - 2) for y in (radius + 2, scene.height - radius - 2)]
    path = centres(scene)[0]
    corner = max(corners, key=lambda place: float(np.hypot(*(path - np.asarray(place)).T).min()))
    if float(np.hypot(*(path - np.asarray(corner)).T).min()) < scene.things[0].radius + radius + 4:
        return None
    more = Thing(scene.things[0].kind, scene.things[0].color, "small", radius, Motion("still", "still", corner))
    return draw(replace(scene, things=(*scene.things, more)))


def _straight(scene: Scene, direction: str) -> Motion:
    """Through the middle of the frame, half of its short side long."""
    way = 0.5 * min(scene.width, scene.height) * np.asarray(DIRECTIONS[direction])
    start = np.asarray([scene.width / 2, scene.height / 2]) - way / 2
    pace = way / max(scene.frames - 1, 1)
    return Motion("straight", direction, (float(start[0]), float(start[1])), (float(pace[0]), float(pace[1])))


def _direction(scene: Scene, asked: Asked, rng: np.random.Generator) -> Clip | None:
    subject = asked.subjects[0]
    if subject.motion not in ("still", "straight", "accelerating") or asked.camera != "still":
        return None
    if asked.layout not in ("alone", "alike", "behind"):
        return None
    if subject.motion != "still" and (asked.layout != "alone" or rng.random() < 0.5):
        return draw(scene)[::-1]
    if asked.layout != "alone":
        return None
    moving = _other(rng, DIRECTIONS, subject.direction or "still", "still")
    return draw(_changed(scene, motion=_straight(scene, moving)))


def _moved(thing: Thing, x: float) -> Thing:
    return replace(thing, motion=replace(thing.motion, start=(x, thing.motion.start[1])))


def _position(scene: Scene, asked: Asked, rng: np.random.Generator) -> Clip | None:
    if asked.layout != "pair":
        return None
    left, right = scene.things
    return draw(replace(scene, things=(_moved(left, right.motion.start[0]), _moved(right, left.motion.start[0]))))


def _binding(scene: Scene, asked: Asked, rng: np.random.Generator) -> Clip | None:
    """Each has the other's colour, or the other's kind."""
    if asked.layout != "pair":
        return None
    left, right = scene.things
    if left.color != right.color and (left.kind == right.kind or rng.random() < 0.5):
        left, right = replace(left, color=right.color), replace(right, color=left.color)
    elif left.kind != right.kind:
        left, right = replace(left, kind=right.kind), replace(right, kind=left.kind)
    else:
        return None
    return draw(replace(scene, things=(left, right)))


def _background(scene: Scene, asked: Asked, rng: np.random.Generator) -> Clip:
    if rng.random() < 0.3:
        return draw(replace(scene, texture=_other(rng, TEXTURES, scene.texture)))
    return draw(replace(scene, background=_other(rng, BACKGROUNDS, scene.background)))


def _style(scene: Scene, asked: Asked, rng: np.random.Generator) -> Clip:
    return draw(replace(scene, style=_other(rng, STYLES, scene.style)))


def _camera(scene: Scene, asked: Asked, rng: np.random.Generator) -> Clip | None:
    if scene.texture == "plain":
        return None
    taken = {scene.camera} | ({"pans up", "pans down"} if scene.texture == "striped" else set())
    camera = _other(rng, CAMERAS, *taken)
    if camera.startswith("pans"):
        return draw(replace(scene, camera=camera, camera_rate=0.16 * min(scene.width, scene.height) / scene.fps))
    return draw(replace(scene, camera=camera, camera_rate=float(np.log(1.45)) / max(scene.frames - 1, 1)))


def _uneventful(scene: Scene) -> Scene:
    """The scene without what happens in it; what hits another still stops there."""
    return replace(scene, events=tuple(event for event in scene.events if event.kind == "stops" and _hits(scene)))


def _hits(scene: Scene) -> bool:
    return any(event.contact for event in scene.events)


def _event(scene: Scene, asked: Asked, rng: np.random.Generator) -> Clip | None:
    if scene.push is not None:
        return draw(replace(scene, push=None))
    if not asked.changes or (asked.layout == "alone" and len(asked.changes) > 1):
        return None
    last = scene.events[-1]
    if last.kind == "turns" and rng.random() < 0.5:
        color = _other(rng, COLORS, last.color, *(thing.color for thing in scene.things))
        return draw(replace(scene, events=(*scene.events[:-1], replace(last, color=color))))
    return draw(_uneventful(scene))


def _order(scene: Scene, asked: Asked, rng: np.random.Generator) -> Clip | None:
    if len(asked.changes) < 2:
        return None
    first, second = scene.events[:2]
    swapped = (replace(second, frame=first.frame), replace(first, frame=second.frame))
    if second.color == scene.things[0].color:
        return draw(replace(scene, events=swapped[1:]))  # it would turn what it is already
    return draw(replace(scene, events=swapped))


def _persistence(scene: Scene, asked: Asked, rng: np.random.Generator) -> Clip | None:
    """In the last fifth nothing ever happened."""
    if not asked.changes or scene.push is not None or scene.events[-1].kind == "stops":
        return None
    clip = draw(scene)
    begin = scene.frames - max(3, scene.frames // 5)
    old = [scene.things[0].color, *(change.color for change in asked.changes)][-2]
    back = _uneventful(scene) if asked.layout == "contact" else _changed(replace(scene, events=()), color=old)
    clip[begin:] = draw(back)[begin:]
    return clip


def _physics(scene: Scene, asked: Asked, rng: np.random.Generator) -> Clip | None:
    """The same way by another law."""
    motion = scene.things[0].motion
    told = asked.subjects[0].motion
    if asked.layout != "alone" or asked.changes or asked.camera != "still" or told in (None, "still"):
        return None
    steps = max(scene.frames - 1, 1)
    if told == "straight":  # by fits and starts
        stairs = np.repeat(np.arange(0, scene.frames, 5), 5)[: scene.frames]
        return draw(scene)[stairs]
    if told == "accelerating":  # at one speed
        pace = np.asarray(motion.acceleration) * steps / 2
        other = replace(motion, kind="straight", velocity=(float(pace[0]), float(pace[1])), acceleration=(0.0, 0.0))
    elif told == "falling and bouncing" and rng.random() < 0.5:  # it stays where it falls
        other = replace(motion, restitution=0.0)
    elif told == "falling" and rng.random() < 0.5:
        other = replace(motion, restitution=0.7)
    elif str(told).startswith("falling"):  # upwards, or at one speed
        if rng.random() < 0.5:
            return draw(scene)[::-1]
        way = scene.height - scene.things[0].radius - 2 - motion.start[1]
        other = replace(motion, kind="straight", velocity=(0.0, way / steps), acceleration=(0.0, 0.0))
    elif str(told).startswith("bouncing"):  # one way only
        other = _straight(scene, motion.direction)
    else:  # to and fro in place of round
        other = _straight(scene, "right")
    return draw(_changed(scene, motion=other))


def _permanence(scene: Scene, asked: Asked, rng: np.random.Generator) -> Clip | None:
    clip = draw(scene)
    if asked.layout == "behind":
        if rng.random() < 0.5:  # before the bar, not behind it
            return draw(replace(scene, things=scene.things[::-1]))
        middle = scene.frames // 2  # it never comes out again
        clip[middle:] = draw(replace(scene, things=scene.things[1:]))[middle:]
        return clip
    if asked.layout not in ("alone", "alike", "pair") or asked.camera != "still":
        return None
    begin = round(0.6 * scene.frames)
    gone = replace(scene.things[0], motion=Motion("still", "still", (-9.0 * scene.width, 0.0)))
    events = tuple(event for event in scene.events if event.kind == "turns")
    clip[begin:] = draw(replace(scene, things=(gone, *scene.things[1:]), events=events))[begin:]
    return clip


MAKERS: Mapping[str, Maker] = {
    "color": _color,
    "shape": _shape,
    "size": _size,
    "count": _count,
    "direction": _direction,
    "position": _position,
    "binding": _binding,
    "background": _background,
    "style": _style,
    "camera": _camera,
    "event": _event,
    "order": _order,
    "persistence": _persistence,
    "physics": _physics,
    "permanence": _permanence,
}
