"""A page of pictures from a job: a strip for each take, unedited, with its seed and command; failures are shown too.

    python -m flows.gallery STORE --job JOB --out FOLDER [--command "rushes render …"]

Writes `FOLDER/README.md` and one PNG a take. Nothing is chosen: every take of the job stands there, in the plan's
order, with frames at even distances from first to last.
"""

from __future__ import annotations

import argparse
import io
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flows.markdown import code, md
from infra.media import Unplayable
from infra.media.source import Source
from infra.store import Store, open_store
from infra.store.errors import NotFound, StoreError
from infra.store.jobs import list_jobs, list_quarantine, read_manifest

FRAMES = 8
_GAP = 2
_SHOWN = ("width", "height", "frames", "fps", "seed", "take")


def strip(frames: Sequence[NDArray[np.uint8]], *, height: int = 96) -> Image.Image:
    """Pictures (height, width, 3) side by side, each scaled to `height` pixels."""
    pictures = []
    for frame in frames:
        picture = Image.fromarray(frame)
        size = (max(1, round(picture.width * height / picture.height)), height)
        # Small pictures are enlarged in blocks: what was rendered is to be seen, not what a filter makes of it.
        enlarged = picture.height < height
        pictures.append(picture.resize(size, Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS))
    width = sum(picture.width + _GAP for picture in pictures) - _GAP
    page = Image.new("RGB", (width, height), "white")
    left = 0
    for picture in pictures:
        page.paste(picture, (left, 0))
        left += picture.width + _GAP
    return page


def evenly(count: int, most: int = FRAMES) -> list[int]:
    """Up to `most` numbers below `count` at even distances, first and last among them."""
    return sorted({round(index) for index in np.linspace(0, count - 1, min(count, most))})


def pictures_of(data: bytes, media: str) -> list[NDArray[np.uint8]]:
    """Frames of a film, or the one picture of a still."""
    if not media.endswith(".mp4"):
        with Image.open(io.BytesIO(data)) as still:
            return [np.asarray(still.convert("RGB"))]
    film = Source.open(data)
    return [np.asarray(frame) for frame in film.pictures(evenly(film.frames))]


def write_gallery(store: Store, job_id: str, folder: Path, made_by: Sequence[str] = ()) -> int:
    """Writes the page and its strips; returns how many takes have a film.

    Args:
        made_by: commands that are printed on the page.

    Raises:
        NotFound: no such job. StoreError: the store cannot be read.
    """
    rows = read_manifest(store, job_id).to_pylist()
    given_up = {
        (one["show"], one["shot_id"], one["take"]): one.get("message") for one in list_quarantine(store, job_id)
    }
    several = len({row["show"] for row in rows}) > 1
    folder.mkdir(parents=True, exist_ok=True)
    shown = 0
    lines = ["# Gallery", "", "Every take of one job, in the catalog's order, none chosen and none left out."]
    if made_by:
        lines += ["", *(f"    {line}" for line in made_by)]
    for row in rows:
        # A shot_id stands once in a show; shows that share one must not share its strip.
        shot = f"{row['show']}/{row['shot_id']}" if several else row["shot_id"]
        name = f"{shot.replace('/', '.')}-{row['take']:03d}"
        lines += ["", f"## {md(shot)}", "", *_told(row)]
        media = row.get("media_path")
        if row["state"] != "committed" or not media:
            why = given_up.get((row["show"], row["shot_id"], row["take"]))
            told = [row.get("error_class") or "not rendered", *([str(why)] if why else [])]
            lines += ["", f"**{row['state']}**: {md(': '.join(told))}"]
            continue
        try:
            pictures = pictures_of(store.read(media), media)
        except (NotFound, Unplayable, OSError) as error:
            lines += ["", f"**{row['state']}, but its film cannot be shown**: {md(f'{media}: {error}')}"]
            continue
        strip(pictures).save(folder / f"{name}.png", optimize=True)
        lines += ["", f"![{md(shot)}, take {row['take']}]({name}.png)"]
        shown += 1
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return shown


def _told(row: Mapping[str, Any]) -> list[str]:
    encoded = row.get("encoded_prompt")
    facts = ", ".join(f"{name} {_number(row[name])}" for name in _SHOWN if row.get(name) is not None)
    told = [f"{code(row['task'])} {md(row['prompt'])}"]
    if encoded and encoded != row["prompt"]:
        told.append(f"as encoded: {md(encoded)}")
    return [f"{line}  " for line in told] + [facts]


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit code 1 when a take of the job has no film, 2 when there is no such store or job."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.gallery", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", help="where the job's takes are: a folder or an fsspec URL")
    parser.add_argument("--job", required=True, help="whose takes; `rushes jobs STORE` lists them")
    parser.add_argument("--out", type=Path, required=True, help="the folder that page and strips are written to")
    parser.add_argument("--command", help="what rendered the job, to be printed on the page above this command")
    given = parser.parse_args(arguments)
    own = shlex.join(["python", "-m", "flows.gallery", given.store, "--job", given.job, "--out", str(given.out)])
    made_by = [given.command, own] if given.command else [own]
    try:
        store = open_store(given.store)
        total = read_manifest(store, given.job).num_rows
    except NotFound:
        print(
            f"no job {given.job} in {given.store}; there are: {', '.join(list_jobs(store)) or 'none'}", file=sys.stderr
        )
        return 2
    except (StoreError, ValueError) as error:
        print(f"{given.store}, job {given.job}: {error}", file=sys.stderr)
        return 2
    shown = write_gallery(store, given.job, given.out, made_by)
    print(f"{shown} of {total} takes in {given.out / 'README.md'}")
    return 0 if shown == total else 1


if __name__ == "__main__":
    sys.exit(main())
