"""Probing: facts are measured, broken files are found out, differences are named."""

import dataclasses
import pickle
import struct
from fractions import Fraction
from pathlib import Path

import ffmpeg as graph
import numpy as np
import pytest
from PIL import Image

from infra.media import (
    BadFrames,
    EncodeError,
    MediaMismatch,
    Unplayable,
    encode_film,
    encode_still,
    expect,
    ffmpeg_path,
    fit,
    probe,
)
from infra.media import ffmpeg as program


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """25 frames of 128x96 at 8 per second, with enough in them to have something to break."""
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    encode_film(np.random.default_rng(0).integers(0, 256, (25, 96, 128, 3), np.uint8), path, fps=8)
    return path


@pytest.mark.parametrize("part", [0.0, 0.001, 0.02, 0.3, 0.7, 0.99, 0.99999])
def test_truncated_films_do_not_play(film: Path, tmp_path: Path, part: float) -> None:
    whole = film.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(Unplayable):
        probe(tmp_path / "cut.mp4")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 4096,
        b"not a film\n" * 100,
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 200,
        b"\0\0\0\x18ftypmp42",
    ],
)
def test_garbage_does_not_play(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(Unplayable) as caught:
        probe(tmp_path / "x")
    assert str(tmp_path / "x") in str(caught.value)


def test_a_hole_in_the_data_does_not_play(film: Path, tmp_path: Path) -> None:
    data = bytearray(film.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    (tmp_path / "hole.mp4").write_bytes(data)
    with pytest.raises(Unplayable):
        probe(tmp_path / "hole.mp4")


def test_sound_alone_is_no_film(tmp_path: Path) -> None:
    tone = graph.input("sine=duration=0.2", format="lavfi").output(str(tmp_path / "a.mp4"), acodec="aac")
    program.run(tone, timeout_s=30)
    with pytest.raises(Unplayable, match="no video"):
        probe(tmp_path / "a.mp4")


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "nowhere.mp4")


def test_index_at_the_end_is_seen(film: Path, tmp_path: Path) -> None:
    program.run(graph.input(str(film)).output(str(tmp_path / "late.mp4"), c="copy"), timeout_s=30)
    facts = probe(tmp_path / "late.mp4")
    assert facts.frames == 25
    assert not facts.faststart
    with pytest.raises(MediaMismatch, match="faststart"):
        expect(facts, width=128, height=96, frames=25, fps=8)


def test_a_varying_rate_is_seen(film: Path, tmp_path: Path) -> None:
    late = graph.input(str(film)).filter("setpts", "PTS+gt(N,12)*0.5/TB")
    program.run(late.output(str(tmp_path / "v.mp4"), fps_mode="vfr", movflags="+faststart"), timeout_s=30)
    assert not probe(tmp_path / "v.mp4").constant_rate


def test_full_range_601_is_seen(film: Path, tmp_path: Path) -> None:
    other = graph.input(str(film)).filter("scale", out_color_matrix="bt601", out_range="full")
    program.run(
        other.output(str(tmp_path / "f.mp4"), pix_fmt="yuvj420p", colorspace="smpte170m", color_range="pc"),
        timeout_s=30,
    )
    facts = probe(tmp_path / "f.mp4")
    assert facts.range == "full"
    assert facts.matrix == "smpte170m"


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({"width": 130}, "width"),
        ({"height": 98}, "height"),
        ({"frames": 24}, "frames"),
        ({"fps": 8.1}, "fps"),
        ({"fps": 24}, "fps"),
    ],
)
def test_expect_names_the_difference(film: Path, order: dict, field: str) -> None:
    with pytest.raises(MediaMismatch) as caught:
        expect(probe(film), **({"width": 128, "height": 96, "frames": 25, "fps": 8} | order))
    assert caught.value.field == field
    assert caught.value.wanted != caught.value.found


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("codec", "hevc"),
        ("pix_fmt", "yuv444p"),
        ("primaries", "unspecified"),
        ("transfer", "srgb"),
        ("matrix", "smpte170m"),
        ("range", "full"),
        ("sar", Fraction(4, 3)),
        ("constant_rate", False),
        ("faststart", False),
        ("seconds", 3.0),
    ],
)
def test_expect_holds_films_to_the_contract(film: Path, field: str, value: object) -> None:
    facts = probe(film)
    expect(facts, width=128, height=96, frames=25, fps=8)
    with pytest.raises(MediaMismatch) as caught:
        expect(dataclasses.replace(facts, **{field: value}), width=128, height=96, frames=25, fps=8)
    assert caught.value.field == field


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(48, 64), (1, 1), (33, 17)])
def test_stills_are_lossless_and_tagged(tmp_path: Path, depth: type, size: tuple[int, int]) -> None:
    frame = np.random.default_rng(1).integers(0, np.iinfo(depth).max, (*size, 3), depth, endpoint=True)
    encode_still(frame, tmp_path / "a.png")
    facts = probe(tmp_path / "a.png")
    expect(facts, width=size[1], height=size[0], frames=1, still=True)
    assert facts.pix_fmt == ("rgb24" if depth is np.uint8 else "rgb48be")
    assert "sRGB" in chunks((tmp_path / "a.png").read_bytes())
    with Image.open(tmp_path / "a.png") as picture:
        assert np.array_equal(np.asarray(picture), frame if depth is np.uint8 else frame >> 8)
    if depth is np.uint16:
        assert np.array_equal(decoded_by_ffmpeg(tmp_path / "a.png", size), frame)


