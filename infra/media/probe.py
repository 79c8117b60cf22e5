"""What a film or still really is: decoded to its end, not believed."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Final

import av
import av.error
from PIL import Image

from infra.media.errors import MediaMismatch, Unplayable
from infra.media.rate import as_rate

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# Code points of ITU-T H.273, as far as they are met; others are shown as their number.
PRIMARIES: Final = {1: "bt709", 2: "unspecified", 5: "bt470bg", 6: "smpte170m", 9: "bt2020", 12: "smpte432"}
TRANSFER: Final = {1: "bt709", 2: "unspecified", 6: "smpte170m", 8: "linear", 13: "srgb", 16: "pq", 18: "hlg"}
MATRIX: Final = {0: "rgb", 1: "bt709", 2: "unspecified", 5: "bt470bg", 6: "smpte170m", 9: "bt2020nc"}
RANGE: Final = {0: "unspecified", 1: "limited", 2: "full"}


@dataclass(frozen=True)
class MediaFacts:
    """What was found. For a still `fps` is None, `frames` 1 and `seconds` 0."""

    width: int
    height: int
    frames: int
    fps: Fraction | None
    codec: str
    pix_fmt: str
    primaries: str
    transfer: str
    matrix: str
    range: str
    faststart: bool
    seconds: float
    sar: Fraction
    constant_rate: bool


# What every take's film is, whatever was ordered.
_FILM: Final = {
    "codec": "h264",
    "pix_fmt": "yuv420p",
    "primaries": "bt709",
    "transfer": "bt709",
    "matrix": "bt709",
    "range": "limited",
    "sar": Fraction(1),
    "constant_rate": True,
    "faststart": True,
}
_STILL: Final = {"codec": "png", "primaries": "bt709", "transfer": "srgb", "range": "full"}


def probe(path: str | os.PathLike[str]) -> MediaFacts:
    """Decode a film or a still from end to end and tell what it is.

    Unplayable when it is neither, breaks off, holds fewer frames than it says, or does not decode without error.
    FileNotFoundError when there is no such file.
    """
    path = Path(path)
    with path.open("rb") as file:
        is_png = file.read(len(_PNG_SIGNATURE)) == _PNG_SIGNATURE
    return _probe_still(path) if is_png else _probe_film(path)


def expect(
    facts: MediaFacts,
    *,
    width: int,
    height: int,
    frames: int,
    fps: float | Fraction | None = None,
    still: bool = False,
) -> None:
    """Compare with the order, and with what every take is (codec, colour tags, pixel shape, constant rate, faststart).

    MediaMismatch names the first field that differs. A still has no rate; `frames` is 1.
    """
    wanted: dict[str, object] = {"width": width, "height": height, "frames": frames}
    if still:
        wanted |= _STILL
    elif fps is None:
        raise ValueError("a film is expected to have a frame rate")
    else:
        wanted |= {"fps": as_rate(fps), **_FILM}
    for field, value in wanted.items():
        found = getattr(facts, field)
        if found != value:
            raise MediaMismatch(field, found, value)
    if not still and facts.fps is not None:
        seconds = float(frames / facts.fps)
        if abs(facts.seconds - seconds) > 0.5 / float(facts.fps):
            raise MediaMismatch("seconds", facts.seconds, seconds)


def _probe_film(path: Path) -> MediaFacts:
    try:
        with av.open(os.fspath(path)) as container:
            if not container.streams.video:
                raise Unplayable(str(path), "no video in it")
            stream = container.streams.video[0]
            codec = stream.codec_context
            codec.options = {"err_detect": "explode"}
            times = [frame.pts for frame in container.decode(stream)]
            said, rate = stream.frames, stream.average_rate
            base, duration = stream.time_base, stream.duration
            if not times or rate is None or base is None or duration is None:
                raise Unplayable(str(path), "no frame, rate or duration in it")
            if said and said != len(times):
                raise Unplayable(str(path), f"{len(times)} of {said} frames are there")
            return MediaFacts(
                width=codec.width,
                height=codec.height,
                frames=len(times),
                fps=Fraction(rate),
                codec=codec.name,
                pix_fmt=codec.pix_fmt or "unknown",
                primaries=named(PRIMARIES, codec.color_primaries),
                transfer=named(TRANSFER, codec.color_trc),
                matrix=named(MATRIX, codec.colorspace),
                range=named(RANGE, codec.color_range),
                faststart=is_faststart(path),
                seconds=float(duration * base),
                sar=stream.sample_aspect_ratio or Fraction(1),
                constant_rate=is_constant(times, rate, base),
            )
    except av.error.FFmpegError as error:
        raise Unplayable(str(path), str(error)) from error


def is_constant(times: list[int | None], rate: Fraction, base: Fraction) -> bool:
    """Whether each frame stands where a constant rate puts it, to the tick of the time base."""
    first = times[0]
    if first is None:
        return False
    step = 1 / (rate * base)
    return all(time is not None and abs(time - first - step * number) < 1 for number, time in enumerate(times))


def _probe_still(path: Path) -> MediaFacts:
    try:
        with Image.open(path, formats=["PNG"]) as checked:
            checked.verify()  # the checksum of every chunk
        with Image.open(path, formats=["PNG"]) as picture:
            picture.load()
            width, height = picture.size
            frames = getattr(picture, "n_frames", 1)
            tagged = "srgb" in picture.info
        with path.open("rb") as file:
            bits, colour = struct.unpack(">BB", file.read(26)[24:])
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise Unplayable(str(path), str(error)) from error
    return MediaFacts(
        width=width,
        height=height,
        frames=frames,
        fps=None,
        codec="png",
        pix_fmt={(8, 2): "rgb24", (16, 2): "rgb48be", (8, 6): "rgba", (16, 6): "rgba64be"}.get(
            (bits, colour), f"png-{colour}-{bits}"
        ),
        primaries="bt709" if tagged else "unspecified",
        transfer="srgb" if tagged else "unspecified",
        matrix="rgb",
        range="full",
        faststart=False,
        seconds=0.0,
        sar=Fraction(1),
        constant_rate=True,
    )


def is_faststart(path: Path) -> bool:
    """Whether an MP4's index (moov) comes before its data (mdat); False for other containers."""
    with path.open("rb") as file:
        for kind in _top_level_boxes(file):
            if kind in (b"moov", b"mdat"):
                return kind == b"moov"
    return False


def _top_level_boxes(file: BinaryIO) -> Iterator[bytes]:
    while len(header := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", header)
        used = 8
        if size == 1:  # a 64-bit size follows
            size, used = struct.unpack(">Q", file.read(8))[0], 16
        yield kind
        if size < used:  # 0: to the end of the file; less: not a box
            return
        file.seek(size - used, os.SEEK_CUR)


def named(names: dict[int, str], code: int) -> str:
    """The name of a code point, or its number."""
    return names.get(int(code), str(int(code)))
