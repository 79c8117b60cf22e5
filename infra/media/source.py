"""Films that people bring: decoded within limits, frame by frame, as RGB of full range.

film = Source.open(data)                      # reads every frame's time; wrong, empty or broken-off files raise
for picture in film.pictures([0, 5, 9]): ...  # (height, width, 3), uint8, upright, square pixels
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import av
import av.error
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray

from infra.media.errors import Unplayable

NAME: Final = "the film"
# Code points of ITU-T H.273 -> the matrices of swscale.
_MATRIX: Final = {
    1: Colorspace.ITU709, 4: Colorspace.FCC, 5: Colorspace.ITU601, 6: Colorspace.ITU601, 7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}  # fmt: skip
_SMOOTH: Final = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_HD_LINES: Final = 576
# What a file of pictures ends with; it does not say how many there are.
_END: Final = {"gif": b";", "apng": b"IEND\xaeB`\x82"}
# A film whose container promises more than this beyond its last frame has broken off.
_MISSING_S: Final = 1.0


@dataclass(frozen=True)
class Limits:
    """What is still decoded: a small file can unpack to more than a machine has time or memory for."""

    frames: int = 36_000
    seconds: float = 3600.0
    pixels: int = 8192 * 8192


@dataclass(frozen=True)
class Source:
    """A film whose frames are known by their times, seconds from its first frame, (frames,) float64, rising."""

    data: bytes
    times: NDArray[np.float64]
    width: int
    height: int

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self.times)

    @property
    def seconds(self) -> float:
        """Its length: to the end of its last frame, which lasts as long as frames do on average."""
        mean = self.times[-1] / (self.frames - 1) if self.frames > 1 else 0.0
        return float(self.times[-1] + mean)

    @classmethod
    def open(cls, data: bytes, limits: Limits | None = None, on_frame: Callable[[], None] | None = None) -> Source:
        """Decodes a film from end to end and keeps its frames' times.

        Args:
            data: bytes of a file of any kind that FFmpeg reads.
            on_frame: called now and then, as a sign of life.

        Raises:
            Unplayable: no film, without frames, damaged, broken off, or beyond the limits.
        """
        limits = limits or Limits()
        times: list[float] = []
        try:
            with av.open(io.BytesIO(data), "r") as container:
                stream = _video(container)
                for frame in container.decode(stream):
                    _check(frame, len(times), limits)
                    times.append(_time(frame, len(times), stream))
                    if times[-1] - times[0] > limits.seconds:
                        raise Unplayable(NAME, f"longer than {limits.seconds:g} seconds, which is the limit")
                    if on_frame is not None and len(times) % 32 == 0:
                        on_frame()
                _check_whole(container, stream, times, data)
                width, height = frame.width, frame.height
        except av.error.FFmpegError as error:
            raise Unplayable(NAME, f"{error.strerror or error} after {len(times)} frames") from error
        shown = np.maximum.accumulate(np.array(times) - times[0])
        return cls(data, shown, width, height)

    def nearest(self, seconds: Sequence[float] | NDArray[np.float64]) -> NDArray[np.int64]:
        """For each time the number of the frame that is nearest, the earlier of two equally near ones."""
        wanted = np.asarray(seconds, np.float64)
        after = np.clip(np.searchsorted(self.times, wanted), 0, self.frames - 1)
        before = np.maximum(after - 1, 0)
        earlier = np.abs(wanted - self.times[before]) <= np.abs(self.times[after] - wanted) + 1e-9
        return np.where(earlier, before, after).astype(np.int64)

    def pictures(
        self, numbers: Sequence[int] | NDArray[np.int64], on_frame: Callable[[], None] | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """The frames of these rising numbers, (height, width, 3), uint8; one that comes twice is given twice.

        Raises:
            Unplayable: it does not decode as it did before.
        """
        wanted = [int(number) for number in numbers]
        if wanted != sorted(wanted) or (wanted and not 0 <= wanted[0] <= wanted[-1] < self.frames):
            raise ValueError(f"frames are asked for in rising order, 0 to {self.frames - 1}")
        place = 0
        try:
            with av.open(io.BytesIO(self.data), "r") as container:
                stream = _video(container)
                for number, frame in enumerate(container.decode(stream)):
                    if place == len(wanted):
                        return
                    if on_frame is not None and number % 32 == 0:
                        on_frame()
                    if wanted[place] == number:
                        picture = _picture(frame, stream.sample_aspect_ratio)
                        while place < len(wanted) and wanted[place] == number:
                            place += 1
                            yield picture
        except av.error.FFmpegError as error:
            raise Unplayable(NAME, str(error)) from error
        if place < len(wanted):
            raise Unplayable(NAME, f"frame {wanted[place]} is not there")


def _video(container: Any) -> Any:
    if not container.streams.video:
        raise Unplayable(NAME, "no video in it")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return stream


def _check(frame: Any, number: int, limits: Limits) -> None:
    if frame.width * frame.height > limits.pixels:
        raise Unplayable(NAME, f"{frame.width}x{frame.height} is more than {limits.pixels / 1e6:.0f} megapixels")
    if number >= limits.frames:
        raise Unplayable(NAME, f"more than {limits.frames} frames, which is the limit")
    if frame.is_corrupt:
        raise Unplayable(NAME, f"damaged at frame {number}")


def _time(frame: Any, number: int, stream: Any) -> float:
    if frame.time is not None:
        return float(frame.time)
    return number / float(stream.average_rate or stream.guessed_rate or 25)  # a bare stream tells no times


def _check_whole(container: Any, stream: Any, times: list[float], data: bytes) -> None:
    if not times:
        raise Unplayable(NAME, "no frame in it")
    end = _END.get(container.format.name)
    if end is not None and not data.rstrip(b"\0").endswith(end):
        raise Unplayable(NAME, f"broken off after {len(times)} frames: the file has no end")
    if stream.frames > len(times):
        raise Unplayable(NAME, f"broken off: {len(times)} of {stream.frames} frames are there")
    if not stream.frames and container.duration and len(container.streams) == 1:
        missing = container.duration / av.time_base - (times[-1] - min(times[0], 0.0))
        if missing > max(_MISSING_S, 2 * times[-1] / len(times)):
            raise Unplayable(NAME, f"broken off: its last {missing:.1f} seconds are missing")


def _picture(frame: Any, shape: Fraction | None) -> NDArray[np.uint8]:
    """RGB of full range, upright and with square pixels."""
    matrix = _MATRIX.get(int(frame.colorspace))
    if matrix is None:  # not said: as players guess
        matrix = Colorspace.ITU709 if frame.height > _HD_LINES else Colorspace.ITU601
    full = frame.format.name.startswith("yuvj") or int(frame.color_range) == ColorRange.JPEG
    # In one go to square pixels; the rows stay, so that nothing is scaled where pixels are square.
    width = frame.width if not shape else max(1, round(frame.width * float(shape)))
    rgb = frame.reformat(
        width=width, format="rgb24", interpolation=_SMOOTH, src_colorspace=int(matrix),
        src_color_range=int(ColorRange.JPEG if full else ColorRange.MPEG), dst_color_range=int(ColorRange.JPEG),
    )  # fmt: skip
    picture: NDArray[np.uint8] = np.rot90(rgb.to_ndarray(), frame.rotation // 90)
    return np.ascontiguousarray(picture)
