"""The frames of a part as they go into the film: picked by number, brought to size, dissolved. 4:2:0, 8 bit, BT.709.

A frame is an array (height * 3 / 2, width), uint8: luma above, the two chroma planes below, as rawvideo yuv420p has
them. Films are never turned into RGB and back; a straight frame of the right size goes through untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from PIL import Image

from infra.cut.errors import CutError
from infra.cut.timeline import Card, Part, Solid, Take, Timeline
from infra.cut.titles import Fonts, draw

Planes = npt.NDArray[np.uint8]
FilmOf = Callable[[Take], Path]
"""Where the film of a take lies on this machine."""
_LUMA_BLACK, _CHROMA_NONE = 16, 128


class Pictures:
    """Frames of the parts of one timeline."""

    def __init__(self, timeline: Timeline, film_of: FilmOf, fonts: Fonts) -> None:
        self._timeline, self._film_of, self._fonts = timeline, film_of, fonts
        self._size = timeline.width, timeline.height

    def of(self, part: Part, first: int, count: int) -> Iterator[Planes]:
        """Frames `first` to `first + count` of a part.

        Raises:
            CutError: the film has fewer frames than its commit says, or does not decode.
        """
        step = part.step(self._timeline.fps)
        if isinstance(part.content, Take) and part.content.fps is not None:
            fps = self._timeline.fps
            numbers = [part.source_frame(first + number, fps) for number in range(count)]
            yield from self._of_film(part.content, numbers)
            return
        assert step == 0
        picture = from_rgb(self._still(part.content))
        for _ in range(count):
            yield picture

    def dissolve(self, one: Part, first: int, other: Part, count: int) -> Iterator[Planes]:
        """The last `count` frames of a part, from its frame `first`, mixed with the first of the part behind it.

        Frame k of n shows (k + 1) / (n + 1) of the second; a solid is reached wholly, at the last frame.
        """
        steps = count if isinstance(other.content, Solid) else count + 1
        pairs = zip(self.of(one, first, count), self.of(other, 0, count), strict=True)
        for number, (before, behind) in enumerate(pairs, 1):
            yield mixed(before, behind, Fraction(number, steps))

    def _of_film(self, take: Take, numbers: list[int]) -> Iterator[Planes]:
        place = 0
        try:
            with av.open(str(self._film_of(take))) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                for number, frame in enumerate(container.decode(stream)):
                    if number < numbers[place]:
                        continue
                    picture = self._fitted(frame)
                    while place < len(numbers) and numbers[place] == number:
                        yield picture
                        place += 1
                    if place == len(numbers):
                        return
        except av.error.FFmpegError as error:
            raise CutError(f"{take.media} does not decode: {error}", "`rushes verify` looks at all films.") from error
        raise CutError(f"{take.media} ends before frame {numbers[place]}", "`rushes verify` looks at all films.")

    def _fitted(self, frame: av.VideoFrame) -> Planes:
        width, height, left, top = fitted(frame.width, frame.height, *self._size)
        if (frame.width, frame.height) != (width, height) or frame.format.name != "yuv420p":
            frame = frame.reformat(width, height, "yuv420p", interpolation=Interpolation.LANCZOS)
        return padded(frame.to_ndarray().astype(np.uint8, copy=False), self._size, left, top)

    def _still(self, content: Take | Card | Solid) -> npt.NDArray[np.uint8]:
        width, height = self._size
        if isinstance(content, Card):
            return draw(content, width, height, self._fonts)
        picture = np.zeros((height, width, 3), np.uint8)
        if isinstance(content, Solid):
            picture[:] = content.colour
            return picture
        try:
            with Image.open(self._film_of(content), formats=["PNG"]) as stored:
                shown = stored.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise CutError(f"{content.media} cannot be read: {error}") from error
        inner_width, inner_height, left, top = fitted(shown.width, shown.height, width, height)
        shown = shown.resize((inner_width, inner_height), Image.Resampling.LANCZOS)
        picture[top : top + inner_height, left : left + inner_width] = np.asarray(shown)
        return picture


def fitted(width: int, height: int, wide: int, high: int) -> tuple[int, int, int, int]:
    """Size and place (left, top) of a picture that is scaled to fit into a frame whole, centred; all even.

    Its aspect is kept, to the next even pixel; what is left of the frame is black.
    """
    scale = min(Fraction(wide, width), Fraction(high, height))
    inner_width = min(wide, max(2, 2 * round(width * scale / 2)))
    inner_height = min(high, max(2, 2 * round(height * scale / 2)))
    return inner_width, inner_height, (wide - inner_width) // 4 * 2, (high - inner_height) // 4 * 2


def padded(planes: Planes, size: tuple[int, int], left: int, top: int) -> Planes:
    """A smaller picture in a black frame."""
    wide, high = size
    width, height = planes.shape[1], planes.shape[0] * 2 // 3
    if (width, height) == (wide, high):
        return planes
    luma = np.full((high, wide), _LUMA_BLACK, np.uint8)
    luma[top : top + height, left : left + width] = planes[:height]
    chroma = np.full((2, high // 2, wide // 2), _CHROMA_NONE, np.uint8)
    inner = planes[height:].reshape(2, height // 2, width // 2)
    chroma[:, top // 2 : (top + height) // 2, left // 2 : (left + width) // 2] = inner
    return np.concatenate([luma, chroma.reshape(high // 2, wide)])


def from_rgb(picture: npt.NDArray[np.uint8]) -> Planes:
    """RGB of full range as BT.709 of limited range."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
    made = frame.reformat(
        format="yuv420p",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
    )
    return made.to_ndarray().astype(np.uint8, copy=False)


def mixed(one: Planes, other: Planes, share: Fraction) -> Planes:
    """`share` of the other picture, the rest of the one, rounded; whole numbers only, so that all machines agree."""
    whole, part = share.denominator, share.numerator
    total = one.astype(np.uint32) * (whole - part) + other.astype(np.uint32) * part
    return ((total + whole // 2) // whole).astype(np.uint8)
