"""Draws scenes at random. Each family shows one thing that a caption can ask for, and has its share of the clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from model.training.world.motion import FREE
from model.training.world.scene import Event, Motion, Scene, Thing
from model.training.world.vocabulary import (
    BACKGROUNDS,
    CAMERAS,
    COLORS,
    DIRECTIONS,
    KINDS,
    OCCLUDER,
    SIZES,
    STYLES,
    TEXTURES,
)

# Of the short side. A clip of two seconds crosses about half the frame: of a slower shape a model learns the place but
# hardly the direction, which then says little about where to draw it.
SPEED_PER_SECOND = (0.2, 0.34)
# A camera has nearly one pace: captions do not tell it, and a background that repeats itself comes out of step long
# before a model has settled on one of many.
PAN_PER_SECOND = (0.15, 0.17)  # of the short side
ZOOM = (1.43, 1.5)  # how far a zooming camera magnifies, or the other way, by a clip's end
SHARES: Mapping[str, float] = {
    "one": 0.36,
    "two": 0.2,
    "count": 0.1,
    "camera": 0.1,
    "turning": 0.08,
    "contact": 0.06,
    "physics": 0.08,
    "occlusion": 0.02,
}
_EVENT_FRAMES = 9
# Between things that are alike, of the short side: nearly a token. Nearer ones, drawn by tokens, run into each other
# before it is settled how many they are.
APART = 0.1
DRESSED = 0.12  # share of the clips in a family that have a texture, and of all that have a style


def sample_scene(
    rng: np.random.Generator,
    width: int,
    height: int,
    frames: int,
    fps: float = 8.0,
    *,
    shares: Mapping[str, float] = SHARES,
    dressed: float = DRESSED,
) -> Scene:
    """A scene of one of the families in `shares` (name -> how often), for a clip of that size and length.

    dressed: how often it has a texture, unless its family settles that, and how often a style.
    """
    # A still, or a blink, has no room for something to happen.
    names = [name for name in shares if frames >= _EVENT_FRAMES or name not in ("turning", "contact")]
    if not names:
        raise ValueError(f"nothing of {', '.join(shares)} can happen in {frames} frames: {_EVENT_FRAMES} at least")
    weights = np.asarray([shares[name] for name in names])
    family = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    scene = FAMILIES[family](_Maker(rng, width, height, frames, fps))
    if family not in ("camera", "bare") and rng.random() < dressed:
        scene = replace(scene, texture=_word(rng, TEXTURES[1:]))
    if rng.random() < dressed:
        scene = replace(scene, style=_word(rng, STYLES[1:]))
    return scene


def _word(rng: np.random.Generator, words: Mapping[str, object] | tuple[str, ...]) -> str:
    return str(rng.choice(list(words)))


def others(rng: np.random.Generator, words: Mapping[str, object] | tuple[str, ...], taken: str) -> str:
    """A word that is not the one taken."""
    return _word(rng, tuple(word for word in words if word != taken))


class _Maker:
    """What all families share: the clip's measures, and things that fit into it."""

    def __init__(self, rng: np.random.Generator, width: int, height: int, frames: int, fps: float) -> None:
        self.rng, self.width, self.height, self.frames, self.fps = rng, width, height, frames, fps
        self.short, self.steps = min(width, height), max(frames - 1, 0)

    def radius(self, size: str) -> float:
        return float(SIZES[size] * self.short * self.rng.uniform(0.92, 1.08))

    def speed(self) -> float:
        """Pixels a frame."""
        return float(self.rng.uniform(*SPEED_PER_SECOND) * self.short / self.fps)

    def thing(self, *, size: str | None = None, motion: Motion | None = None) -> Thing:
        size = size or _word(self.rng, SIZES)
        nowhere = Motion("still", "still", (self.width / 2, self.height / 2))
        kind, color = _word(self.rng, KINDS), _word(self.rng, COLORS)
        return Thing(kind, color, size, self.radius(size), motion or nowhere)

    def straight(self, radius: float, direction: str, box: tuple[float, float, float, float] | None = None) -> Motion:
        """A straight path at random that stays in the box (left, top, right, bottom) for the whole clip."""
        left, top, right, bottom = box or (0.0, 0.0, float(self.width), float(self.height))
        pace = self.speed()
        start, velocity = [], []
        sides = ((left, right), (top, bottom))
        # A diagonal covers less of each side, so that its speed along the path is the same.
        for (low_side, high_side), component in zip(sides, DIRECTIONS[direction], strict=True):
            room = max(high_side - low_side - 2 * (radius + FREE), 0.0)
            travel = float(np.clip(component * pace * self.steps, -room, room))
            low = low_side + radius + FREE - min(travel, 0.0)
            high = high_side - radius - FREE - max(travel, 0.0)
            start.append(float(self.rng.uniform(low, max(high, low))))
            velocity.append(travel / self.steps if self.steps else 0.0)
        kind = "still" if direction == "still" else "straight"
        return Motion(kind, direction, (start[0], start[1]), (velocity[0], velocity[1]))

    def scene(self, *things: Thing, texture: str = "plain") -> Scene:
        paper = _word(self.rng, BACKGROUNDS)
        return Scene(things, paper, self.width, self.height, self.frames, texture=texture, fps=self.fps)

    def moment(self, low: float, high: float) -> int:
        """A frame between two parts of the clip."""
        return round(self.rng.uniform(low, high) * self.steps)


