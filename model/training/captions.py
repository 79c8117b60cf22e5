"""Captions of scenes: one dense form that names every attribute, terse forms that leave some out, and words for them.

The grammar is small on purpose: subject, motion, what happens, background, camera, style, in that order.
"""

from __future__ import annotations

import numpy as np

from model.training.world import Scene, Thing
from model.training.world.vocabulary import NUMBERS, OCCLUDER, SIZE_WORDS

MOVES = ("moving {}", "moves {}", "that moves {}", "is moving {}", "going {}", "travels {}", "slides {}")
STAYS = ("standing still", "stays still", "not moving", "is still", "that stays still")
PAPER = (
    "on a {} background",
    "on {}",
    "in front of a {} background",
    "against a {} background",
    "over a plain {} background",
)


def dense(scene: Scene, *, clip: bool = True) -> str:
    """The caption that names everything: "a small red circle moving right on a black background".

    clip: whether it is of a clip; a still has no motion, camera or events.
    """
    return _Words(scene, clip, None).caption()


def varied(scene: Scene, rng: np.random.Generator, *, clip: bool = True) -> str:
    """A caption as a person might put it: another order or verb, a size left out, a capital, a full stop."""
    text = _Words(scene, clip, rng).caption()
    if not clip and rng.random() < 0.5:
        text = f"{rng.choice(['a picture of', 'a still of', 'an image of'])} {text}"
    if rng.random() < 0.1:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.15:
        text += "."
    return text


class _Words:
    """One caption being made; without a generator the dense one."""

    def __init__(self, scene: Scene, clip: bool, rng: np.random.Generator | None) -> None:
        self.scene, self.clip, self.rng = scene, clip, rng

    def chance(self, share: float) -> bool:
        return self.rng is not None and bool(self.rng.random() < share)

    def pick(self, words: tuple[str, ...]) -> str:
        """One at random; in a dense caption the first."""
        return words[0] if self.rng is None else str(self.rng.choice(words))

    def caption(self) -> str:
        scene = self.scene
        parts = [self.subjects(), self.happenings(), self.paper()]
        text = " ".join(part for part in parts if part)
        if self.clip and scene.camera != "still":
            text += f", the camera {scene.camera}"
        if scene.style != "flat":
            text += f", {scene.style} style"
        return text

    def subjects(self) -> str:
        things = self.scene.things
        first = things[0]
        if things[-1].kind == OCCLUDER:
            motion = f" {self.motion(first)}" if self.clip else ""
            return f"{self.noun(first)}{motion} behind {_article(things[-1].color)} {things[-1].color} {OCCLUDER}"
        if self.scene.push is not None or any(event.contact for event in self.scene.events):
            return (
                f"{self.noun(first)} {self.motion(first) if self.clip else 'near'} {'hits ' if self.clip else ''}"
                + (self.noun(things[1]))
            )
        if len(things) > 1 and len({(thing.kind, thing.color, thing.size) for thing in things}) == 1:
            motion = f" {self.motion(first)}" if self.clip else ""
            size = "" if self.chance(0.15) else f"{self.size(first)} "
            return f"{NUMBERS[len(things)]} {size}{first.color} {first.kind}s{motion}"
        if len(things) == 2:
            left, right = (self.noun(thing) + self.halting(thing) for thing in things)
            return f"{left} on the left and {right} on the right"
        motion = f" {self.motion(first)}" if self.clip else ""
        return self.noun(first) + motion

    def halting(self, thing: Thing) -> str:
        """In a scene of two, standing still goes without saying."""
        return f" {self.motion(thing)}" if self.clip and thing.motion.kind != "still" else ""

    def size(self, thing: Thing) -> str:
        return thing.size if not self.chance(0.2) else self.pick(SIZE_WORDS[thing.size])

    def noun(self, thing: Thing) -> str:
        size = "" if self.chance(0.15) else f"{self.size(thing)} "
        words = f"{size}{thing.color} {thing.kind}"
        own = f"{_article(words)} "
        article = own if self.rng is None else str(self.rng.choice([own, "one ", "the ", ""], p=[0.75, 0.05, 0.1, 0.1]))
        return article + words

    def motion(self, thing: Thing) -> str:
        motion = thing.motion
        if motion.kind == "still":
            return self.pick(STAYS)
        if motion.kind == "falling":
            return "falling and bouncing" if motion.restitution > 0 else "falling down"
        if motion.kind == "bouncing":
            return "bouncing left and right" if motion.velocity[0] else "bouncing up and down"
        if motion.kind == "orbiting":
            return "orbiting around the center"
        where = motion.direction
        if self.rng is not None:
            if " " in where:
                where = self.pick((where, where.replace(" ", " and "), where.replace(" ", "-")))
            elif where in ("left", "right") and self.chance(0.2):
                where = f"to the {where}"
            elif where in ("up", "down") and self.chance(0.2):
                where = f"{where}wards"
        if motion.kind == "accelerating":
            return f"accelerating {where}"
        return self.pick(MOVES).format(where)

    def happenings(self) -> str:
        """What events do, in their order."""
        if not self.clip:
            return ""
        told, contact = [], False
        for event in self.scene.events:
            contact = contact or event.contact
            if event.kind == "turns":
                told.append(f"turns {event.color}")
            elif event.kind == "breaks":
                told.append("breaks")
            elif not self._caused(event.frame):
                told.append("stops")
        if self.scene.push is not None:
            return "which moves on"
        text = " and then ".join(told)
        return f"which {text}" if contact else text

    def _caused(self, frame: int) -> bool:
        """Whether a stop is only that of a thing that hits another."""
        return any(event.contact and event.frame == frame for event in self.scene.events)

    def paper(self) -> str:
        name = self.scene.background
        if self.scene.texture != "plain":
            return f"on a {self.scene.texture} {name} background"
        return self.pick(PAPER).format(name)


def _article(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"
