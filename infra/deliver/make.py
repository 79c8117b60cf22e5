"""One deliverable, made and checked in a folder of this machine. What differs from its profile is never handed out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.deliver.captions import Captions
from infra.deliver.check import check_film
from infra.deliver.encode import EncodeChunks, encode, split
from infra.deliver.errors import DeliverError
from infra.deliver.ladder import make_ladder
from infra.deliver.sheets import make_picture, make_poster, make_sequence, make_sheet
from infra.deliver.video import Drawn
from infra.deliver.work import Job, Shape, shape_of


@dataclass(frozen=True)
class Made:
    """Files that lie below `folder`, the main one first, and what is known of them, for their record."""

    folder: Path
    files: Sequence[Path]
    told: dict[str, Any]


def make(job: Job, folder: Path, *, chunks: EncodeChunks | None = None) -> Made:
    """Make a deliverable below `folder`, which is empty.

    Raises:
        Refused: it differs from its profile. MediaError: it could not be made; nothing of it is worth keeping.
    """
    out, work = folder / "out", folder / "work"
    out.mkdir()
    work.mkdir()
    kind = job.profile.kind
    if job.source.look is None and not job.profile.takes_stills:
        raise DeliverError(f"a still cannot be delivered as {job.profile.name}: it has no frames to play")
    if job.source.look is not None and not job.profile.takes_films:
        raise DeliverError(f"a film cannot be delivered as {job.profile.name}, which is for stills")
    if kind == "picture":
        files, told = make_picture(job, out)
    elif kind == "poster":
        files, told = make_poster(job, out)
    elif kind in ("tiles", "sprite"):
        files, told = make_sheet(job, out)
    else:
        files, told = _with_shape(job, out, work, chunks)
    return Made(out, files, told | {"sizes": _sizes(job, told)})


def _with_shape(
    job: Job, out: Path, work: Path, chunks: EncodeChunks | None
) -> tuple[list[Path], dict[str, Any]]:  # fmt: skip
    shape = shape_of(job.source.film, job.profile)
    if job.profile.kind == "sequence":
        files, told = make_sequence(job, shape, out)
        return files, told
    if job.profile.kind == "ladder":
        own = out / job.name
        own.mkdir()
        told = make_ladder(job, shape, own)
        every = sorted(path for path in own.rglob("*") if path.is_file())
        return sorted(every, key=lambda path: path != own / "index.m3u8"), told
    return _film(job, shape, out, work, chunks)


def _film(
    job: Job, shape: Shape, out: Path, work: Path, chunks: EncodeChunks | None
) -> tuple[list[Path], dict[str, Any]]:  # fmt: skip
    drawn = Drawn(job, shape, work)
    encoded = encode(job, shape, drawn, work, chunks=chunks)
    told = check_film(job, shape, encoded)
    made = out / f"{job.name}.{job.profile.container}"
    encoded.replace(made)
    files = [made]
    for captions in job.captions if job.profile.captions in ("sidecar", "both") else ():
        files += _sidecars(captions, made.with_suffix(""), job, float(shape.head_s))
    if drawn.window is not None:
        told["reframe"] = drawn.window.told
    if shape.rate != job.source.film.fps:
        told["rate"] = {"from": str(job.source.film.fps), "to": str(shape.rate), "by": "motion interpolation"}
    if (parts := len(split(job, shape))) > 1:
        told["chunks"] = parts
    return files, told


def _sidecars(captions: Captions, stem: Path, job: Job, shift_s: float) -> list[Path]:
    """SRT and WebVTT beside the film; the locale is in the name, once."""
    name = stem.name
    if not name.endswith((f"_{captions.locale}", f".{captions.locale}")):
        name = f"{name}.{captions.locale}"
    srt, vtt = stem.with_name(f"{name}.srt"), stem.with_name(f"{name}.vtt")
    srt.write_text(captions.as_srt(shift_s=shift_s), encoding="utf-8")
    vtt.write_text(captions.as_vtt(shift_s=shift_s), encoding="utf-8")
    return [srt, vtt]


def _sizes(job: Job, told: dict[str, Any]) -> dict[str, Any]:
    """Both sizes, and what lies between them."""
    probe = told.get("probe", {})
    delivered = [probe["width"], probe["height"]] if "width" in probe else None
    source = list(job.source.size)
    scaled = delivered is not None and delivered != source and job.profile.kind == "film"
    return {"rendered": source, "delivered": delivered, "scaler": job.scaler if scaled else None}
