"""Frames to a film: H.264 High, 8 bit, 4:2:0, BT.709 limited range, in an MP4 with its index in front."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import ffmpeg as graph
import numpy as np
import numpy.typing as npt

from infra.media.errors import BadFrames
from infra.media.ffmpeg import run
from infra.media.files import appears_whole
from infra.media.rate import as_rate
from infra.media.shape import Frames, check_frames

CRF_BEST, CRF_WORST = 1, 10
# x264 gives other bytes for another number of threads, so it is the same on every machine.
_THREADS = 4
_KEY_FRAME_EVERY_S = 2
# Time allowed: a start, and half a million pixels a second, a thirtieth of what one core does.
_START_S = 60.0
_PIXELS_PER_S = 5e5


def encode_film(
    frames: Frames,
    path: str | os.PathLike[str],
    *,
    fps: float | Fraction,
    crf: int = CRF_WORST,
    preset: str = "medium",
    ffmpeg: str | os.PathLike[str] | None = None,
    timeout_s: float | None = None,
) -> None:
    """Encode `frames` (frames, height, width, 3), RGB of full range, uint8 or uint16, into an MP4 at `path`.

    Width and height are even. Every frame is in the film once, at a constant rate (see `as_rate`). `crf` is 1 to 10: a
    take is a mezzanine, deliverables are made from it. `preset` is x264's. `ffmpeg` names another program than the
    wheel's. The same frames, options and program give the same bytes. The file appears at `path` when it is whole.

    BadFrames for frames or options that cannot be a film; EncodeError when ffmpeg fails or takes longer than
    `timeout_s` (by default a minute plus two seconds for each million pixels).
    """
    count, height, width, _ = check_frames(frames).shape
    if width % 2 or height % 2:
        raise BadFrames(f"4:2:0 needs an even width and height, not {width}x{height}")
    if not CRF_BEST <= crf <= CRF_WORST:
        raise BadFrames(f"crf is {CRF_BEST} to {CRF_WORST}, not {crf}")
    try:
        rate = as_rate(fps)
    except ValueError as error:
        raise BadFrames(str(error)) from error
    if timeout_s is None:
        timeout_s = _START_S + count * height * width / _PIXELS_PER_S
    with appears_whole(path) as partial:
        pictures = converted(width=width, height=height, rate=rate, deep=frames.itemsize == 2)
        output = pictures.output(str(partial), **_options(rate, crf=crf, preset=preset))
        run(output, feed=_raw(frames), timeout_s=timeout_s, ffmpeg=ffmpeg)


def encode_planes(
    pictures: Iterable[npt.NDArray[np.uint8]],
    path: str | os.PathLike[str],
    *,
    width: int,
    height: int,
    frames: int,
    fps: float | Fraction,
    crf: int = CRF_WORST,
    preset: str = "medium",
    ffmpeg: str | os.PathLike[str] | None = None,
    timeout_s: float | None = None,
) -> None:
    """Encode pictures that are BT.709 of limited range already, as `encode_film` does and so that both can be joined.

    Each of the `frames` pictures is (height * 3 / 2, width), uint8: the planes of yuv420p. They are asked for one by
    one. Errors as of `encode_film`; an error of `pictures` itself is raised as it is.
    """
    rate = as_rate(fps)
    if timeout_s is None:
        timeout_s = _START_S + frames * height * width / _PIXELS_PER_S
    source = graph.input("pipe:0", format="rawvideo", pix_fmt="yuv420p", s=f"{width}x{height}", framerate=_ratio(rate))
    tagged = source.filter(
        "setparams", range="limited", color_primaries="bt709", color_trc="bt709", colorspace="bt709"
    ).filter("setsar", "1")
    with appears_whole(path) as partial:
        output = tagged.output(str(partial), **_options(rate, crf=crf, preset=preset))
        run(
            output,
            feed=(np.ascontiguousarray(one).data.cast("B") for one in pictures),
            timeout_s=timeout_s,
            ffmpeg=ffmpeg,
        )


def _raw(frames: Frames) -> Iterator[memoryview]:
    """One frame after the other as raw bytes; a frame is copied only where it does not lie in one piece."""
    for frame in frames:
        yield np.ascontiguousarray(frame).data.cast("B")


def converted(*, width: int, height: int, rate: Fraction, deep: bool) -> Any:
    """The graph from raw RGB on standard input to BT.709 limited range 4:2:0.

    Tags alone convert nothing. zscale computes in floating point and dithers once, at the end, so that 16-bit ramps
    stay smooth; the transfer curve is left as it is.
    """
    pixels, planes = ("rgb48le", "gbrp16le") if deep else ("rgb24", "gbrp")
    source = graph.input("pipe:0", format="rawvideo", pix_fmt=pixels, s=f"{width}x{height}", framerate=_ratio(rate))
    return (
        source.filter("format", planes)
        .filter(
            "zscale",
            rangein="full",
            range="limited",
            matrixin="gbr",
            matrix="709",
            primariesin="709",
            primaries="709",
            transferin="709",
            transfer="709",
            chromal="left",
            filter="bicubic",
            dither="ordered",
        )
        .filter("format", "yuv420p")
        .filter("setsar", "1")
    )


def _options(rate: Fraction, *, crf: int, preset: str) -> dict[str, Any]:
    return {
        "format": "mp4",
        "c:v": "libx264",
        "profile:v": "high",
        "preset": preset,
        "crf": crf,
        "threads": _THREADS,
        # Closed groups of a fixed length and no key frame at a cut: pieces can be joined and share a grid.
        "g": max(1, round(rate * _KEY_FRAME_EVERY_S)),
        "sc_threshold": 0,
        "flags:v": "+cgop+bitexact",
        "fflags": "+bitexact",
        "map_metadata": -1,
        "fps_mode": "passthrough",
        # Else ffmpeg guesses the rate from the first frames, and takes 120 for 119.88.
        "enc_time_base": _ratio(1 / rate),
        "color_primaries": "bt709",
        "color_trc": "bt709",
        "colorspace": "bt709",
        "color_range": "tv",
        "movflags": "+faststart",
    }


def _ratio(rate: Fraction) -> str:
    return f"{rate.numerator}/{rate.denominator}"
