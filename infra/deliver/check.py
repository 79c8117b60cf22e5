"""A finished film against its profile: everything that was promised is looked up in the file, nothing is believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np

from infra.deliver.errors import Refused
from infra.deliver.look import Look, look
from infra.deliver.loudness import Measured, measure
from infra.deliver.profiles import Profile, Video
from infra.deliver.work import Job, Shape

_RGB: Final = ("rgb24", "rgb48be")
# An AAC decoder gives whole blocks, which may end up to one after the film.
_SOUND_S: Final = 0.05
_PEAK_DB: Final = 0.1  # two meters of true peak differ by so much
_INDEX_FIRST: Final = ("mp4", "mov")


def check_film(job: Job, shape: Shape, film: Path) -> dict[str, Any]:
    """What the film is, for its record. Refused names the first thing that differs from profile and shape."""
    found = look(film)
    profile = job.profile
    assert profile.video is not None
    compare(found, wanted(profile.video, profile, shape))
    check_grid(found, profile.video, shape.rate)
    told: dict[str, Any] = {"probe": found.as_dict()}
    told |= check_sound(job, shape, found, film)
    if profile.video.lossless:
        check_lossless(job, shape, film)
        told["lossless"] = True
    return told


def wanted(video: Video, profile: Profile, shape: Shape) -> dict[str, Any]:
    """Fields of a look that have one right value."""
    width, height = shape.size
    values: dict[str, Any] = {
        "codec": video.codec, "pix_fmt": video.decoded or video.pix_fmt, "width": width, "height": height,
        "sar": Fraction(1), "fps": shape.rate, "frames": shape.frames, "constant_rate": True,
    }  # fmt: skip
    if video.profile is not None:
        values["profile"] = video.profile
    if video.pix_fmt not in _RGB:
        values |= {"primaries": "bt709", "transfer": "bt709", "matrix": "bt709", "range": "limited"}
    if profile.container in _INDEX_FIRST:
        values["faststart"] = True
    if profile.timecode is not None:
        values["timecode"] = profile.timecode
    if (tag := video.options.get("tag:v")) is not None:
        values["tag"] = tag
    return values


def compare(found: Look, values: Mapping[str, Any]) -> None:
    """Refused for the first field that differs."""
    for field, value in values.items():
        if getattr(found, field) != value:
            raise Refused(field, getattr(found, field), value)
    seconds = float(found.frames / found.fps)
    if abs(found.seconds - seconds) > 0.5 / float(found.fps):
        raise Refused("duration", f"{found.seconds:.3f} s", f"{seconds:.3f} s")


def check_grid(found: Look, video: Video, rate: Fraction) -> None:
    """Key frames stand where the grid says, and nowhere else."""
    gop = video.gop(rate)
    if gop is None:
        return
    grid = tuple(range(0, found.frames, gop))
    if found.keys != grid:
        odd = sorted(set(found.keys) ^ set(grid))
        raise Refused("grid of key frames", f"different at frame {odd[0]}", f"a key frame every {gop} frames")


def check_sound(job: Job, shape: Shape, found: Look, film: Path) -> dict[str, Any]:
    """Sound is there, or not, as it should be; its codec, rate, channels, length, and its loudness."""
    audio = job.profile.audio
    if audio is None or (job.source.audio is None and not audio.silence):
        if found.sound is not None:
            raise Refused("sound", found.sound.codec, "none")
        return {}
    sound = found.sound
    if sound is None:
        raise Refused("sound", "none", audio.encoder)
    for field, has, asked in (
        ("codec of the sound", sound.codec, audio.encoder), ("samples a second", sound.rate, audio.rate),
        ("channels", sound.channels, audio.channels),
    ):  # fmt: skip
        if has != asked:
            raise Refused(field, has, asked)
    if abs(sound.seconds - float(shape.seconds)) > _SOUND_S:
        raise Refused("length of the sound", f"{sound.seconds:.3f} s", f"{float(shape.seconds):.3f} s")
    return {"loudness": check_loudness(job, shape, film)}


def check_loudness(job: Job, shape: Shape, film: Path) -> dict[str, Any]:
    """Measured in the finished file, and compared where the profile asks for something and something is heard.

    Of the programme alone: silence before and after it would weigh in at its edges.
    """
    profile, heard = job.profile, job.source.audio is not None
    part = {} if shape.programme == shape.frames else {"seconds": shape.programme / shape.rate, "start": shape.head_s}
    found = measure(film, job.tools, **part)
    asked = profile.loudness
    if asked is not None and heard and not found.silent:
        _compare_loudness(found, asked.target, asked.tolerance, asked.true_peak)
    return found.as_dict()


def _compare_loudness(found: Measured, target: float, tolerance: float, peak: float) -> None:
    if not math.isfinite(found.integrated) or abs(found.integrated - target) > tolerance:
        raise Refused("loudness", f"{found.integrated:.1f} LUFS", f"{target:g} ±{tolerance:g} LUFS")
    if found.true_peak > peak + _PEAK_DB:
        raise Refused("true peak", f"{found.true_peak:.1f} dBTP", f"at most {peak:g} dBTP")


def check_lossless(job: Job, shape: Shape, film: Path) -> None:
    """Every decoded frame is the source's, bit by bit. Refused where size, rate or pixel format had to change."""
    source = job.source.film
    if shape.size != (source.width, source.height) or shape.frames != source.frames:
        raise Refused("lossless", "another size or length than the source's", "the source's own frames")
    with av.open(str(job.source.path)) as ours, av.open(str(film)) as theirs:
        pairs = zip(ours.decode(video=0), theirs.decode(video=0), strict=True)
        for number, (one, other) in enumerate(pairs):
            same = one.format.name == other.format.name and np.array_equal(one.to_ndarray(), other.to_ndarray())
            if not same:
                raise Refused(f"frame {number}", "another picture", "the source's, bit by bit")
