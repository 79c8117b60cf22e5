"""CMX 3600: the edit decision list that every editing system reads, written here and read by its own adapter.

Timecode of an EDL knows 24, 25, 30, 48, 50 and 60 frames a second. A film of another rate is written in the smallest of
these that is a whole multiple of its own (`frames.timecode_rate`): at 8 frames a second, frame 7 is 00:00:00:21.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

import opentimelineio as otio

from infra.cut import otio as timelines
from infra.cut.asked import Asked
from infra.cut.edl_cards import card_comment
from infra.cut.errors import BadTimeline
from infra.cut.frames import rate_text, timecode, timecode_of, timecode_rate
from infra.cut.timeline import Placed, Solid, Take, Timeline

ADAPTER = "cmx_3600"
MOST_EVENTS = 999


def read(text: str, name: str, fps: Fraction) -> Asked:
    """The timeline of an EDL whose timecodes count at the `timecode_rate` of `fps`. BadTimeline for what is none."""
    rate = timecode_rate(fps)
    if len(text) > timelines.MOST_BYTES:
        raise BadTimeline(f"{name} is larger than {timelines.MOST_BYTES // 2**20} MiB")
    try:
        found = otio.adapters.read_from_string(text, ADAPTER, rate=float(rate))
    except Exception as error:  # the adapter raises whatever its parsing runs into
        told = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BadTimeline(
            f"{name} is no CMX 3600 EDL at {rate_text(rate)} frames a second: {told}",
            "An EDL does not tell its rate: --edl-rate gives it.",
        ) from error
    return timelines.asked_of(found, name)


def write(timeline: Timeline, uri_of: Mapping[str, str]) -> str:
    """The timeline as an EDL. `uri_of` gives the address of each take's film by its path in the store.

    A reel is the first eight digits of a take's spec_key, AX for a title card, BL for black. Cards and colours, which
    CMX 3600 does not know, stand in a comment that `read` understands.
    """
    lines = [f"TITLE: {_line(timeline.name)}", "FCM: NON-DROP FRAME", ""]
    event = 0
    parts = list(timeline.placed())
    for placed in parts:
        event += 1
        before = parts[placed.number - 1] if placed.part.overlap else None
        lines += _event(event, placed, before, timeline, uri_of)
    if event > MOST_EVENTS:
        lines.insert(2, f"* {event} EVENTS, CMX 3600 ITSELF KNOWS {MOST_EVENTS}")
    return "\n".join(lines) + "\n"


def _event(
    number: int, placed: Placed, before: Placed | None, timeline: Timeline, uri_of: Mapping[str, str]
) -> Iterator[str]:
    part, fps = placed.part, timeline.fps
    rate = timecode_rate(fps)
    record_out = placed.record_out - placed.tail
    source = _source(placed, fps, rate)

    def line(of: Placed, units: tuple[int, int], record: tuple[int, int], length: int | None = None) -> str:
        """In the columns of CMX 3600, which strict readers count."""
        codes = [timecode_of(unit, rate) for unit in units]
        codes += [timecode(frame, fps, start=timeline.start) for frame in record]
        kind, operand = ("C", "") if length is None else ("D", f"{length:03d}")
        return f"{number:03d}  {_reel(of):8} {'V':4}  {kind:4} {operand:3} {' '.join(codes)}"

    if before is None:
        yield line(placed, source, (placed.record_in, record_out))
        yield from _comments(placed, "FROM", uri_of)
    else:
        out = _source(before, fps, rate)[1]
        yield line(before, (out, out), (placed.record_in, placed.record_in))
        yield line(placed, source, (placed.record_in, record_out), part.overlap * int(rate / fps))
        yield from _comments(before, "FROM", uri_of)
        yield from _comments(placed, "TO", uri_of)
    if not isinstance(part.content, Take):
        if _reel(placed) != "BL":
            yield f"* {card_comment(timelines.card_values(part.content))}"
    elif part.speed != 1 and part.content.fps is not None:
        pace, begins = float(part.speed * rate), timecode_of(source[0], rate)
        yield f"M2   {_reel(placed):8}       {pace:05.1f}                {begins}"
        yield f"* {timelines.SPEED} {part.speed}"


def _source(placed: Placed, fps: Fraction, rate: Fraction) -> tuple[int, int]:
    """First moment of the source, and the one behind the last, of what an event shows, in units of the timecode.

    At its own speed a source lasts as long as it is recorded; a take of another rate than the film's begins at the
    unit at or before its first frame.
    """
    part = placed.part
    shown = (part.frames - placed.tail) * int(rate / fps)
    if not isinstance(part.content, Take) or part.content.fps is None:
        return 0, shown
    begins = int(part.source_in / part.content.fps * rate)
    return begins, begins + (-int(-shown * part.speed // 1) if part.speed else 1)


def _reel(placed: Placed) -> str:
    content = placed.part.content
    if isinstance(content, Take):
        return content.spec_key[:8].upper()
    return "BL" if isinstance(content, Solid) and content.colour == (0, 0, 0) else "AX"


def _comments(placed: Placed, side: str, uri_of: Mapping[str, str]) -> Iterator[str]:
    content = placed.part.content
    if _reel(placed) == "BL":
        return
    yield f"* {side} CLIP NAME:  {_line(placed.part.name)}"
    if isinstance(content, Take):
        yield f"* {side} CLIP: {_line(uri_of[content.media])}"


def _line(text: str) -> str:
    """Text for one line of an EDL: a name with a line break in it cannot add an event."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()
