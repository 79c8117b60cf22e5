"""Films whose frames can be told apart, sounds of a known level, and profiles small enough to try everything with."""

from __future__ import annotations

import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from infra.deliver.captions import Captions
from infra.deliver.drawing import Font
from infra.deliver.look import look
from infra.deliver.make import Made, make
from infra.deliver.profiles import Profile
from infra.deliver.tool import Tools
from infra.deliver.work import Job, Source
from infra.media import encode_film

TOOLS = Tools(start_s=120)
FONT = Font.load(None)
H264 = {
    "encoders": ["libx264"], "codec": "h264", "profile": "High", "pix_fmt": "yuv420p", "gop_s": 0.5,
    "options": {"profile:v": "high", "preset": "veryfast", "crf": 10, "threads": 2},
}  # fmt: skip
AAC = {"encoder": "aac", "bitrate_k": 192}


def profile(name: str = "small", **more: Any) -> Profile:
    """An H.264 profile with a key frame each half second, and what is given in place of it."""
    return Profile(**{"name": name, "description": "for tests", "container": "mp4", "video": H264} | more)


def greys(frames: int) -> list[int]:
    """A level for each frame, far enough from its neighbours' to be told after an encode."""
    return [40 + (number * 37) % 180 for number in range(frames)]


def grey_film(path: Path, frames: int = 24, size: tuple[int, int] = (64, 48), fps: float = 12) -> Path:
    """A film whose frames are plain greys, each told from the others."""
    width, height = size
    pictures = np.empty((frames, height, width, 3), np.uint8)
    pictures[:] = np.array(greys(frames), np.uint8)[:, None, None, None]
    encode_film(pictures, path, fps=fps, preset="veryfast")
    return path


def square_film(path: Path, frames: int = 24, size: tuple[int, int] = (128, 64), fps: float = 12) -> Path:
    """A bright square that goes from the left edge to the right one, on dark grey."""
    width, height = size
    side = height // 4
    pictures = np.full((frames, height, width, 3), 30, np.uint8)
    for number in range(frames):
        x = round((width - side) * number / (frames - 1))
        pictures[number, height // 2 : height // 2 + side, x : x + side] = (230, 60, 60)
    encode_film(pictures, path, fps=fps, preset="veryfast")
    return path


def tone(path: Path, seconds: float = 2.0, level: float = 0.1, burst: float = 0.0) -> Path:
    """A stereo WAV of 1 kHz at this level of full scale; with short bursts of another level each second."""
    rate = 48_000
    at = np.arange(round(seconds * rate)) / rate
    loud = np.where((at % 1.0) < 0.004, max(burst, level), level)
    samples = (np.sin(2 * np.pi * 1000 * at) * loud * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat(samples, 2).tobytes())
    return path


def job_of(
    film: Path, wanted: Profile, *, name: str = "made", audio: Path | None = None, captions: Sequence[Captions] = (),
    fields: Mapping[str, Any] | None = None, **more: Any,
) -> Job:  # fmt: skip
    """A job for a film of this machine."""
    found = look(film)
    source = Source(film, found, fields or {"show": "s", "shot_id": "a"}, audio, (found.width, found.height))
    return Job(source, wanted, name, FONT, TOOLS, captions, **more)


def made_of(job: Job, folder: Path) -> Made:
    """The deliverable, in a new folder."""
    own = folder / f"{job.profile.name}-{job.name}"
    own.mkdir(parents=True)
    return make(job, own)


def lumas(film: Path | str, rows: slice = slice(None)) -> list[float]:
    """The mean brightness (0 to 255, as it is stored) of each frame, or of some of its rows."""
    with av.open(str(film)) as container:
        return [float(frame.to_ndarray(format="gray")[rows].mean()) for frame in container.decode(video=0)]
