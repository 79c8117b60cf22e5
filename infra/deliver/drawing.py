"""Text in the picture: captions, slates and burn-ins, as an ASS file that libass draws.

Text from people stands in the file alone, never in a filter's words, and is escaped there. Fonts of the machine are not
relied on: Noto Sans comes as a package (Latin, Greek, Cyrillic), and the settings may name another. Text that the font
cannot draw is an error, not an empty picture.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from math import ceil
from pathlib import Path
from typing import Final

from PIL import ImageFont

from infra.deliver.captions import Captions
from infra.deliver.errors import BadCaptions

_JOINER: Final = "\u2060"  # has no width: keeps a backslash from meaning something with the letter behind it
_FORMAT: Final = "Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text"
_STYLE: Final = (
    "Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, "
    "StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, "
    "Encoding"
)
_OWN: Final = "NotoSans[wdth,wght].ttf"
_LAST: Final = 10**7  # a frame beyond every film


@dataclass(frozen=True)
class Text:
    """What stands in frames `start` to `end` (not included). style: Caption, Slate, Clock or Note."""

    start: int
    end: int
    style: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Font:
    """A font file's bytes and family name."""

    data: bytes
    family: str

    @classmethod
    def load(cls, file: Path | None) -> Font:
        """The font of a file, else Noto Sans. BadCaptions when it is no font."""
        try:
            data = (file or resources.files("fontpkg_noto_sans") / "files" / _OWN).read_bytes()
            return cls(data, str(ImageFont.truetype(io.BytesIO(data), 16).getname()[0]))
        except OSError as error:
            raise BadCaptions(f"deliver.font {file}: {error}") from error

    def lacks(self, text: str) -> list[str]:
        """Characters of `text` that this font draws as its box for unknown ones."""
        font = ImageFont.truetype(io.BytesIO(self.data), 24, layout_engine=ImageFont.Layout.BASIC)
        unknown = _drawn(font, "\uffff")
        return [c for c in sorted(set(text)) if not c.isspace() and c.isprintable() and _drawn(font, c) == unknown]

    def check(self, text: str, what: str) -> None:
        """BadCaptions when it cannot draw the text."""
        if missing := self.lacks(text):
            shown = " ".join(missing[:12]) + (" …" if len(missing) > 12 else "")
            raise BadCaptions(f"{what}: the font {self.family} cannot draw {shown}; name another in deliver.font")


def _drawn(font: ImageFont.FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)


def caption_texts(captions: Captions, rate: Fraction, *, shift: int, frames: int) -> list[Text]:
    """The cues in frames; `shift`: frames before the programme, `frames`: of the programme."""
    found = []
    for cue in captions.cues:
        start = max(0, round(Fraction(cue.start) * rate))
        end = min(frames, max(start + 1, round(Fraction(cue.end) * rate)))
        if start < frames:
            found.append(Text(shift + start, shift + end, "Caption", cue.lines))
    return found


def write_ass(path: Path, texts: Iterable[Text], *, width: int, height: int, rate: Fraction, font: Font) -> None:
    """An ASS file for a picture of this size, each text in exactly its frames."""
    short = min(width, height)
    size = max(8, round(short * 0.055))
    # The lower fifth of a tall picture is under a player's own buttons.
    low = round(height * (0.2 if height > width else 0.05))
    side = round(width * 0.06)
    styles = (
        _style("Caption", font, size, outline=max(1, size // 14), place=2, side=side, low=low),
        _style("Slate", font, size, outline=0, place=5, side=side, low=0),
        _style("Clock", font, size * 5 // 2, outline=0, place=2, side=side, low=round(height * 0.05)),
        _style("Note", font, max(8, size * 2 // 3), outline=max(1, size // 20), place=7, side=size // 2, low=size // 2),
    )
    events = [
        f"Dialogue: 0,{_time(text.start, rate)},{_time(text.end, rate)},{text.style},,0,0,0,,"
        + r"\N".join(map(escaped, text.lines))
        for text in texts
    ]
    lines = [
        "[Script Info]", "ScriptType: v4.00+", f"PlayResX: {width}", f"PlayResY: {height}", "WrapStyle: 0",
        "ScaledBorderAndShadow: yes", "YCbCr Matrix: None", "", "[V4+ Styles]", f"Format: {_STYLE}", *styles, "",
        "[Events]", f"Format: {_FORMAT}", *events, "",
    ]  # fmt: skip
    path.write_text("\n".join(lines), encoding="utf-8")


def escaped(line: str) -> str:
    """One line of text as ASS, in which nothing has a meaning."""
    line = "".join(c if c.isprintable() else " " for c in line)
    return line.replace("\\", "\\" + _JOINER).replace("{", r"\{").replace("}", r"\}")


def slate_text(fields: Sequence[tuple[str, str]], frames: int) -> Text:
    """The slate: a line for each field that is known, at most 60 letters each."""
    lines = tuple(f"{name}: {value[:60]}" for name, value in fields if value)
    return Text(0, frames, "Slate", lines)


def clock_texts(head: int, frames: int, rate: Fraction) -> list[Text]:
    """A countdown: in the first `frames` of a head of `head` frames, the seconds that are left before the programme.

    Each number stands until exactly so many seconds are left; the last one of a head of 10 s whose slate has 7 is 4.
    """
    texts = []
    for left in range(ceil(head / rate), 0, -1):
        start, end = max(0, ceil(head - left * rate)), min(frames, ceil(head - (left - 1) * rate))
        if start < end:
            texts.append(Text(start, end, "Clock", (str(left),)))
    return texts


def note_text(line: str, frames: int = _LAST) -> Text:
    """A line in the upper corner, through the whole film."""
    return Text(0, frames, "Note", (line[:160],))


def _style(name: str, font: Font, size: int, *, outline: int, place: int, side: int, low: int) -> str:
    family = font.family.replace(",", " ")
    white, black, shade = "&H00FFFFFF", "&H00000000", "&H80000000"
    return (
        f"Style: {name},{family},{size},{white},{white},{black},{shade},0,0,0,0,100,100,0,0,1,{outline},0,{place},"
        f"{side},{side},{low},1"
    )


def _time(frame: int, rate: Fraction) -> str:
    """Half a frame before it is shown: hundredths of a second hit no frame exactly."""
    at = max(Fraction(0), (Fraction(frame) - Fraction(1, 2)) / rate)
    hundredths = round(at * 100)
    return f"{hundredths // 360_000}:{hundredths // 6000 % 60:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"
