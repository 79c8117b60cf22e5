"""A procedural world of coloured shapes, with its truth.

Every clip is drawn from a `Scene`, so that each pixel and each word of its caption is known exactly, and nothing has
an owner. `vocabulary` holds its words, `scene` what a clip shows as data, `sampling` draws scenes at random, `motion`
tells where things are, `drawing` makes pixels.
"""

from model.training.world.drawing import Part, coverage, draw, ideal
from model.training.world.holdout import held_out
from model.training.world.motion import centres, colors, on_screen
from model.training.world.sampling import DRESSED, FAMILIES, SHARES, SPEED_PER_SECOND, sample_scene
from model.training.world.scene import Event, Motion, Scene, Thing, from_json, to_json
from model.training.world.vocabulary import (
    BACKGROUNDS,
    CAMERAS,
    COLORS,
    DIRECTIONS,
    KINDS,
    SIZES,
    STYLES,
    TEXTURES,
    Rgb,
)

__all__ = [
    "BACKGROUNDS", "CAMERAS", "COLORS", "DIRECTIONS", "DRESSED", "FAMILIES", "KINDS", "SHARES", "SIZES",
    "SPEED_PER_SECOND", "STYLES", "TEXTURES", "Event", "Motion", "Part", "Rgb", "Scene", "Thing", "centres",
    "colors", "coverage", "draw", "from_json", "held_out", "ideal", "on_screen", "sample_scene", "to_json",
]  # fmt: skip
