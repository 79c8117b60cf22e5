"""Exact arithmetic of frames: whole numbers and fractions only, and timecode as editors write it."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from infra.cut.errors import BadTimeline
from infra.media.rate import as_rate

TIMECODE_RATES = (24, 25, 30, 48, 50, 60)
"""Frames a timecode counts per second, as editing systems know them; NTSC rates count as the next whole number."""
_TIMECODE = re.compile(r"(\d{2}):(\d{2}):(\d{2}):(\d{2,3})")
# OTIO and TOML keep rates and speeds as floating-point numbers.
_SPEED_PARTS = 1000


def timecode_rate(fps: Fraction) -> Fraction:
    """The rate in which a film's frames are written as timecode: its own where editors know it, else the smallest known
    one that is a whole multiple of it (8 -> 24, 12.5 -> 25, 15000/1001 -> 30000/1001), else its own.
    """
    known = [Fraction(rate) for rate in TIMECODE_RATES] + [Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60)]
    fitting = [rate for rate in sorted(known) if (rate / fps).denominator == 1]
    return fitting[0] if fitting else fps


def timecode(frame: int, fps: Fraction, *, start: str = "00:00:00:00") -> str:
    """A frame of a film as HH:MM:SS:FF of `timecode_rate`, not drop-frame, counted from `start`.

    BadTimeline beyond 99 hours.
    """
    rate = timecode_rate(fps)
    return timecode_of(frame * int(rate / fps), rate, start=start)


def timecode_of(units: int, rate: Fraction, *, start: str = "00:00:00:00") -> str:
    """`units` of 1/rate s as HH:MM:SS:FF, not drop-frame, counted from `start`. BadTimeline beyond 99 hours."""
    count = _count(rate)
    seconds, frames = divmod(units + _from_timecode(start, count), count)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours > 99:
        raise BadTimeline(f"{units} frames at {rate_text(rate)} a second lie beyond 99 hours of timecode")
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}:{frames:02d}"


def check_timecode(text: str, fps: Fraction) -> str:
    """`text`, if it is a timecode that a film of this rate can start at. BadTimeline if not."""
    _from_timecode(text, _count(timecode_rate(fps)))
    return text


def whole_frames(value: float | Fraction, rate: Fraction, fps: Fraction, what: str) -> int:
    """A time given as `value` units of 1/rate s, in frames of `fps`. BadTimeline where it falls between two frames."""
    if isinstance(value, float) and not math.isfinite(value):
        raise BadTimeline(f"{what} is at {value:g}, which is no time")
    frames = _fraction(value) / rate * fps
    if frames.denominator != 1:
        raise BadTimeline(
            f"{what} falls between two frames: {float(value):g} at {rate_text(rate)} a second is frame "
            f"{float(frames):.3f} at {rate_text(fps)}",
            "Move it to a whole frame of the film's rate.",
        )
    return int(frames)


def as_speed(value: float | Fraction | str, what: str) -> Fraction:
    """A speed as a fraction: 1 plays as rendered, 0 holds one frame. BadTimeline below 0 and above 100."""
    try:
        speed = Fraction(value).limit_denominator(_SPEED_PARTS)
    except (ValueError, OverflowError, TypeError) as error:
        raise BadTimeline(f"{what}: {value!r} is no speed") from error
    if speed < 0:
        raise BadTimeline(
            f"{what} plays backwards, at {float(speed):g} times its speed", "Give a speed of 0 (a held frame) or more."
        )
    if speed > 100:
        raise BadTimeline(f"{what} plays at {float(speed):g} times its speed; 100 is the most")
    return speed


def rate_of(value: object, what: str) -> Fraction:
    """A frame rate from a file. BadTimeline for what is none."""
    if not isinstance(value, int | float | Fraction) or isinstance(value, bool):
        raise BadTimeline(f"{what}: {value!r} is no frame rate")
    try:
        return as_rate(value)
    except ValueError as error:
        raise BadTimeline(f"{what}: {error}") from error


def rate_text(fps: Fraction) -> str:
    """24, 12.5, 23.976."""
    return f"{float(fps):.3f}".rstrip("0").rstrip(".")


def _fraction(value: float | Fraction) -> Fraction:
    """A number of a file without the noise of floating point: 0.1 + 0.2 is 3/10."""
    return value if isinstance(value, Fraction) else Fraction(value).limit_denominator(100_000)


def _count(rate: Fraction) -> int:
    return -(-rate.numerator // rate.denominator)


def _from_timecode(text: str, count: int) -> int:
    found = _TIMECODE.fullmatch(text)
    if found is None:
        raise BadTimeline(f"{text!r} is no timecode", "Write it as HH:MM:SS:FF, such as 01:00:00:00.")
    hours, minutes, seconds, frames = map(int, found.groups())
    if minutes > 59 or seconds > 59 or frames >= count:
        raise BadTimeline(f"{text!r} is no timecode at {count} frames a second")
    return ((hours * 60 + minutes) * 60 + seconds) * count + frames
