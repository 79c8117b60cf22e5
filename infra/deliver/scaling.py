"""Another scaler than lanczos: a function of the user's, named in the settings, that makes frames larger or smaller.

    def scale(frames, width, height): ...     # (n, h, w, 3) uint8 RGB -> (n, height, width, 3) uint8

It is asked for the size that a window or bars leave; the cut or the bars are made afterwards, here.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from infra.deliver.errors import DeliverError
from infra.deliver.reframe import Window
from infra.deliver.video import ratio
from infra.deliver.work import Job, Shape
from infra.media.source import Limits, Source

Scaler = Callable[[NDArray[np.uint8], int, int], NDArray[np.uint8]]
LANCZOS: Final = "lanczos"
_AT_ONCE: Final = 16  # frames that a scaler gets together
_NAMED: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def load_scaler(name: str) -> Scaler:
    """The function that `module:function` names. DeliverError where there is none."""
    if not _NAMED.fullmatch(name):
        raise DeliverError(f"deliver.scaler {name!r} is neither {LANCZOS} nor module:function")
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise DeliverError(f"deliver.scaler {name}: {error}") from error
    if not callable(found):
        raise DeliverError(f"deliver.scaler {name} is not a function")
    scaler: Scaler = found
    return scaler


def scale_film(job: Job, shape: Shape, window: Window | None, folder: Path) -> Path | None:
    """A lossless film of the delivery's size with the source's frames; None where the size is the source's already."""
    film, (width, height) = job.source.film, shape.size
    if (film.width, film.height) == (width, height):
        return None
    if window is not None and shape.rate != film.fps:
        raise DeliverError("deliver.scaler cannot follow a subject and change the rate in one profile")
    assert job.scaler is not None
    scaler = load_scaler(job.scaler)
    made = folder / "scaled.mkv"
    inner = window.scaled if window is not None else _inner((film.width, film.height), shape.size)
    frames = _placed(_scaled(job, scaler, inner), window, inner, shape.size)
    _write(job, made, frames, shape.size)
    return made


def _inner(source: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    scale = min(size[0] / source[0], size[1] / source[1])
    width, height = (min(full, 2 * round(side * scale / 2)) for full, side in zip(size, source, strict=True))
    return width, height


def _scaled(job: Job, scaler: Scaler, inner: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    source = Source.open(job.source.path.read_bytes(), Limits(frames=10**7, seconds=10**6))
    width, height = inner
    for start in range(0, source.frames, _AT_ONCE):
        batch = np.stack(list(source.pictures(range(start, min(start + _AT_ONCE, source.frames)))))
        made = scaler(batch, width, height)
        if made.shape != (len(batch), height, width, 3) or made.dtype != np.uint8:
            raise DeliverError(
                f"deliver.scaler {job.scaler} gave {made.dtype} {made.shape}, wanted uint8 "
                f"{(len(batch), height, width, 3)}"
            )
        yield from made


def _placed(
    frames: Iterator[NDArray[np.uint8]], window: Window | None, inner: tuple[int, int], size: tuple[int, int]
) -> Iterator[NDArray[np.uint8]]:
    width, height = size
    for number, frame in enumerate(frames):
        if window is not None:
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
    from infra.media.ffmpeg import run
    from infra.media.film import converted

    width, height = size
    stream: Any = converted(width=width, height=height, rate=job.source.film.fps, deep=False)
    options = {
        "c:v": "ffv1", "level": 3, "g": 1, "fps_mode": "passthrough", "enc_time_base": ratio(1 / job.source.film.fps),
        "color_primaries": "bt709", "color_trc": "bt709", "colorspace": "bt709", "color_range": "tv", "f": "matroska",
    }  # fmt: skip
    feed = (np.ascontiguousarray(frame).data.cast("B") for frame in frames)
    pixels = width * height * job.source.film.frames
    run(
        stream.output(f"file:{made}", **options), feed=feed, timeout_s=job.tools.start_s + pixels / 5e4,
        ffmpeg=job.tools.ffmpeg,
    )  # fmt: skip