def _one(make: _Maker) -> Scene:
    thing = make.thing()
    motion = make.straight(thing.radius, _word(make.rng, DIRECTIONS))
    return make.scene(replace(thing, motion=motion))


def _two(make: _Maker) -> Scene:
    """One on the left and one on the right, each with attributes of its own."""
    half = make.width / 2
    found = []
    for side in range(2):
        large = 2 * (SIZES["large"] * 1.08 * make.short + FREE) <= half
        thing = make.thing(size=None if large else "small")
        # Up and down keeps each on its side, and so do steps that are small beside the half.
        direction = _word(make.rng, ("still", "still", "up", "down"))
        box = (side * half, 0.0, (side + 1) * half, float(make.height))
        found.append(replace(thing, motion=make.straight(thing.radius, direction, box)))
    if (found[0].kind, found[0].color, found[0].size) == (found[1].kind, found[1].color, found[1].size):
        found[1] = replace(found[1], color=others(make.rng, COLORS, found[0].color))
    return make.scene(*found)


def _count(make: _Maker) -> Scene:
    """Two or three that are alike and move as one."""
    number = int(make.rng.integers(2, 4))
    thing = make.thing(size="small" if number == 3 or make.rng.random() < 0.6 else "large")
    direction = _word(make.rng, ("still", "still", "right", "left", "up", "down"))
    for _ in range(1000):
        paths = [make.straight(thing.radius, direction) for _ in range(number)]
        pace = paths[0].velocity
        ends = [np.asarray(path.start) + make.steps * np.asarray(pace) for path in paths]
        room = thing.radius + FREE
        fits = all(
            room - 1e-6 <= end[0] <= make.width - room + 1e-6 and room - 1e-6 <= end[1] <= make.height - room + 1e-6
            for end in ends
        )
        starts = [np.asarray(path.start) for path in paths]
        apart = min(float(np.linalg.norm(a - b)) for index, a in enumerate(starts) for b in starts[:index])
        if fits and apart > 2 * thing.radius + APART * make.short:
            return make.scene(*(replace(thing, motion=replace(path, velocity=pace)) for path in paths))
    return _one(make)


def _camera(make: _Maker) -> Scene:
    """A thing that stands, a background that can be seen to move, and a camera that does."""
    thing = make.thing()
    thing = replace(thing, motion=make.straight(thing.radius, "still", _middle(make)))
    camera = others(make.rng, CAMERAS, "still")
    # Stripes stand upright: along them nothing is seen to move.
    textures = tuple(name for name in TEXTURES[1:] if name != "striped" or camera not in ("pans up", "pans down"))
    scene = make.scene(thing, texture=_word(make.rng, textures))
    pace = make.rng.uniform(*PAN_PER_SECOND) * make.short / make.fps
    rate = pace if camera.startswith("pans") else np.log(make.rng.uniform(*ZOOM)) / max(make.steps, 1)
    return replace(scene, camera=camera, camera_rate=float(rate))


def _bare(make: _Maker) -> Scene:
    """As `_camera`, before a plain background: only the thing tells that the camera moves, and no texture comes."""
    return replace(_camera(make), texture="plain")


def _middle(make: _Maker) -> tuple[float, float, float, float]:
    """The middle of the frame, so that a camera does not lose what stands there at once."""
    x, y = 0.12 * make.width, 0.12 * make.height
    return x, y, make.width - x, make.height - y


def _turning(make: _Maker) -> Scene:
    """A change of colour at some moment, or two of them in order, or one and then a stop."""
    scene = _one(make)
    thing = scene.things[0]
    first = others(make.rng, COLORS, thing.color)
    if make.rng.random() < 0.5:
        return replace(scene, events=(Event("turns", 0, make.moment(0.35, 0.65), first),))
    early, late = make.moment(0.25, 0.4), make.moment(0.6, 0.75)
    if thing.motion.kind == "straight" and make.rng.random() < 0.4:
        last = Event("stops", 0, late)
    else:
        last = Event("turns", 0, late, others(make.rng, COLORS, first))
    return replace(scene, events=(Event("turns", 0, early, first), last))


