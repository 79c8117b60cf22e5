"""What a finished file really is: decoded from end to end, whatever its container is."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from infra.media.errors import Unplayable
from infra.media.probe import MATRIX, PRIMARIES, RANGE, TRANSFER, is_constant, is_faststart, named


@dataclass(frozen=True)
class Sound:
    """A track of sound. seconds: decoded, without what an encoder adds before and after."""

    codec: str
    rate: int
    channels: int
    seconds: float


@dataclass(frozen=True)
class Look:
    """What was found. `keys`: numbers of the key frames; `times`: whether each frame stands where its rate puts it."""

    codec: str
    profile: str | None
    pix_fmt: str
    width: int
    height: int
    sar: Fraction
    fps: Fraction
    frames: int
    seconds: float
    constant_rate: bool
    primaries: str
    transfer: str
    matrix: str
    range: str
    faststart: bool
    keys: tuple[int, ...]
    timecode: str | None
    tag: str
    sound: Sound | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON. Key frames are told by their number."""
        told = asdict(self) | {"fps": str(self.fps), "sar": str(self.sar), "keys": len(self.keys)}
        return told


def look(path: str | os.PathLike[str]) -> Look:
    """Decode a film from end to end, pictures and sound. Unplayable when it breaks off or does not decode."""
    path = Path(path)
    try:
        with av.open(os.fspath(path)) as container:
            if not container.streams.video:
                raise Unplayable(path.name, "no video in it")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            codec = stream.codec_context
            codec.options = {"err_detect": "explode"}
            frames = [(frame.pts, frame.key_frame) for frame in container.decode(stream)]
            rate, base = stream.average_rate, stream.time_base
            if not frames or not rate or base is None:
                raise Unplayable(path.name, "no frame or rate in it")
            if stream.frames and stream.frames != len(frames):
                raise Unplayable(path.name, f"{len(frames)} of {stream.frames} frames are there")
            times = [time for time, _ in frames]
            exact = _exact(Fraction(rate), len(frames), times, base)
            return Look(
                codec=codec.codec.canonical_name,
                profile=stream.profile,
                pix_fmt=codec.pix_fmt or "unknown",
                width=codec.width,
                height=codec.height,
                sar=_sar(stream.sample_aspect_ratio, codec.sample_aspect_ratio, codec.width, codec.height),
                fps=exact,
                frames=len(frames),
                seconds=_seconds(times, exact, base),
                constant_rate=is_constant(times, exact, base),
                primaries=named(PRIMARIES, codec.color_primaries),
                transfer=named(TRANSFER, codec.color_trc),
                matrix=named(MATRIX, codec.colorspace),
                range=named(RANGE, codec.color_range),
                faststart=is_faststart(path),
                keys=tuple(number for number, (_, key) in enumerate(frames) if key),
                timecode=stream.metadata.get("timecode") or container.metadata.get("timecode"),
                tag=codec.codec_tag.strip("\0 "),
                sound=sound(path) if container.streams.audio else None,
            )
    except av.error.FFmpegError as error:
        raise Unplayable(path.name, str(error)) from error


def sound(path: str | os.PathLike[str]) -> Sound | None:
    """The first track of sound, decoded from end to end; None where there is none. Unplayable as for `look`."""
    try:
        with av.open(os.fspath(path)) as container:
            if not container.streams.audio:
                return None
            stream = container.streams.audio[0]
            codec = stream.codec_context
            samples = sum(frame.samples for frame in container.decode(stream))
            return Sound(codec.codec.canonical_name, codec.sample_rate, codec.channels, samples / codec.sample_rate)
    except (av.error.FFmpegError, ValueError) as error:
        raise Unplayable(Path(path).name, str(error)) from error


def _exact(rate: Fraction, count: int, times: list[int | None], base: Fraction) -> Fraction:
    """The rate that a container with a coarse clock (Matroska counts milliseconds) means."""
    first, last = times[0], times[-1]
    if count < 2 or first is None or last is None or last == first:
        return rate
    for nominal in (rate, rate.limit_denominator(1001)):
        if is_constant(times, nominal, base):
            return nominal
    return Fraction(count - 1) / ((last - first) * base)


def _seconds(times: list[int | None], rate: Fraction, base: Fraction) -> float:
    first, last = times[0], times[-1]
    if first is None or last is None:
        return 0.0
    return float((last - first) * base + 1 / rate)


def _sar(stream: Fraction | None, codec: Fraction | None, width: int, height: int) -> Fraction:
    """The shape of a pixel. A broadcast container may state the picture's shape and round it."""
    found = stream or codec or Fraction(1)
    return Fraction(1) if abs(found - 1) * max(width, height) < 1 else found
