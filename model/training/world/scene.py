"""What a clip shows, as data from which it is drawn and captioned, and against which it is judged."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

Point = tuple[float, float]


@dataclass(frozen=True)
class Motion:
    """How a thing moves when nothing happens to it. Pixels and frames of the world, y downwards.

    Attributes:
        kind: still, straight, accelerating, falling, bouncing or orbiting.
        direction: the word for where it heads, of `vocabulary.DIRECTIONS`; "still" where none fits.
        start: centre in the first frame.
        velocity: pixels a frame, at the first frame.
        acceleration: pixels a frame, per frame.
        restitution: share of the speed that is left after the floor is hit; falling only.
        pivot, turn: what it orbits around, and radians a frame; orbiting only.
    """

    kind: str
    direction: str
    start: Point
    velocity: Point = (0.0, 0.0)
    acceleration: Point = (0.0, 0.0)
    restitution: float = 0.0
    pivot: Point = (0.0, 0.0)
    turn: float = 0.0


@dataclass(frozen=True)
class Thing:
    """One object. `radius` is that of its circumscribing disc, in pixels; a bar's is half its width."""

    kind: str
    color: str
    size: str
    radius: float
    motion: Motion


@dataclass(frozen=True)
class Event:
    """Something that happens to a thing in a frame, and holds from then on.

    Attributes:
        kind: turns (takes another colour), breaks, stops.
        thing: index of the thing.
        frame: the first frame that shows it.
        color: the new colour; turns only.
        contact: whether another thing's touch is the cause.
    """

    kind: str
    thing: int
    frame: int
    color: str | None = None
    contact: bool = False


@dataclass(frozen=True)
class Scene:
    """A clip of the world.

    Attributes:
        things: from the hindmost to the foremost.
        background, texture, style, camera: words of the vocabulary.
        camera_rate: pixels a frame for a pan, share of the size a frame for a zoom.
        events: in the order of their frames.
        push: frame in which the first thing hits the second, stops, and hands its velocity on; None otherwise.
        width, height, frames, fps: of the clip.
    """

    things: tuple[Thing, ...]
    background: str
    width: int
    height: int
    frames: int
    texture: str = "plain"
    style: str = "flat"
    camera: str = "still"
    camera_rate: float = 0.0
    events: tuple[Event, ...] = field(default=())
    push: int | None = None
    fps: float = 8.0

    @property
    def alone(self) -> bool:
        """Whether one thing moves as one word says, seen by a camera that stands: the simplest clips."""
        motion = self.things[0].motion
        plain = motion.kind in ("still", "straight") and not self.events and self.camera == "still"
        return len(self.things) == 1 and plain


def to_json(scene: Scene) -> str:
    """One line of JSON."""
    return json.dumps(asdict(scene), separators=(",", ":"))


def from_json(text: str) -> Scene:
    """The scene that `to_json` wrote."""
    fields: dict[str, Any] = json.loads(text)
    things = []
    for thing in fields.pop("things"):
        motion: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in thing["motion"].items()
        }
        things.append(Thing(**{**thing, "motion": Motion(**motion)}))
    events = tuple(Event(**event) for event in fields.pop("events"))
    return Scene(things=tuple(things), events=events, **fields)
