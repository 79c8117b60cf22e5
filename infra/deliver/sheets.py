"""Pictures of a film: poster, tile sheet, sprite with its WebVTT, and a PNG for each frame."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import av.error
from PIL import Image

from infra.deliver.encode import scaled_source
from infra.deliver.errors import DeliverError, Refused
from infra.deliver.profiles import Sheet
from infra.deliver.video import Drawn, encoder_options, pictures
from infra.deliver.work import Job, Shape, size_of
from infra.media.errors import Unplayable
from infra.media.probe import probe
from infra.media.source import Limits, Source

_QUALITY = 90


def make_picture(job: Job, folder: Path) -> tuple[list[Path], dict[str, Any]]:
    """A still as it is. Refused when it is no whole PNG."""
    made = folder / f"{job.name}.png"
    shutil.copyfile(job.source.path, made)
    facts = probe(made)
    if facts.codec != "png" or (facts.width, facts.height) != job.source.size:
        raise Refused("picture", f"{facts.codec} {facts.width}x{facts.height}", "the still as it was rendered")
    return [made], {"probe": {"codec": "png", "width": facts.width, "height": facts.height, "pix_fmt": facts.pix_fmt}}


def make_poster(job: Job, folder: Path) -> tuple[list[Path], dict[str, Any]]:
    """One frame, as a JPEG of the size that the profile asks for."""
    made = folder / f"{job.name}.jpg"
    size = size_of(job.source.size, job.profile)
    if job.source.look is None:
        with Image.open(job.source.path, formats=["PNG"]) as still:
            picture = still.convert("RGB")
    else:
        number = min(job.source.film.frames - 1, int(job.profile.at * job.source.film.frames))
        picture = next(_frames(job.source.path, [number]))
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    picture.save(made, "JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    return [made], {"probe": _check_jpeg(made, size)}


def make_sheet(job: Job, folder: Path) -> tuple[list[Path], dict[str, Any]]:
    """A tile sheet, or a sprite with its WebVTT: evenly spread frames, a fixed number in a row."""
    film, sheet = job.source.film, job.profile.sheet
    assert sheet is not None
    numbers = frames_of(sheet, film.frames, float(film.fps))
    tile = max(1, round(sheet.height * film.width / film.height)), sheet.height
    columns = min(sheet.columns, len(numbers))
    size = columns * tile[0], -(-len(numbers) // columns) * tile[1]
    if max(size) > 65_500:
        raise DeliverError(f"a sheet of {size[0]}x{size[1]} is too large for a JPEG: ask for fewer pictures (most)")
    whole = Image.new("RGB", size)
    for place, picture in enumerate(_frames(job.source.path, numbers)):
        small = picture.resize(tile, Image.Resampling.LANCZOS)
        whole.paste(small, (place % columns * tile[0], place // columns * tile[1]))
    made = folder / f"{job.name}.jpg"
    whole.save(made, "JPEG", quality=_QUALITY)
    told = {"probe": _check_jpeg(made, size), "tile": list(tile), "columns": columns, "tiles": len(numbers)}
    if job.profile.kind == "tiles":
        return [made], told
    vtt = folder / f"{job.name}.vtt"
    vtt.write_text(_sprite_vtt(made.name, numbers, columns, tile, film.frames, float(film.fps)), encoding="utf-8")
    return [made, vtt], told


def frames_of(sheet: Sheet, frames: int, fps: float) -> list[int]:
    """Numbers of the frames that a sheet shows: at most `most` of them, evenly spread."""
    step = 1.0 if sheet.every_s is None else max(1.0, sheet.every_s * fps)
    count = max(1, min(sheet.most, int((frames - 1) / step) + 1))
    if count == sheet.most:
        step = max(step, (frames - 1) / max(1, count - 1))
    return [min(frames - 1, round(number * step)) for number in range(count)]


def make_sequence(job: Job, shape: Shape, folder: Path) -> tuple[list[Path], dict[str, Any]]:
    """A PNG for each frame below a folder of the deliverable's name, numbered from 1. Refused where one is missing."""
    video = job.profile.video
    assert video is not None
    own = folder / job.name
    own.mkdir()
    options = encoder_options("png", video, shape.rate)
    pattern = str(own).replace("%", "%%") + "/%07d.png"
    drawn = Drawn(job, shape, folder.parent)
    width, height = shape.size
    source = scaled_source(job, shape, drawn, folder.parent)
    output = pictures(drawn, source=source).output(pattern, **options, f="image2", start_number=1)
    job.tools.run(output, pixels=width * height * shape.frames)
    files = sorted(own.iterdir())
    if [file.name for file in files] != [f"{number:07d}.png" for number in range(1, shape.frames + 1)]:
        raise Refused("pictures", len(files), shape.frames)
    for file in files:
        facts = probe(file)
        if (facts.width, facts.height, facts.pix_fmt) != (*shape.size, video.pix_fmt):
            found = f"{facts.width}x{facts.height} {facts.pix_fmt}"
            raise Refused(file.name, found, f"{width}x{height} {video.pix_fmt}")
    told = {"codec": "png", "width": width, "height": height, "frames": len(files), "pix_fmt": video.pix_fmt}
    return files, {"probe": told}


def _frames(film: Path, numbers: Sequence[int]) -> Iterator[Image.Image]:
    """These frames, RGB of full range, one after the other."""
    limits = Limits(frames=10**7, seconds=10**6)
    source = Source.open(film.read_bytes(), limits)
    for picture in source.pictures(numbers):
        yield Image.fromarray(picture)


def _check_jpeg(made: Path, size: tuple[int, int]) -> dict[str, Any]:
    try:
        with Image.open(made, formats=["JPEG"]) as picture:
            picture.load()
            found = picture.size
    except (OSError, av.error.FFmpegError) as error:
        raise Unplayable(made.name, str(error)) from error
    if found != size:
        raise Refused("size", f"{found[0]}x{found[1]}", f"{size[0]}x{size[1]}")
    return {"codec": "jpeg", "width": size[0], "height": size[1]}


def _sprite_vtt(name: str, numbers: Sequence[int], columns: int, tile: tuple[int, int], frames: int, fps: float) -> str:
    ends = [*numbers[1:], frames]
    cues = []
    for place, (number, end) in enumerate(zip(numbers, ends, strict=True)):
        x, y = place % columns * tile[0], place // columns * tile[1]
        cues.append(f"{_time(number / fps)} --> {_time(end / fps)}\n{name}#xywh={x},{y},{tile[0]},{tile[1]}")
    return "\n\n".join(["WEBVTT", *cues]) + "\n"


def _time(seconds: float) -> str:
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d}.{whole % 1000:03d}"
