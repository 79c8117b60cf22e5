"""Joining films of equal form without touching their pictures: packets are copied, their times counted anew.

ffmpeg's concat demuxer adds up the lengths of files in microseconds, which is a tick too much after some hundred
files at NTSC rates. Here a frame's time is its number times the rate, whatever came before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import av.error

from infra.cut.errors import CutError, FilmDiffers
from infra.media.files import appears_whole

_LEAST_TICKS = 10_000
"""Ticks a second that a film's clock has at least, as ffmpeg's own."""


class Form(NamedTuple):
    """What must be equal for pictures to be joined as they are."""

    codec: str
    width: int
    height: int
    pix_fmt: str | None
    header: bytes
    """Sequence and picture parameter sets."""


def form_of(path: Path) -> Form:
    """The form of a film. CutError for what is none."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise CutError(f"{path.name} holds no pictures")
            codec = container.streams.video[0].codec_context
            return Form(codec.name, codec.width, codec.height, codec.pix_fmt, bytes(codec.extradata or b""))
    except av.error.FFmpegError as error:
        raise CutError(f"{path.name} does not open: {error}", "`rushes verify` looks at all films.") from error


class Piece(NamedTuple):
    """Some frames of a film, from one of its boundaries to another."""

    path: Path
    first: int
    frames: int


def boundaries(path: Path, fps: Fraction) -> list[int]:
    """Numbers of the frames at which a film can be parted: key frames that nothing before refers beyond, and its end.

    CutError for a film that cannot be read.
    """
    read = [(number, bool(packet.is_keyframe)) for number, packet in _packets(path, fps)]
    least = [len(read)]  # of all that is decoded from here on
    for number, _ in reversed(read):
        least.append(min(least[-1], number))
    least.reverse()
    found, most = [], -1
    for place, (number, key) in enumerate(read):
        if key and most < number == least[place]:
            found.append(number)
        most = max(most, number)
    return [*found, len(read)]


def join(films: Sequence[Piece], made: str | os.PathLike[str], fps: Fraction) -> None:
    """Write `made`, an MP4 of pieces of films, one behind the other.

    Raises:
        FilmDiffers: a film has other frames than was said, or another form than the first.
        CutError: a film that cannot be read.
    """
    ticks = _ticks(fps)
    options = {"movflags": "+faststart", "video_track_timescale": str(ticks), "fflags": "+bitexact"}
    delay = _check(films, fps)
    step = int(ticks / fps)
    with appears_whole(made) as partial:
        try:
            with av.open(str(partial), "w", format="mp4", options=options) as out, av.open(str(films[0].path)) as first:
                stream = out.add_stream_from_template(first.streams.video[0])
                stream.time_base = Fraction(1, ticks)
                begins = 0
                for piece in films:
                    for number, (shown, packet) in enumerate(_packets_of(piece, fps)):
                        packet.pts = (begins + shown) * step
                        # Of a film of one or two frames the encoder waits less: each would shift all that follow.
                        packet.dts = (begins + number - delay) * step
                        packet.stream, packet.time_base, packet.duration = stream, Fraction(1, ticks), step
                        out.mux(packet)
                    begins += piece.frames
        except av.error.FFmpegError as error:
            raise CutError(f"the parts cannot be joined: {error}") from error


def _check(films: Sequence[Piece], fps: Fraction) -> int:
    """By how many frames decoding runs ahead of showing, at most, over all films; FilmDiffers as of `join`."""
    form = form_of(films[0].path)
    delays: dict[Piece, int] = {}
    for piece in dict.fromkeys(films):
        if form_of(piece.path) != form:
            raise FilmDiffers(f"{piece.path.name} has another form than the films that it is joined to")
        shown = [number for number, _ in _packets_of(piece, fps)]
        if sorted(shown) != list(range(piece.frames)):
            raise FilmDiffers(f"{piece.path.name} has {len(shown)} frames, the timeline counts {piece.frames}")
        delays[piece] = max(decoded - number for decoded, number in enumerate(shown))
    return max(delays.values())


def _packets_of(piece: Piece, fps: Fraction) -> Iterator[tuple[int, av.Packet]]:
    """As `_packets`, of a piece, counted from its first frame."""
    for number, packet in _packets(piece.path, fps):
        if piece.first <= number < piece.first + piece.frames:
            yield number - piece.first, packet


def _packets(path: Path, fps: Fraction) -> Iterator[tuple[int, av.Packet]]:
    """A film's packets as they are decoded, each with the number of its frame. CutError for a film that breaks off."""
    try:
        with av.open(str(path)) as container:
            source = container.streams.video[0]
            assert source.time_base is not None
            for packet in container.demux(source):
                if packet.size and packet.pts is not None:  # the last one is empty: the end
                    yield round(packet.pts * source.time_base * fps), packet
    except av.error.FFmpegError as error:
        raise CutError(f"{path.name} cannot be read: {error}", "`rushes verify` looks at all films.") from error


def _ticks(fps: Fraction) -> int:
    """Ticks a second of a clock on which every frame falls on a tick."""
    ticks = fps.numerator
    while ticks < _LEAST_TICKS:
        ticks *= 2
    return ticks
