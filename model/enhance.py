"""Turns a terse prompt into the dense kind that the shipped model was trained on, by rule and without torch.

    dense("Red ball going right")  ->  "a large red circle moving right on a black background"

Only what a prompt leaves open is filled in, and only where the prompt speaks of the model's small world; any other
prompt comes back as it is. A language model can take this one's place: whatever maps a prompt to a prompt will do, as
`rushes render --enhance package.module:function`.
"""

from __future__ import annotations

import re

from model.training.world.vocabulary import (
    BACKGROUNDS,
    COLORS,
    DIRECTIONS,
    KINDS,
    MOVING,
    NUMBERS,
    SIZE_WORDS,
    SIZES,
    any_of,
)

# A word of everyday language -> the world's.
SYNONYMS = {word: size for size, words in SIZE_WORDS.items() for word in words if word != size} | {
    "ball": "circle", "disc": "circle", "disk": "circle", "dot": "circle", "balls": "circles", "box": "square",
    "block": "square", "cube": "square", "boxes": "squares", "grey": "gray", "crimson": "red", "scarlet": "red",
    "lime": "green", "violet": "purple", "turquoise": "cyan", "aqua": "cyan", "golden": "yellow", "huge": "large",
    "rightwards": "right", "leftwards": "left", "upwards": "up", "upward": "up", "downwards": "down",
    "downward": "down", "centre": "center",
}  # fmt: skip
DEFAULT_SIZE, DEFAULT_COLOR, DEFAULT_MOTION, DEFAULT_BACKGROUND = "large", "red", "standing still", "black"
_NUMBERS = {word: name for number, name in NUMBERS.items() if number > 1 for word in (name, str(number))}
_VERBS = any_of((*MOVING, "move", "goes", "travelling", "traveling", "sliding", "flies", "flying"))
_OTHER_MOTION = "still|falling|bouncing|orbiting|accelerating|hits|pans|zooms|camera|stays|stops"
_BEFORE = ("a", "an", "the", "one", *_NUMBERS, *SIZES, *COLORS)
_NOUN = re.compile(rf"(?P<words>(?:\b{any_of(_BEFORE)} )*)\b(?P<kind>{any_of(KINDS)}s?)\b")
_HEADING = any_of(name for name in DIRECTIONS if name != "still")


def dense(prompt: str) -> str:
    """The prompt with everything named that it leaves open: size, colour, motion, background."""
    text = " ".join(re.sub(r"[a-z]+", lambda found: SYNONYMS.get(found[0], found[0]), prompt.lower()).split())
    text, period = text.rstrip(". "), ""
    if not re.search(rf"\b{any_of(KINDS)}s?\b", text):
        return prompt
    text = re.sub(rf"\b{_VERBS}(?: to the| towards the)? (?={_HEADING}\b)", "moving ", text)
    text = _place_nouns(text)
    if not re.search(rf"\b(?:moving|{_OTHER_MOTION})\b", text) and " and " not in text:
        text = re.sub(rf"\b({any_of(KINDS)})(s?)\b", rf"\1\2 {DEFAULT_MOTION}", text, count=1)
    if not re.search(rf"\b{any_of(BACKGROUNDS)}(?: background)?$|\b{any_of(BACKGROUNDS)} background\b", text):
        head, comma, tail = text.partition(",")
        text = f"{head} on a {DEFAULT_BACKGROUND} background{comma}{tail}"
    else:
        text = re.sub(
            rf"\b(on|against|over|in front of) (?:an? )?({any_of(BACKGROUNDS)})$", r"on a \2 background", text
        )
    return text + period


def _place_nouns(text: str) -> str:
    """Each shape with an article, a size and a colour."""

    def noun(found: re.Match[str]) -> str:
        words = found["words"].split()
        sizes = [word for word in words if word in SIZES] or [DEFAULT_SIZE]
        colors = [word for word in words if word in COLORS] or [DEFAULT_COLOR]
        number = next((word for word in words if word in _NUMBERS), "a")
        return " ".join([_NUMBERS.get(number, number), sizes[0], colors[0], found["kind"]])

    return _NOUN.sub(noun, text)