def _contact(make: _Maker) -> Scene:
    """The first thing comes from one side and touches the second, which moves on, takes a colour, or breaks."""
    mover, target = make.thing(size="small"), make.thing(size=_word(make.rng, SIZES))
    if mover.color == target.color:
        target = replace(target, color=others(make.rng, COLORS, mover.color))
    direction = _word(make.rng, ("right", "left"))
    sign = DIRECTIONS[direction][0]
    y = float(make.rng.uniform(target.radius + FREE, make.height - target.radius - FREE))
    begin = mover.radius + FREE if sign > 0 else make.width - mover.radius - FREE
    x = make.width * (0.5 + sign * float(make.rng.uniform(0.0, 0.12)))  # room for a way to see
    gap = abs(x - begin) - (mover.radius + target.radius) * 0.88
    hit = max(make.moment(0.35, 0.55), 1)
    velocity = (sign * max(gap, 0.0) / hit, 0.0)
    scene = make.scene(
        replace(mover, motion=Motion("straight", direction, (begin, y), velocity)),
        replace(target, motion=Motion("still", "still", (x, y))),
    )
    what = _word(make.rng, ("push", "turns", "breaks"))
    if what == "push":
        room = (make.width - x if sign > 0 else x) - target.radius - FREE
        pace = min(abs(velocity[0]), room / max(make.steps - hit, 1))
        if pace < abs(velocity[0]):  # slow both down, so that the one that is pushed stays in the frame
            begin = x - sign * ((mover.radius + target.radius) * 0.88 + pace * hit)
            motion = Motion("straight", direction, (begin, y), (sign * pace, 0.0))
            scene = replace(scene, things=(replace(mover, motion=motion), scene.things[1]))
        return replace(scene, push=hit)
    color = others(make.rng, COLORS, target.color) if what == "turns" else None
    return replace(scene, events=(Event("stops", 0, hit), Event(what, 1, hit, color, contact=True)))


def _physics(make: _Maker) -> Scene:
    """One thing that falls, bounces off the floor or the walls, gathers speed, or goes round."""
    rng, thing = make.rng, make.thing()
    low, wide, tall = thing.radius + FREE, float(make.width), float(make.height)
    what = _word(rng, ("falling", "falling", "bouncing", "accelerating", "orbiting"))
    if what == "falling":
        top = float(rng.uniform(low, max(low, 0.3 * tall)))
        lands = 0.55 * make.steps if make.steps else 1.0
        pull = 2 * (tall - low - top) / max(lands, 1.0) ** 2
        restitution = float(rng.choice([0.0, 0.7]))
        x = float(rng.uniform(low, wide - low))
        motion = Motion("falling", "down", (x, top), (0.0, 0.0), (0.0, max(pull, 1e-3)), restitution)
    elif what == "bouncing":
        axis = int(rng.integers(2))
        room = ((wide, tall)[axis] - 2 * low) or 1.0
        pace = float(rng.choice([-1, 1]) * rng.uniform(1.2, 1.6) * room / max(make.steps, 1))
        spot = [float(rng.uniform(low, side - low)) for side in (wide, tall)]
        spot[axis] = low + room * float(rng.uniform(0.3, 0.7))
        direction = (("left", "right"), ("up", "down"))[axis][pace > 0]
        velocity = (pace, 0.0) if axis == 0 else (0.0, pace)
        motion = Motion("bouncing", direction, (spot[0], spot[1]), velocity)
    elif what == "accelerating":
        direction = _word(rng, ("right", "left", "up", "down"))
        path = make.straight(thing.radius, direction)
        way = np.asarray(path.velocity) * make.steps
        gain = 2 * way / max(make.steps, 1) ** 2
        motion = replace(path, kind="accelerating", velocity=(0.0, 0.0), acceleration=(float(gain[0]), float(gain[1])))
    else:
        arm = min(wide, tall) / 2 - low - 1
        angle, turn = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1]) * rng.uniform(0.6, 0.9) * 2 * np.pi
        start = (wide / 2 + arm * float(np.cos(angle)), tall / 2 + arm * float(np.sin(angle)))
        turn = float(turn / max(make.steps, 1))
        motion = Motion("orbiting", "still", start, pivot=(wide / 2, tall / 2), turn=turn)
    return make.scene(replace(thing, motion=motion))


def _occlusion(make: _Maker) -> Scene:
    """A small thing passes behind a bar and comes out again."""
    thing = make.thing(size="small")
    direction = _word(make.rng, ("right", "left"))
    sign = DIRECTIONS[direction][0]
    y = float(make.rng.uniform(thing.radius + FREE, make.height - thing.radius - FREE))
    low = thing.radius + FREE
    velocity = sign * (make.width - 2 * low) / max(make.steps, 1)
    start = (low if sign > 0 else make.width - low, y)
    color = others(make.rng, COLORS, thing.color)
    bar = Thing(OCCLUDER, color, "large", 0.09 * make.short, Motion("still", "still", (make.width / 2, y)))
    return make.scene(replace(thing, motion=Motion("straight", direction, start, (velocity, 0.0))), bar)


FAMILIES: dict[str, Callable[[_Maker], Scene]] = {
    "one": _one,
    "two": _two,
    "count": _count,
    "camera": _camera,
    "bare": _bare,
    "turning": _turning,
    "contact": _contact,
    "physics": _physics,
    "occlusion": _occlusion,
}
