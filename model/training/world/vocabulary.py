"""The words of the world and what they stand for: colours, kinds, sizes, directions, textures, cameras, styles."""

from __future__ import annotations

import re
from collections.abc import Iterable

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
OCCLUDER = "bar"
# Radius of the shape's circumscribing disc over the short side of the frame.
SIZES = {"small": 0.11, "large": 0.2}
# What captions call them, the plain word first.
SIZE_WORDS = {"small": ("small", "tiny", "little"), "large": ("large", "big")}
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
# Verbs of captions, each before a direction.
MOVING = ("moving", "moves", "going", "travels", "slides")
TEXTURES = ("plain", "striped", "checkered", "dotted")
STYLES = ("flat", "clay", "sketch")
# What the camera does -> how its window moves over the world (x, y), and how it grows what it sees.
CAMERAS: dict[str, tuple[float, float, float]] = {
    "still": (0.0, 0.0, 0.0),
    "pans right": (1.0, 0.0, 0.0),
    "pans left": (-1.0, 0.0, 0.0),
    "pans up": (0.0, -1.0, 0.0),
    "pans down": (0.0, 1.0, 0.0),
    "zooms in": (0.0, 0.0, 1.0),
    "zooms out": (0.0, 0.0, -1.0),
}
NUMBERS = {1: "one", 2: "two", 3: "three"}


def any_of(words: Iterable[str]) -> str:
    """A regular expression for one of the words; where one begins with another, the longer is tried first."""
    return "(?:" + "|".join(map(re.escape, sorted(words, key=len, reverse=True))) + ")"


def second_tone(background: str) -> tuple[float, float, float]:
    """The other colour of a textured background: lighter than a dark one, darker than a light one."""
    rgb = BACKGROUNDS[background]
    luma = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
    r, g, b = (0.66 * value + (0.34 * 255 if luma < 100 else 0.0) for value in rgb)
    return r, g, b
