"""Films: what is written is what was asked for, in the right colours, whole or not at all."""

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from infra.media import BadFrames, EncodeError, FfmpegMissing, as_rate, encode_film, expect, ffmpeg_path, probe
from tests.processes import command_line, descendants


def moving(count: int = 9, height: int = 96, width: int = 128) -> np.ndarray:
    """A smooth moving picture with every channel different, (count, height, width, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack(
        [
            np.stack([128 + 90 * np.sin(x / 30 + t / 5), 128 + 90 * np.cos(y / 25 - t / 7), 40 + x + t], -1)
            for t in range(count)
        ]
    ).astype(np.uint8)


def decode(path: Path) -> np.ndarray:
    """Frames by the inverse BT.709 matrix, limited range, written out here and not by ffmpeg: float RGB 0..255.

    Chroma is put back where H.264 says it lies: beside every second column, between two rows.
    """
    films = []
    with av.open(os.fspath(path)) as container:
        for frame in container.decode(video=0):
            luma, blue, red = (
                np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, -1)[:, : plane.width].astype(float)
                for plane in frame.planes
            )
            luma = (luma - 16) / 219
            blue, red = (upsampled((plane - 128) / 224) for plane in (blue, red))
            r = luma + 2 * (1 - 0.2126) * red
            b = luma + 2 * (1 - 0.0722) * blue
            g = (luma - 0.2126 * r - 0.0722 * b) / 0.7152
            films.append(np.stack([r, g, b], -1) * 255)
    return np.stack(films).clip(0, 255)


def upsampled(plane: np.ndarray) -> np.ndarray:
    rows, columns = plane.shape
    wide = np.empty((rows, columns * 2))
    wide[:, ::2] = plane
    wide[:, 1::2] = (plane + np.concatenate([plane[:, 1:], plane[:, -1:]], 1)) / 2
    above = np.concatenate([wide[:1], wide[:-1]])
    below = np.concatenate([wide[1:], wide[-1:]])
    tall = np.empty((rows * 2, columns * 2))
    tall[::2] = 0.75 * wide + 0.25 * above
    tall[1::2] = 0.75 * wide + 0.25 * below
    return tall


def psnr(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((found - wanted.astype(float)) ** 2)))


@pytest.mark.parametrize(
    ("fps", "exact"),
    [
        (8, Fraction(8)),
        (12, Fraction(12)),
        (23.976, Fraction(24000, 1001)),
        (float(np.float32(23.976)), Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (24.0, Fraction(24)),
        (12.5, Fraction(25, 2)),
        (7.99, Fraction(799, 100)),
        (0.5, Fraction(1, 2)),
        (Fraction(24000, 1001), Fraction(24000, 1001)),
    ],
)
def test_rates_are_exact(fps: float, exact: Fraction) -> None:
    assert as_rate(fps) == exact


@pytest.mark.parametrize("fps", [0, -8, float("nan"), float("inf"), 1001])
def test_rates_that_are_none(fps: float) -> None:
    with pytest.raises(ValueError, match="frame rate"):
        as_rate(fps)


@pytest.mark.parametrize("fps", [8, 12, 23.976, 12.5, 60, 7.3, 119.88, 239.7])
def test_a_film_is_what_was_ordered(tmp_path: Path, fps: float) -> None:
    encode_film(moving(9), tmp_path / "a.mp4", fps=fps)
    facts = probe(tmp_path / "a.mp4")
    expect(facts, width=128, height=96, frames=9, fps=fps)
    assert facts.fps == as_rate(fps)
    assert (facts.codec, facts.pix_fmt, facts.sar) == ("h264", "yuv420p", 1)
    assert (facts.primaries, facts.transfer, facts.matrix, facts.range) == ("bt709", "bt709", "bt709", "limited")
    assert facts.faststart
    assert facts.constant_rate
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_stream_is_high_profile_with_closed_groups(tmp_path: Path) -> None:
    encode_film(moving(40, 32, 32), tmp_path / "a.mp4", fps=8)
    with av.open(os.fspath(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.profile == "High"
        packets = [packet for packet in container.demux(stream) if packet.size]
    keys = [packet.pts * stream.time_base * 8 for packet in packets if packet.is_keyframe]
    assert keys == [0, 16, 32]  # every two seconds, and nowhere else
    # Closed: nothing that is stored after a key frame is shown before it.
    for number, packet in enumerate(packets):
        if packet.is_keyframe:
            assert all(later.pts >= packet.pts for later in packets[number:])


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_picture_survives(tmp_path: Path, depth: type) -> None:
    frames = moving()
    given = frames if depth is np.uint8 else frames.astype(np.uint16) * 257
    encode_film(given, tmp_path / "a.mp4", fps=8)
    assert psnr(decode(tmp_path / "a.mp4"), frames) > 44


def test_known_colours_come_back(tmp_path: Path) -> None:
    colours = np.array(
        [
            (255, 0, 0),
            (0, 255, 0),
            (0, 0, 255),
            (255, 255, 255),
            (0, 0, 0),
            (128, 128, 128),
            (200, 30, 90),
            (9, 200, 210),
        ],
        np.uint8,
    )
    frames = np.repeat(np.repeat(colours[None, None], 32, 1), 32, 2).repeat(3, 0)
    encode_film(frames, tmp_path / "a.mp4", fps=8)
    found = decode(tmp_path / "a.mp4").reshape(3, 32, len(colours), 32, 3)[:, 8:-8, :, 8:-8]
    # Dither moves a single pixel by a step of luma and of chroma; over a patch it is right.
    assert np.abs(found.mean((0, 1, 3)) - colours).max() < 1
    assert np.abs(found - colours[:, None]).max() < 4.5


def test_gray_ramp_comes_back_and_stays_gray(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, None, :, None], (3, 32, 256, 3))
    encode_film(ramp, tmp_path / "a.mp4", fps=8, crf=1)
    found = decode(tmp_path / "a.mp4")
    assert np.abs(found - ramp).max() <= 2
    assert np.ptp(found, axis=-1).max() < 0.01


def test_sixteen_bit_ramps_are_dithered_not_banded(tmp_path: Path) -> None:
    """A slope of less than one 8-bit step over the picture keeps its slope: a cut to 8 bit first would make it flat."""
    slope = np.linspace(100 * 257, 100 * 257 + 256, 256)
    frames = np.broadcast_to(slope.astype(np.uint16)[None, None, :, None], (3, 64, 256, 3))
    encode_film(frames, tmp_path / "a.mp4", fps=8, crf=1)
    columns = decode(tmp_path / "a.mp4")[..., 1].mean((0, 1))
    quarters = columns.reshape(4, 64).mean(1)
    assert np.all(np.diff(quarters) > 0.1)
    assert np.abs(quarters - slope.reshape(4, 64).mean(1) / 257).max() < 0.25


def test_same_frames_same_bytes(tmp_path: Path) -> None:
    digests = set()
    for name in ("a.mp4", "b.mp4"):
        encode_film(moving(20), tmp_path / name, fps=24)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("count", "height", "width"), [(1, 64, 64), (1, 16, 16), (3, 16, 16), (2, 18, 34), (2, 2160, 3840)]
)
def test_unusual_sizes(tmp_path: Path, count: int, height: int, width: int) -> None:
    encode_film(moving(count, height, width), tmp_path / "a.mp4", fps=8, preset="ultrafast")
    expect(probe(tmp_path / "a.mp4"), width=width, height=height, frames=count, fps=8)


def test_views_are_encoded_as_they_look(tmp_path: Path) -> None:
    frames = moving(4, 96, 160)[:, 16:80, 16:144]
    assert not frames.flags.c_contiguous
    encode_film(frames, tmp_path / "view.mp4", fps=8)
    encode_film(np.ascontiguousarray(frames), tmp_path / "copy.mp4", fps=8)
    assert (tmp_path / "view.mp4").read_bytes() == (tmp_path / "copy.mp4").read_bytes()


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        (np.zeros((2, 16, 17, 3), np.uint8), {}, "even"),
        (np.zeros((2, 17, 16, 3), np.uint8), {}, "even"),
        (np.zeros((0, 16, 16, 3), np.uint8), {}, "shape"),
        (np.zeros((16, 16, 3), np.uint8), {}, "shape"),
        (np.zeros((2, 16, 16, 4), np.uint8), {}, "shape"),
        (np.zeros((2, 16, 16, 3), np.float32), {}, "uint8"),
        (np.zeros((2, 16, 16, 3), ">u2"), {}, "uint8"),
        (np.zeros((2, 16, 16, 3), np.uint8), {"fps": 0}, "frame rate"),
        (np.zeros((2, 16, 16, 3), np.uint8), {"crf": 0}, "crf"),
        (np.zeros((2, 16, 16, 3), np.uint8), {"crf": 11}, "crf"),
    ],
)
def test_refusals(tmp_path: Path, frames: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(BadFrames, match=message):
        encode_film(frames, tmp_path / "a.mp4", **({"fps": 8} | options))
    assert not os.listdir(tmp_path)


def test_failure_says_what_ffmpeg_said_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match="no-such-preset") as caught:
        encode_film(moving(), tmp_path / "a.mp4", fps=8, preset="no-such-preset")
    assert caught.value.returncode
    assert not os.listdir(tmp_path)


def test_failure_keeps_the_film_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"older")
    with pytest.raises(EncodeError):
        encode_film(moving(), tmp_path / "a.mp4", fps=8, preset="no-such-preset")
    assert (tmp_path / "a.mp4").read_bytes() == b"older"
    encode_film(moving(), tmp_path / "a.mp4", fps=8)
    assert probe(tmp_path / "a.mp4").frames == 9


def test_missing_folder_is_an_encode_error(tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match="No such file"):
        encode_film(moving(), tmp_path / "nowhere" / "a.mp4", fps=8)


def test_full_disk_is_told_apart(tmp_path: Path) -> None:
    assert EncodeError("x", 1, "av_interleaved_write_frame(): No space left on device").no_space
    assert not EncodeError("x", 1, "Invalid argument").no_space


def children_named_ffmpeg(pid: int) -> list[psutil.Process]:
    return [child for child in descendants(pid) if "ffmpeg" in command_line(child)]


def wait_for(found: object, timeout_s: float = 60) -> object:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


def test_killed_ffmpeg_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    errors: list[Exception] = []

    def encode() -> None:
        try:
            encode_film(noise(200, 480, 640), tmp_path / "a.mp4", fps=8, preset="veryslow")
        except EncodeError as error:
            errors.append(error)

    thread = threading.Thread(target=encode)
    thread.start()
    wait_for(lambda: children_named_ffmpeg(os.getpid()))[0].kill()
    thread.join(30)
    assert not thread.is_alive()
    assert [error.returncode for error in errors] == [-signal.SIGKILL]
    assert "signal 9" in str(errors[0])
    assert not os.listdir(tmp_path)


def test_too_slow_is_stopped(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(EncodeError, match="did not end in 1 s") as caught:
        encode_film(noise(200, 480, 640), tmp_path / "a.mp4", fps=8, preset="veryslow", timeout_s=1)
    assert time.monotonic() - start < 15
    assert caught.value.returncode is None
    assert not os.listdir(tmp_path)
    assert not children_named_ffmpeg(os.getpid())


def noise(count: int, height: int, width: int) -> np.ndarray:
    """Slow to encode; one frame in memory, shown `count` times."""
    frame = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    return np.broadcast_to(frame, (count, height, width, 3))


def test_ffmpeg_dies_with_its_parent(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import numpy as np
        from infra.media import encode_film
        frames = np.random.default_rng(0).integers(0, 256, (1, 480, 640, 3), np.uint8)
        encode_film(np.broadcast_to(frames, (400, 480, 640, 3)), "a.mp4", fps=8, preset="veryslow")
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path)
    try:
        (ffmpeg,) = wait_for(lambda: children_named_ffmpeg(parent.pid))
    finally:
        parent.kill()
        parent.wait(10)
    _, left = psutil.wait_procs([ffmpeg], timeout=5)
    assert not left
    assert not (tmp_path / "a.mp4").exists()


def test_chatter_on_standard_error_does_not_block(tmp_path: Path) -> None:
    """A program that fills the pipe of standard error before it reads its input, and then succeeds."""
    program = tmp_path / "chatty"
    program.write_text(
        "#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' 'x' >&2\ncat >/dev/null\n"
        'for last; do [ "$last" = -y ] || out=$last; done\necho film > "$out"\n'
    )
    program.chmod(0o755)
    encode_film(moving(20), tmp_path / "a.mp4", fps=8, ffmpeg=program, timeout_s=30)
    assert (tmp_path / "a.mp4").read_text() == "film\n"


def test_a_program_that_stops_reading_is_an_error(tmp_path: Path) -> None:
    program = tmp_path / "lazy"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    with pytest.raises(EncodeError, match="before it had read all frames"):
        encode_film(moving(200), tmp_path / "a.mp4", fps=8, ffmpeg=program)
    assert not (tmp_path / "a.mp4").exists()


def test_ffmpeg_path(tmp_path: Path) -> None:
    wheel = ffmpeg_path()
    assert os.access(wheel, os.X_OK)
    assert ffmpeg_path(wheel) == wheel
    with pytest.raises(FfmpegMissing, match="no-such-ffmpeg"):
        ffmpeg_path("no-such-ffmpeg")
    with pytest.raises(FfmpegMissing, match="cannot be run"):
        ffmpeg_path(tmp_path)