def decoded_by_ffmpeg(path: Path, size: tuple[int, int]) -> np.ndarray:
    raw = graph.input(str(path)).output("pipe:", format="rawvideo", pix_fmt="rgb48le")
    data, _ = raw.run(cmd=ffmpeg_path(), capture_stdout=True, quiet=True)
    return np.frombuffer(data, "<u2").reshape(*size, 3)


def chunks(png: bytes) -> list[str]:
    names, at = [], 8
    while at < len(png):
        size, name = struct.unpack(">I4s", png[at : at + 8])
        names.append(name.decode())
        at += 12 + size
    return names


def test_same_still_same_bytes(tmp_path: Path) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    encode_still(frame, tmp_path / "a.png")
    encode_still(np.asfortranarray(frame), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_broken_stills_do_not_play(tmp_path: Path) -> None:
    encode_still(np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8), tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for data in (whole[:-20], whole[: len(whole) // 2], bytes(flipped)):
        (tmp_path / "b.png").write_bytes(data)
        with pytest.raises(Unplayable):
            probe(tmp_path / "b.png")


def test_an_untagged_still_is_seen(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    with pytest.raises(MediaMismatch, match="unspecified"):
        expect(probe(tmp_path / "a.png"), width=16, height=16, frames=1, still=True)


def test_still_refuses_what_is_no_picture(tmp_path: Path) -> None:
    for wrong in (np.zeros((16, 16), np.uint8), np.zeros((16, 16, 3), np.float32), np.zeros((0, 16, 3), np.uint8)):
        with pytest.raises(BadFrames):
            encode_still(wrong, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_a_film_is_not_a_still_and_back(film: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaMismatch):
        expect(probe(film), width=128, height=96, frames=25, still=True)
    encode_still(np.zeros((96, 128, 3), np.uint8), tmp_path / "a.png")
    with pytest.raises(MediaMismatch):
        expect(probe(tmp_path / "a.png"), width=128, height=96, frames=1, fps=8)


def test_fit_crops_the_centre_and_the_end() -> None:
    frames = np.arange(5 * 8 * 10 * 3, dtype=np.uint16).reshape(5, 8, 10, 3)
    assert np.array_equal(fit(frames, 6, 4, 3), frames[:3, 2:6, 2:8])
    assert np.array_equal(fit(frames, 9, 7, 5), frames[:, 0:7, 0:9])
    assert np.shares_memory(fit(frames, 10, 8, 5), frames)
    for width, height, count in ((11, 8, 5), (10, 9, 5), (10, 8, 6), (0, 8, 5), (10, 8, 0)):
        with pytest.raises(BadFrames, match="cannot be cut down"):
            fit(frames, width, height, count)


@pytest.mark.parametrize(
    "error", [EncodeError("m", -9, "tail"), Unplayable("p", "r"), MediaMismatch("fps", 1, 2), BadFrames("b")]
)
def test_errors_cross_processes(error: Exception) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.__dict__ == error.__dict__
