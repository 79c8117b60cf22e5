"""One frame to a PNG, tagged as sRGB."""

from __future__ import annotations

import os
from fractions import Fraction

import av
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc

from infra.media.files import appears_whole
from infra.media.shape import Frames, check_frames


def encode_still(frame: Frames, path: str | os.PathLike[str]) -> None:
    """Write `frame` (height, width, 3), RGB, as a PNG of 8 (uint8) or 16 (uint16) bits a channel, without loss.

    The same frame gives the same bytes. The file appears at `path` when it is whole. BadFrames for anything else.
    """
    height, width, _ = check_frames(frame[None]).shape[1:]
    given, stored = ("rgb24", "rgb24") if frame.itemsize == 1 else ("rgb48le", "rgb48be")
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, stored
    encoder.time_base = Fraction(1)
    encoder.sample_aspect_ratio = Fraction(1)
    encoder.options = {"pred": "mixed"}
    picture = av.VideoFrame.from_ndarray(frame, format=given)
    if stored != given:
        picture = picture.reformat(format=stored)
    for tagged in (picture, encoder):
        tagged.color_primaries = ColorPrimaries.BT709
        tagged.color_trc = ColorTrc.IEC61966_2_1
        tagged.color_range = ColorRange.JPEG
    data = b"".join(bytes(packet) for packet in (*encoder.encode(picture), *encoder.encode(None)))
    with appears_whole(path) as partial:
        partial.write_bytes(data)
