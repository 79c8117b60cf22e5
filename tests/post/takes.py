"""Small films, and a store with a committed take in it, without a farm."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from infra.media import encode_film, encode_still
from infra.store import Store, open_store
from infra.store.commits import publish
from infra.store.jobs import put_plan

FRAMES, SIZE, FPS = 12, 64, 24


def moving_square(seed: int = 0, frames: int = FRAMES) -> np.ndarray:
    """A square that moves before a plain colour, (frames, height, width, 3)."""
    rng = np.random.default_rng(seed)
    made = np.empty((frames, SIZE, SIZE, 3), np.uint8)
    made[:] = rng.integers(0, 80, 3)
    colour = rng.integers(150, 255, 3)
    for number in range(frames):
        left = 4 + round(36 * number / frames)
        made[number, 20:40, left : left + 20] = colour
    return made


def film(path: Path, seed: int = 0) -> Path:
    encode_film(moving_square(seed), path, fps=FPS)
    return path


def row(shot_id: str, take: int = 1, **more: Any) -> dict[str, Any]:
    """A row of a plan."""
    key = hashlib.sha256(f"{shot_id}/{take}".encode()).hexdigest()
    return {
        "show": "spring", "shot_id": shot_id, "revision": "0a1b2c3d", "take": take, "seed": 40 + take, "spec_key": key,
        "picture_key": key, "task": "t2v", "prompt": f"a square named {shot_id}", "encoded_prompt": None,
        "negative_prompt": "blur", "steps": 4, "guidance_scale": 3.0, "image_uri": None, "image_sha256": None,
        "video_uri": None, "width": SIZE, "height": SIZE, "frames": FRAMES, "fps": float(FPS), "model": "shapes-128",
        **more,
    }  # fmt: skip


def store_with(folder: Path, rows: list[Mapping[str, Any]], job_id: str = "job") -> tuple[Store, list[dict[str, Any]]]:
    """A store in which these takes are committed, and their commits."""
    store = open_store(folder / "store")
    store.probe()
    origin = {"catalog": "shots.parquet", "model": "default", "options": {"model": "5" * 64, "sampler": "unipc"}}
    table = pa.Table.from_pylist([dict(found) for found in rows])
    put_plan(store, job_id, table.replace_schema_metadata({"rushes.origin": json.dumps(origin)}))
    commits = []
    for number, found in enumerate(rows):
        still = found["task"] == "still"
        local = folder / ("take.png" if still else "take.mp4")
        if still:
            encode_still(moving_square(number)[0], local)
        else:
            film(local, number)
        record = {name: found[name] for name in ("spec_key", "picture_key", "show", "shot_id", "revision", "take")}
        media = {"width": SIZE, "height": SIZE, "frames": 1 if still else FRAMES, "fps": None if still else float(FPS)}
        record |= {"seed": found["seed"], "media": media, "gang": 1, "layout": "single", "attempt": 1, "gpu_s": 1.0}
        record |= {"epoch": 1, "notes": {"job_id": job_id}}
        commits.append(publish(store, local=local, record=record, suffix=local.suffix).commit)
    return store, commits
