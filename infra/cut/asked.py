"""What a timeline or the command line asks for, before it is known which takes these are and what rate they have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from infra.cut.errors import BadTimeline
from infra.cut.frames import whole_frames
from infra.cut.timeline import Card, Colour, Solid
from infra.store import layout

_REF = re.compile(
    rf"(?:(?P<show>{layout.NAME.pattern})/)?(?P<shot>{layout.NAME.pattern}?)(?:(?:\.take-|:|#)(?P<take>\d{{1,6}}))?"
)
_KEY = re.compile(r"[0-9a-f]{8,64}")
_COLOUR = re.compile(r"#?([0-9a-fA-F]{6})")
COLOURS = {"black": (0, 0, 0), "white": (255, 255, 255)}
MOST_TEXT = 500


@dataclass(frozen=True)
class Time:
    """A length of time: `value` units of 1/rate s; without a rate, frames of whatever is counted."""

    value: float | Fraction
    rate: Fraction | None = None

    def frames(self, fps: Fraction, what: str) -> int:
        """In frames of `fps`. BadTimeline where that is no whole number."""
        return whole_frames(self.value, self.rate or fps, fps, what)


@dataclass(frozen=True)
class Ref:
    """A take as a timeline calls it: by shot, perhaps with a number, by its film, or by first digits of its key."""

    name: str
    show: str | None = None
    shot_id: str | None = None
    take: int | None = None
    media: str | None = None
    spec_key: str | None = None


@dataclass(frozen=True)
class AskedPart:
    """One part, times as they were given.

    Attributes:
        where: what messages call it.
        start, until: the first frame of the source, and the one behind the last.
        length: how long it is seen; else as long as the source's frames last.
        overlap: how long it dissolves out of the part before it.
        head, tail: what transitions need of it beyond `start` and `length`.
    """

    content: Ref | Card | Solid
    where: str
    start: Time | None = None
    until: Time | None = None
    length: Time | None = None
    speed: Fraction = Fraction(1)
    overlap: Sequence[Time] = ()
    head: Time | None = None
    tail: Time | None = None


@dataclass(frozen=True)
class Asked:
    """A whole timeline as it was asked for."""

    parts: Sequence[AskedPart]
    notes: Sequence[str] = field(default=())


def ref_of(name: str, *, media: str | None = None, spec_key: str | None = None) -> Ref:
    """`show/shot`, `shot`, `show/shot.take-002`, `shot:2`, a media path or URI, or a key, read as a reference."""
    name = name.strip()
    tail = media_tail(media) or media_tail(name)
    key = spec_key if spec_key is not None and _KEY.fullmatch(spec_key) else None
    found = _REF.fullmatch(name)
    if found is None or not found["shot"]:
        return Ref(name[:200], media=tail, spec_key=key)
    return Ref(
        name, found["show"], found["shot"], int(found["take"]) if found["take"] else None, media=tail, spec_key=key
    )


def media_tail(uri: str | None) -> str | None:
    """The path inside a store that a URI of a film ends with, or None. The film is never opened by its URI."""
    if not uri:
        return None
    parts = uri.replace("\\", "/").split("/")
    tail = "/".join(parts[-4:])
    return tail if layout.parse_media_path(tail) is not None else None


def colour_of(value: object, what: str) -> Colour:
    """`#rrggbb`, `black` or `white` as a colour. BadTimeline for anything else."""
    text = str(value).strip().lower()
    if text in COLOURS:
        return COLOURS[text]
    found = _COLOUR.fullmatch(text)
    if found is None:
        raise BadTimeline(f"{what}: {str(value)[:40]!r} is no colour", "Write it as #rrggbb, black or white.")
    digits = found[1]
    return (int(digits[0:2], 16), int(digits[2:4], 16), int(digits[4:6], 16))


def card_of(
    text: object,
    what: str,
    *,
    colour: object = "white",
    background: object = "black",
    font: object = None,
    size: object = None,
) -> Card:
    """A title card from untrusted values. The text is drawn letter by letter and is never read by ffmpeg.

    BadTimeline for an empty or endless text, and for what is no colour or size.
    """
    shown = "".join(letter for letter in str(text) if letter == "\n" or letter.isprintable()).strip()
    if not shown or len(shown) > MOST_TEXT:
        raise BadTimeline(f"{what}: a title has 1 to {MOST_TEXT} letters, this has {len(shown)}")
    share = Fraction(1, 10)
    if size is not None:
        if not isinstance(size, int | float | Fraction) or isinstance(size, bool) or not 0.01 <= size <= 1:
            raise BadTimeline(f"{what}: the size of a title is a share of the frame's height, 0.01 to 1, not {size!r}")
        share = Fraction(size).limit_denominator(1000)
    return Card(
        shown,
        colour_of(colour, what),
        colour_of(background, what),
        None if font is None else str(font),
        share,
    )
