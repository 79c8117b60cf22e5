"""Films that people bring: their frames by time, in true colours and upright; what is no whole film is refused."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from infra.media import Unplayable, encode_film
from infra.media.source import Limits, Source

COLOURS = np.array([(220, 40, 40), (50, 180, 70), (50, 90, 220), (240, 210, 50)], np.uint8)


def drawn(frames: int = 12, width: int = 96, height: int = 64) -> np.ndarray:
    """Four quarters of plain colours, and a white bar that moves right by 4 pixels a frame."""
    film = np.empty((frames, height, width, 3), np.uint8)
    for quarter, colour in enumerate(COLOURS):
        rows, columns = slice(quarter // 2 * height // 2, None), slice(quarter % 2 * width // 2, None)
        film[:, rows, columns] = colour
    for frame in range(frames):
        film[frame, :4, 4 * frame : 4 * frame + 4] = 255
    return film


def encoded(container: str, codec: str, pixels: str, *, times: list[int] | None = None, rate: int = 8) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixels
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, picture in enumerate(drawn()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return buffer.getvalue()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    encode_film(drawn(), path, fps=8)
    return path.read_bytes()


def middle_of_quarters(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    rows, columns = (height // 4, height * 3 // 4), (width // 4, width * 3 // 4)
    return np.array([picture[row, column] for row in rows for column in columns]).astype(int)


def test_our_own_films_come_back_in_true_colours(film: bytes) -> None:
    source = Source.open(film)
    assert (source.frames, source.width, source.height) == (12, 96, 64)
    assert source.seconds == pytest.approx(1.5)
    pictures = list(source.pictures(range(12)))
    assert len(pictures) == 12
    for picture in pictures:
        assert np.abs(middle_of_quarters(picture) - COLOURS).max() <= 3
    assert pictures[5][1, 22].min() > 200
    assert pictures[5][1, 42].min() < 100


@pytest.mark.parametrize(
    ("container", "codec", "pixels", "off"),
    [
        ("matroska", "libx264", "yuv420p", 4), ("webm", "libvpx-vp9", "yuv420p", 4), ("avi", "mpeg4", "yuv420p", 12),
        ("avi", "mjpeg", "yuvj420p", 6), ("mov", "libx264", "yuv444p", 4), ("matroska", "ffv1", "bgr0", 0),
        ("gif", "gif", "rgb8", 60), ("apng", "apng", "rgb24", 0),
    ],
)  # fmt: skip
def test_films_of_other_kinds(container: str, codec: str, pixels: str, off: int) -> None:
    data = encoded(container, codec, pixels)
    source = Source.open(data)
    assert source.frames == 12
    (picture,) = source.pictures([11])
    assert np.abs(middle_of_quarters(picture) - COLOURS).max() <= off
    with pytest.raises(Unplayable):
        Source.open(data[: len(data) // 2])


def test_frames_are_found_by_their_times() -> None:
    times = [0, 100, 200, 300, 1000, 1100, 1200, 1300, 1400, 1500, 1600, 1700]
    source = Source.open(encoded("matroska", "ffv1", "bgr0", times=times))
    assert source.times.tolist() == pytest.approx([time / 1000 for time in times])
    assert source.nearest([0.0, 0.14, 0.15, 0.6, 0.7, 9.0]).tolist() == [0, 1, 1, 3, 4, 11]
    twice = list(source.pictures([2, 2, 3]))
    assert (twice[0] == twice[1]).all()
    assert (twice[0] != twice[2]).any()
    with pytest.raises(ValueError, match="rising"):
        list(source.pictures([3, 2]))


@pytest.mark.parametrize("data", [b"", b"not a film " * 50, b"\x00\x00\x00\x20ftypisom" + b"\0" * 200])
def test_what_is_no_film(data: bytes) -> None:
    with pytest.raises(Unplayable, match="does not play"):
        Source.open(data)


def test_sound_alone_is_no_film() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="wav") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.rate = 8000
        out.mux(stream.encode(sound))
    with pytest.raises(Unplayable, match="no video"):
        Source.open(buffer.getvalue())


def test_a_film_that_breaks_off_or_is_damaged(film: bytes) -> None:
    with pytest.raises(Unplayable, match=r"broken off: \d+ of 12 frames"):
        Source.open(film[:-300])
    with pytest.raises(Unplayable):
        Source.open(film[: len(film) // 3])


def test_limits(film: bytes) -> None:
    with pytest.raises(Unplayable, match="more than 5 frames"):
        Source.open(film, Limits(frames=5))
    with pytest.raises(Unplayable, match="longer than 1 seconds"):
        Source.open(film, Limits(seconds=1.0))
    with pytest.raises(Unplayable, match="megapixels"):
        Source.open(film, Limits(pixels=5000))


def test_signs_of_life(tmp_path: Path) -> None:
    encode_film(drawn(70), tmp_path / "a.mp4", fps=8)
    beats: list[int] = []
    source = Source.open((tmp_path / "a.mp4").read_bytes(), on_frame=lambda: beats.append(1))
    assert len(beats) == 2
    list(source.pictures([69], lambda: beats.append(1)))
    assert len(beats) > 2


def test_films_are_turned_upright_and_their_pixels_made_square(film: bytes, tmp_path: Path) -> None:
    import subprocess

    from infra.media import ffmpeg_path

    (tmp_path / "a.mp4").write_bytes(film)
    turned, wide = tmp_path / "turned.mp4", tmp_path / "wide.mp4"
    run = [str(ffmpeg_path()), "-v", "error", "-y"]
    subprocess.run(
        [*run, "-display_rotation:v:0", "90", "-i", str(tmp_path / "a.mp4"), "-c", "copy", str(turned)], check=True
    )
    subprocess.run(
        [*run, "-i", str(tmp_path / "a.mp4"), "-vf", "setsar=2", "-c:v", "libx264", "-crf", "1", str(wide)], check=True
    )
    (picture,) = Source.open(turned.read_bytes()).pictures([0])
    assert picture.shape == (96, 64, 3)
    # Turned by 90 degrees against the clock: the top right quarter becomes the top left one.
    assert np.abs(middle_of_quarters(picture) - COLOURS[[1, 3, 0, 2]]).max() <= 4
    (picture,) = Source.open(wide.read_bytes()).pictures([0])
    assert picture.shape == (64, 192, 3)
