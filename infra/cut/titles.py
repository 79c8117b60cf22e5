"""Title cards, drawn by Pillow letter by letter: nothing in a text is ever read as an option, a filter or a path."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from infra.cut.errors import BadTimeline
from infra.cut.timeline import Card
from infra.deliver.drawing import Font

SAFE = 0.8
"""Share of the frame's width and height that letters keep to: title-safe."""
_SMALLEST = 8
_SPACING = 0.3


class Fonts:
    """The fonts that cards may name: those of the command line, and as None the one that captions have."""

    def __init__(self, named: Mapping[str, Font] | None = None) -> None:
        self._named = dict(named or {})

    def get(self, card: Card) -> Font:
        """The font of a card. BadTimeline for a name that nobody gave a file for, or letters that it cannot draw."""
        if card.font is not None and card.font not in self._named:
            known = ", ".join(sorted(self._named)) or "none"
            raise BadTimeline(
                f"title {card.text[:40]!r} wants the font {card.font[:80]!r}, which is not known here ({known} is)",
                "Name its file: --font NAME=FILE.ttf.",
            )
        font = self._named[card.font] if card.font is not None else _built_in()
        missing = font.lacks(card.text)
        if missing:
            raise BadTimeline(
                f"title {card.text[:40]!r}: the font {font.family} cannot draw {' '.join(missing[:12])}",
                "Name a font that can: --font NAME=FILE.ttf.",
            )
        return font

    def digest(self, card: Card) -> str:
        """What a drawing depends on beside the card itself."""
        return hashlib.sha256(self.get(card).data).hexdigest()


@cache
def _built_in() -> Font:
    return Font.load(None)


def draw(card: Card, width: int, height: int, fonts: Fonts) -> npt.NDArray[np.uint8]:
    """The card as (height, width, 3), RGB of full range. Lines are folded, and letters made smaller, until all fits."""
    data = fonts.get(card).data
    picture = Image.new("RGB", (width, height), card.background)
    pen = ImageDraw.Draw(picture)
    size = max(_SMALLEST, round(float(card.size) * height))
    while True:
        font = ImageFont.truetype(io.BytesIO(data), size)
        text = _folded(card.text, font, width * SAFE)
        spacing = round(size * _SPACING)
        left, top, right, bottom = pen.multiline_textbbox((0, 0), text, font, spacing=spacing, align="center")
        if (right - left <= width * SAFE and bottom - top <= height * SAFE) or size <= _SMALLEST:
            break
        size = max(_SMALLEST, size * 9 // 10)
    at = ((width - (right - left)) / 2 - left, (height - (bottom - top)) / 2 - top)
    pen.multiline_text(at, text, card.colour, font, spacing=spacing, align="center")
    return np.asarray(picture)


def _folded(text: str, font: ImageFont.FreeTypeFont, most: float) -> str:
    lines = []
    for line in text.split("\n"):
        shown = ""
        for word in line.split():
            longer = f"{shown} {word}".strip()
            if shown and font.getlength(longer) > most:
                lines.append(shown)
                longer = word
            shown = longer
        lines.append(shown)
    return "\n".join(lines)
