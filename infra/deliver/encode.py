"""A film of one file: pictures and sound encoded, in one go or in chunks that are joined without loss of a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import ffmpeg as graph

from infra.deliver.loudness import encoded, prepare, silence
from infra.deliver.tool import encoder_of
from infra.deliver.video import Drawn, encoder_options, pictures, upscaled
from infra.deliver.work import Job, Shape, shape_of

_INDEX_FIRST: Final = ("mp4", "mov")
_MUXERS: Final = {"mp4": "mp4", "mov": "mov", "mkv": "matroska", "mxf": "mxf"}

Chunks = Sequence[tuple[int, int]]
EncodeChunks = Callable[[Job, Chunks, Path], list[Path]]
"""Encodes these frames of a job into files of a folder, in order. The one place where they run: here, or on Ray."""


def encode(job: Job, shape: Shape, drawn: Drawn, folder: Path, *, chunks: EncodeChunks | None = None) -> Path:
    """Make the film in `folder`; returns its path. EncodeError, BadAudio.

    chunks: who encodes chunks; by default threads of this process, as many as `job.workers`.
    """
    made = folder / f"film.{job.profile.container}"
    sound = sound_of(job, shape, folder)
    parts = split(job, shape)
    source = scaled_source(job, shape, drawn, folder)
    if len(parts) > 1 and source is None:
        files = (chunks or encode_here)(replace(job, window=drawn.window), parts, folder)
        join(files, parts, made, job, shape, sound)
    else:
        _run(job, shape, pictures(drawn, source=source), made, sound)
    return made


def split(job: Job, shape: Shape) -> list[tuple[int, int]]:
    """Frames of each chunk, [start, end); each but the last a whole number of groups.

    One chunk where the film is short, or where frames depend on those far away (another rate, head, tail).
    """
    whole = [(0, shape.programme)]
    video, profile = job.profile.video, job.profile
    if video is None or profile.container == "mxf" or shape.programme != shape.frames:
        return whole
    if shape.rate != job.source.film.fps or job.workers < 2:
        return whole
    group = video.gop(shape.rate) or 1
    length = max(1, round(Fraction(job.chunk_s) * shape.rate / group)) * group
    return [(start, min(start + length, shape.programme)) for start in range(0, shape.programme, length)]


def encode_here(job: Job, parts: Chunks, folder: Path) -> list[Path]:
    """Chunks by threads of this process, each with an ffmpeg of its own."""
    with ThreadPoolExecutor(job.workers, thread_name_prefix="rushes-encode") as pool:
        return list(pool.map(lambda part: encode_chunk(job, part, folder), parts))


def encode_chunk(job: Job, part: tuple[int, int], folder: Path) -> Path:
    """One chunk, without sound, into `folder`. Can run anywhere where the job's source is at its path."""
    shape = shape_of(job.source.film, job.profile)
    own = folder / f"work-{part[0]:08d}"
    own.mkdir(exist_ok=True)
    made = folder / f"chunk-{part[0]:08d}.{job.profile.container}"
    short = replace(shape, programme=part[1] - part[0])
    _run(job, short, pictures(Drawn(job, shape, own), chunk=part), made, None)
    return made


def join(files: Sequence[Path], parts: Chunks, made: Path, job: Job, shape: Shape, sound: Path | None) -> None:
    """The chunks in one film, without encoding them again; each begins at exactly its first frame's time."""
    listed = made.with_name("chunks.ffconcat")
    lines = ["ffconcat version 1.0"]
    for file, (start, end) in zip(files, parts, strict=True):
        lines += [f"file {file.name}", f"duration {float((end - start) / shape.rate):.9f}"]
    listed.write_text("\n".join(lines) + "\n", encoding="ascii")
    video = graph.input(f"file:{listed}", f="concat", safe=1).video
    assert job.profile.video is not None
    tags = {key: value for key, value in job.profile.video.options.items() if key.startswith("tag")}
    options = {"c:v": "copy", "map_metadata": -1, "fflags": "+bitexact"} | tags
    if job.profile.container in _INDEX_FIRST:
        options["video_track_timescale"] = shape.rate.numerator * (1000 if shape.rate.denominator == 1 else 1)
    _mux(job, shape, video, made, sound, options)


def sound_of(job: Job, shape: Shape, folder: Path) -> Path | None:
    """The film's sound as a WAV of its exact length, at its loudness; None where it has none."""
    audio = job.profile.audio
    if audio is None or (job.source.audio is None and not audio.silence):
        return None
    wav = folder / "sound.wav"
    if job.source.audio is None:
        silence(wav, seconds=shape.seconds, audio=audio, tools=job.tools)
        return wav
    programme = shape.programme / shape.rate
    prepare(
        job.source.audio, wav, seconds=programme, audio=audio, loudness=job.profile.loudness, tools=job.tools
    )  # fmt: skip
    if shape.programme == shape.frames:
        return wav
    whole = folder / "sound-whole.wav"
    delay = round(shape.head_s * 1000)
    stream = graph.input(f"file:{wav}").audio
    if delay:
        stream = stream.filter("adelay", f"{delay}", all=1)
    samples = round(shape.seconds * audio.rate)
    stream = stream.filter("apad", whole_len=samples).filter("atrim", end_sample=samples)
    job.tools.run(stream.output(f"file:{whole}", **{"c:a": "pcm_f32le", "f": "wav"}))
    return whole


def scaled_source(job: Job, shape: Shape, drawn: Drawn, folder: Path) -> Path | None:
    """The film at its delivery size, made by the hook of the settings; None without one."""
    if not upscaled(job, shape):
        return None
    from infra.deliver.scaling import scale_film

    return scale_film(job, shape, drawn.window, folder)


def _run(job: Job, shape: Shape, video: Any, made: Path, sound: Path | None) -> None:
    profile = job.profile
    assert profile.video is not None
    encoder = encoder_of(profile, job.tools.program)
    assert encoder is not None
    _mux(job, shape, video, made, sound, encoder_options(encoder, profile.video, shape.rate))


def _mux(job: Job, shape: Shape, video: Any, made: Path, sound: Path | None, options: dict[str, Any]) -> None:
    profile, streams = job.profile, [video]
    options = options | {"f": _MUXERS[profile.container]}
    if profile.container in _INDEX_FIRST:
        options["movflags"] = "+faststart"
    if profile.timecode is not None:
        options["timecode"] = profile.timecode
    if sound is not None and profile.audio is not None:
        streams.append(graph.input(f"file:{sound}").audio)
        options |= encoded(profile.audio)
    width, height = shape.size
    job.tools.run(graph.output(*streams, f"file:{made}", **options), pixels=width * height * shape.frames)
