"""Captions of scenes: one dense form that names every attribute, and terse forms that leave some out."""

from __future__ import annotations

import numpy as np

from model.training.world import Scene

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
    """The caption that names everything, for example "a small red circle moving right on a black background"."""
    motion = ""
    if clip:
        motion = " standing still" if scene.direction == "still" else f" moving {scene.direction}"
    return f"a {scene.size} {scene.color} {scene.kind}{motion} on a {scene.background} background"


def varied(scene: Scene, rng: np.random.Generator, *, clip: bool = True) -> str:
    """A caption as a person might put it: another order or verb, a size left out, a capital, a full stop."""
    size = f"{scene.size} " if rng.random() < 0.85 else ""
    if size and rng.random() < 0.2:
        size = {"small": "tiny ", "large": "big "}[scene.size]
    subject = f"{size}{scene.color} {scene.kind}"
    article = rng.choice(["a ", "one ", "the ", ""], p=[0.75, 0.05, 0.1, 0.1])
    motion = ""
    if clip:
        if scene.direction == "still":
            motion = str(rng.choice(STAYS))
        else:
            where = scene.direction
            if " " in where:
                where = str(rng.choice([where, where.replace(" ", " and "), where.replace(" ", "-")]))
            elif scene.direction in ("left", "right") and rng.random() < 0.2:
                where = f"to the {where}"
            elif scene.direction in ("up", "down") and rng.random() < 0.2:
                where = f"{where}wards"
            motion = str(rng.choice(MOVES)).format(where)
    paper = str(rng.choice(PAPER)).format(scene.background)
    text = " ".join(part for part in (f"{article}{subject}", motion, paper) if part)
    if not clip and rng.random() < 0.5:
        text = f"{rng.choice(['a picture of', 'a still of', 'an image of'])} {text}"
    if rng.random() < 0.1:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.15:
        text += "."
    return text
