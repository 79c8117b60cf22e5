"""Films of one file: each codec, chunks, other rates, heads and tails, sound at its loudness; and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.deliver.check import check_film
from infra.deliver.encode import encode, encode_here, split
from infra.deliver.errors import BadAudio, DeliverError, Refused
from infra.deliver.loudness import measure
from infra.deliver.profiles import load_profiles
from infra.deliver.video import Drawn
from infra.deliver.work import shape_of
from infra.media.errors import EncodeError
from tests.post.deliveries import AAC, H264, TOOLS, grey_film, greys, job_of, lumas, made_of, profile, tone

CODECS = ("mp4", "hevc", "av1", "prores-hq", "prores-4444", "ffv1")
PCM = {"encoder": "pcm_s24le"}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grey_film(tmp_path_factory.mktemp("film") / "take.mp4")


@pytest.mark.parametrize("name", CODECS)
def test_every_frame_comes_out_once_and_in_order(name: str, film: Path, tmp_path: Path) -> None:
    made = made_of(job_of(film, load_profiles()[name]), tmp_path)
    assert lumas(made.files[0]) == pytest.approx(lumas(film), abs=3)
    assert made.told["probe"]["frames"] == 24
    assert made.told.get("lossless", False) == (name == "ffv1")


def test_dnxhr_wants_a_larger_picture_than_this(film: Path, tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match="at least 256x120"):
        made_of(job_of(film, load_profiles()["dnxhr-hqx"]), tmp_path)
    large = grey_film(tmp_path / "large.mp4", frames=4, size=(256, 144))
    made = made_of(job_of(large, load_profiles()["dnxhr-hqx"], name="large"), tmp_path)
    assert made.told["probe"]["profile"] == "DNXHR HQX"


def test_chunks_join_to_the_same_frames_in_the_same_order(tmp_path: Path) -> None:
    film = grey_film(tmp_path / "long.mp4", frames=45, fps=23.976)
    whole = made_of(job_of(film, profile(), name="whole"), tmp_path)
    job = job_of(film, profile(), name="parts", workers=2, chunk_s=0.5, audio=tone(tmp_path / "a.wav"))
    job = job_of(film, profile(audio=AAC), name="parts", workers=2, chunk_s=0.5, audio=tone(tmp_path / "a.wav"))
    parts = split(job, shape_of(job.source.film, job.profile))
    assert parts == [(0, 12), (12, 24), (24, 36), (36, 45)]  # whole groups of 12 frames, then what is left
    joined = made_of(job, tmp_path)
    assert joined.told["chunks"] == 4
    for field in ("frames", "fps", "constant_rate", "keys", "seconds", "faststart"):
        assert joined.told["probe"][field] == whole.told["probe"][field]
    assert lumas(joined.files[0]) == pytest.approx(lumas(whole.files[0]), abs=1)
    assert lumas(joined.files[0]) == pytest.approx(lumas(film), abs=3)


def test_a_chunk_that_fails_leaves_no_film(tmp_path: Path, film: Path) -> None:
    job = job_of(film, profile(), workers=2, chunk_s=0.5)

    def broken(job: Any, parts: Any, folder: Path) -> list[Path]:
        files = encode_here(job, parts, folder)
        files[1].write_bytes(files[0].read_bytes()[:400])
        return files

    folder = tmp_path / "work"
    folder.mkdir()
    shape = shape_of(job.source.film, job.profile)
    with pytest.raises((EncodeError, Refused)):
        check_film(job, shape, encode(job, shape, Drawn(job, shape, folder), folder, chunks=broken))


def test_another_rate_is_interpolated_to_the_same_length(tmp_path: Path, film: Path) -> None:
    for fps, frames in ((24, 48), (25, 50), (8, 16)):
        made = made_of(job_of(film, profile(f"at-{fps}", frame={"fps": fps})), tmp_path)
        assert made.told["probe"]["frames"] == frames
        assert made.told["probe"]["fps"] == str(fps)
        assert made.told["rate"] == {"from": "12", "to": str(fps), "by": "motion interpolation"}


def test_a_picture_between_two_lies_between_them(tmp_path: Path) -> None:
    """A ramp of greys at twice the rate has the greys between: frames are made, not repeated."""
    from infra.media import encode_film

    ramp = np.empty((12, 64, 64, 3), np.uint8)
    ramp[:] = np.linspace(60, 170, 12).astype(np.uint8)[:, None, None, None]
    encode_film(ramp, tmp_path / "ramp.mp4", fps=12, preset="veryfast")
    found = lumas(made_of(job_of(tmp_path / "ramp.mp4", profile(frame={"fps": 24})), tmp_path).files[0])
    assert len(found) == 24
    assert (np.diff(found[:22]) > 1).all()


def test_head_and_tail_stand_frame_by_frame(tmp_path: Path, film: Path) -> None:
    wanted = profile(
        container="mov", timecode="09:59:58:00", audio=PCM | {"silence": True},
        head=[{"kind": "slate", "frames": 4}, {"kind": "black", "seconds": 0.25}],
        tail=[{"kind": "freeze", "frames": 5}, {"kind": "black", "frames": 2}],
    )  # fmt: skip
    fields = {"show": "s{\\b1}", "shot_id": "a':[0]", "take": 1}
    made = made_of(job_of(film, wanted, fields=fields), tmp_path)
    found, source = lumas(made.files[0]), lumas(film)
    assert len(found) == 4 + 3 + 24 + 5 + 2
    assert min(found[:4]) > 1  # the slate's letters
    assert max(found[4:7]) < 1 and max(found[-2:]) < 1
    assert found[7:31] == pytest.approx(source, abs=3)
    assert found[31:36] == pytest.approx([source[-1]] * 5, abs=3)
    assert made.told["probe"]["timecode"] == "09:59:58:00"
    assert made.told["probe"]["sound"]["seconds"] == pytest.approx(38 / 12, abs=0.01)
    assert made.told["loudness"]["integrated_lufs"] is None


@pytest.mark.parametrize(
    ("target", "peak", "audio", "container"),
    [(-23, -1, PCM, "mov"), (-24, -2, PCM, "mov"), (-14, -1, AAC, "mp4")],
    ids=["ebu", "us", "web"],
)
def test_sound_comes_out_at_its_loudness(
    target: float, peak: float, audio: dict[str, Any], container: str, tmp_path: Path, film: Path
) -> None:
    quiet = tone(tmp_path / "quiet.wav", seconds=1.4, level=0.02)  # shorter than the film, and far too quiet
    loud = {"target": target, "tolerance": 0.5, "true_peak": peak}
    made = made_of(job_of(film, profile(audio=audio, container=container, loudness=loud), audio=quiet), tmp_path)
    found = measure(made.files[0], TOOLS)
    assert found.integrated == pytest.approx(target, abs=0.5)
    assert found.true_peak <= peak + 0.1
    assert made.told["loudness"]["integrated_lufs"] == round(found.integrated, 2)
    assert made.told["probe"]["sound"]["seconds"] == pytest.approx(2.0, abs=0.05)


def test_sound_that_cannot_be_that_loud_is_refused(tmp_path: Path, film: Path) -> None:
    spiky = tone(tmp_path / "spiky.wav", level=0.004, burst=0.9)
    loud = {"target": -10, "tolerance": 0.5, "true_peak": -3}
    with pytest.raises((BadAudio, Refused), match=r"dBTP|LUFS"):
        made_of(job_of(film, profile(audio=PCM, container="mov", loudness=loud), audio=spiky), tmp_path)


def test_silence_has_no_loudness_to_be_held_to(tmp_path: Path, film: Path) -> None:
    silent = tone(tmp_path / "silent.wav", level=0.0)
    loud = {"target": -23, "true_peak": -1}
    made = made_of(job_of(film, profile(audio=PCM, container="mov", loudness=loud), audio=silent), tmp_path)
    assert made.told["loudness"]["integrated_lufs"] is None


@pytest.mark.parametrize(
    ("other", "field"),
    [
        ({"video": H264 | {"options": {"profile:v": "main"}, "profile": "Main"}}, "profile"),
        ({"video": H264 | {"gop_s": 1.0}}, "grid of key frames"),
        ({"video": H264 | {"pix_fmt": "yuv422p", "profile": "High 4:2:2", "options": {}}}, "pix_fmt"),
        ({"frame": {"width": 32, "height": 32}}, "width"),
        ({"frame": {"fps": 24}}, "fps"),
        ({"tail": [{"kind": "black", "frames": 1}]}, "frames"),
        ({"timecode": "01:00:00:00", "container": "mov"}, "timecode"),
        ({"audio": AAC | {"silence": True}}, "sound"),
        ({"audio": AAC | {"silence": True, "rate": 44_100}, "wants": {"audio": AAC | {"silence": True}}}, "samples"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_differs_from_its_profile_is_refused(
    other: dict[str, Any], field: str, tmp_path: Path, film: Path
) -> None:
    wants = other.pop("wants", {})
    if field == "timecode":
        other, wants = {"container": "mov"}, other
    differs, wanted = job_of(film, profile(**other)), job_of(film, profile(**wants))
    made = made_of(differs, tmp_path)
    with pytest.raises(Refused, match=field):
        check_film(wanted, shape_of(wanted.source.film, wanted.profile), made.files[0])


def test_lossless_means_every_bit_of_every_frame(tmp_path: Path, film: Path) -> None:
    wanted = load_profiles()["ffv1"]
    other = grey_film(tmp_path / "other.mp4", frames=24)
    made = made_of(job_of(film, wanted), tmp_path)
    shape = shape_of(job_of(other, wanted).source.film, wanted)
    check_film(job_of(other, wanted), shape, made.files[0])  # the same greys
    brighter = tmp_path / "brighter.mp4"
    from infra.media import encode_film

    pictures = np.empty((24, 48, 64, 3), np.uint8)
    pictures[:] = (np.array(greys(24), np.uint8) + 1)[:, None, None, None]
    encode_film(pictures, brighter, fps=12)
    with pytest.raises(Refused, match="frame 0"):
        check_film(job_of(brighter, wanted), shape, made.files[0])


def test_a_still_is_no_film(tmp_path: Path, film: Path) -> None:
    from dataclasses import replace

    job = job_of(film, profile())
    with pytest.raises(DeliverError, match="a still cannot be delivered as small"):
        made_of(replace(job, source=replace(job.source, look=None)), tmp_path)
    with pytest.raises(DeliverError, match="a film cannot be delivered as png"):
        made_of(job_of(film, load_profiles()["png"]), tmp_path)
