"""Captions: SRT and WebVTT read into cues, and written again beside the film.

    captions = read_captions("trailer.pt-BR.srt")       # .locale == "pt-BR"
    captions.as_vtt(shift_s=10.0)

What a file's text holds is only ever text: markup is taken off, braces and backslashes stay what they are.
"""

from __future__ import annotations

import hashlib
import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pysubs2

from infra.deliver.errors import BadCaptions

LARGEST: Final = 8 * 2**20
UNKNOWN: Final = "und"
"""The locale of captions whose file names none (BCP 47's word for undetermined)."""
_LOCALE: Final = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,4}")
_KINDS: Final = {".srt": "srt", ".vtt": "vtt"}
# Characters that mean something to the library's own form, hidden from it in the private use area.
_HIDDEN: Final = {"{": "\ue000", "}": "\ue001", "\\": "\ue002"}
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_TAG: Final = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True)
class Cue:
    """One caption: from `start` to `end` (seconds, end not included), lines of text."""

    start: float
    end: float
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Captions:
    """The captions of one locale. name: of the file; sha256: of its bytes."""

    locale: str
    cues: tuple[Cue, ...]
    name: str
    sha256: str

    @property
    def end(self) -> float:
        """When the last one ends, seconds."""
        return max(cue.end for cue in self.cues)

    def text(self) -> str:
        """All lines together."""
        return "\n".join(line for cue in self.cues for line in cue.lines)

    def as_srt(self, *, shift_s: float = 0.0) -> str:
        """As SubRip, shifted by what stands before the programme."""
        parts = [
            f"{number}\n{_time(cue.start + shift_s, ',')} --> {_time(cue.end + shift_s, ',')}\n" + "\n".join(cue.lines)
            for number, cue in enumerate(self.cues, 1)
        ]
        return "\n\n".join(parts) + "\n"

    def as_vtt(self, *, shift_s: float = 0.0) -> str:
        """As WebVTT, shifted by what stands before the programme."""
        parts = [
            f"{_time(cue.start + shift_s, '.')} --> {_time(cue.end + shift_s, '.')}\n"
            + "\n".join(html.escape(line, quote=False) for line in cue.lines)
            for cue in self.cues
        ]
        return "\n\n".join(["WEBVTT", *parts]) + "\n"


def read_captions(given: str) -> Captions:
    """The captions of FILE or LOCALE=FILE. Without a locale the file's name tells it: `name.pt-BR.srt`, else `und`.

    Raises BadCaptions: not there, too large, not UTF-8, no cue in it, or a cue that ends before it begins.
    """
    said, file = split_locale(given)
    kind = _KINDS.get(file.suffix.lower())
    if kind is None:
        raise BadCaptions(f"{file}: captions are .srt or .vtt files")
    try:
        if file.stat().st_size > LARGEST:
            raise BadCaptions(f"{file}: more than {LARGEST // 2**20} MiB")
        data = file.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise BadCaptions(f"{file}: {error.strerror or 'cannot be read'}") from error
    except UnicodeDecodeError as error:
        raise BadCaptions(f"{file}: not UTF-8 at byte {error.start}") from error
    if kind == "vtt" and not text.startswith("WEBVTT"):
        raise BadCaptions(f"{file}: a WebVTT file begins with WEBVTT")
    return Captions(said or _locale_of(file), _cues(file, kind, text), file.name, hashlib.sha256(data).hexdigest())


def split_locale(given: str) -> tuple[str | None, Path]:
    """The parts of LOCALE=FILE; no locale where FILE stands alone."""
    said, _, rest = given.partition("=")
    named = bool(rest) and _LOCALE.fullmatch(said) is not None
    return (said, Path(rest)) if named else (None, Path(given))


def _locale_of(file: Path) -> str:
    found = file.stem.rpartition(".")[2] if "." in file.stem else ""
    return found if _LOCALE.fullmatch(found) else UNKNOWN


def _cues(file: Path, kind: str, text: str) -> tuple[Cue, ...]:
    for character, hidden in _HIDDEN.items():
        text = text.replace(character, hidden)
    try:
        events = pysubs2.SSAFile.from_string(text, format_=kind)
    except (pysubs2.Pysubs2Error, ValueError, IndexError) as error:
        raise BadCaptions(f"{file}: no captions of this kind: {error}") from error
    cues = []
    for number, event in enumerate(events, 1):
        if event.end <= event.start:
            raise BadCaptions(f"{file}: caption {number} ends at {event.end} ms and begins at {event.start} ms")
        lines = tuple(line for line in map(_plain, event.text.split(r"\N")) if line)
        if lines:
            cues.append(Cue(event.start / 1000, event.end / 1000, lines))
    if not cues:
        raise BadCaptions(f"{file}: no captions in it")
    return tuple(sorted(cues, key=lambda cue: (cue.start, cue.end)))


def _plain(line: str) -> str:
    line = _TAG.sub("", line)  # what the library made of <i> and the like
    for character, hidden in _HIDDEN.items():
        line = line.replace(hidden, character)
    return _CONTROL.sub("", line).strip()


def _time(seconds: float, mark: str) -> str:
    whole = max(0, round(seconds * 1000))
    return f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d}{mark}{whole % 1000:03d}"
