"""Making a source larger by the function that `media.upscale` names, where lanczos in the graph is not wanted.

It is asked for the size that a window or bars leave; the cut or the bars are made afterwards, here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from infra.deliver.errors import DeliverError
from infra.deliver.reframe import Window
from infra.deliver.video import inner_size, ratio
from infra.deliver.work import Job, Shape
from infra.media.ffmpeg import run
from infra.media.film import converted
from infra.media.source import Limits, Source
from infra.media.upscale import upscale

_AT_ONCE: Final = 16  # frames that an upscaler gets together
_PIXELS_PER_S: Final = 5e4


def scale_film(job: Job, shape: Shape, window: Window | None, folder: Path) -> Path:
    """A lossless film of the delivery's size with the source's frames. UpscalerFailed, DeliverError."""
    film, (width, height) = job.source.film, shape.size
    if window is not None and shape.rate != film.fps:
        raise DeliverError("media.upscale cannot follow a subject and change the rate in one profile")
    made = folder / "scaled.mkv"
    inner = window.scaled if window is not None else inner_size((film.width, film.height), shape.size)
    _write(job, made, _placed(_scaled(job, inner), window, inner, shape.size), (width, height))
    return made


def _scaled(job: Job, inner: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    source = Source.open(job.source.path.read_bytes(), Limits(frames=10**7, seconds=10**6))
    for start in range(0, source.frames, _AT_ONCE):
        batch = np.stack(list(source.pictures(range(start, min(start + _AT_ONCE, source.frames)))))
        for frame in upscale(batch, *inner, job.scaler):
            yield np.asarray(frame, np.uint8)


def _placed(
    frames: Iterator[NDArray[np.uint8]], window: Window | None, inner: tuple[int, int], size: tuple[int, int]
) -> Iterator[NDArray[np.uint8]]:
    width, height = size
    for number, frame in enumerate(frames):
        if window is not None:
            if window.smaller is not None and window.smaller.inside(number, number + 1):
                yield window.smaller.place(frame)
                continue
            x, y = window.corners[number].tolist()
            yield frame[y : y + height, x : x + width]
        elif inner == size:
            yield frame
        else:
            whole = np.zeros((height, width, 3), np.uint8)
            x, y = (width - inner[0]) // 2, (height - inner[1]) // 2
            whole[y : y + inner[1], x : x + inner[0]] = frame
            yield whole


def _write(job: Job, made: Path, frames: Iterator[NDArray[np.uint8]], size: tuple[int, int]) -> None:
    """Lossless, in the form that the graph of a deliverable reads: BT.709, limited range, 4:2:0."""
    width, height = size
    rate = job.source.film.fps
    stream: Any = converted(width=width, height=height, rate=rate, deep=False)
    options = {
        "c:v": "ffv1", "level": 3, "g": 1, "fps_mode": "passthrough", "enc_time_base": ratio(1 / rate),
        "color_primaries": "bt709", "color_trc": "bt709", "colorspace": "bt709", "color_range": "tv", "f": "matroska",
    }  # fmt: skip
    feed = (np.ascontiguousarray(frame).data.cast("B") for frame in frames)
    timeout_s = job.tools.start_s + width * height * job.source.film.frames / _PIXELS_PER_S
    run(stream.output(f"file:{made}", **options), feed=feed, timeout_s=timeout_s, ffmpeg=job.tools.ffmpeg)
