"""Combinations of attributes that training never sees, so that what a model makes of them is no memory."""

from __future__ import annotations

from functools import cache
from hashlib import sha256

from model.training.world.scene import Scene

_ONE_OF = 10


@cache
def withheld(color: str, kind: str, background: str) -> bool:
    """Whether this combination is kept from training: about one of ten, always the same ones."""
    return sha256(f"{color} {kind} {background}".encode()).digest()[0] % _ONE_OF == 0


def held_out(scene: Scene) -> bool:
    """Whether the scene shows a thing in a combination that is kept from training."""
    return any(withheld(thing.color, thing.kind, scene.background) for thing in scene.things)
