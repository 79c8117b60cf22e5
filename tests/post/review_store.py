"""Stores for tests of the review: planned as a catalog is, with one tiny film for every take, and no farm."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flows.planned import Planned
from flows.verbs.plan import make_plan
from infra.media import encode_film, poster
from infra.settings import Settings
from infra.store import layout
from tests.flows.command_samples import json_model

FRAMES = 12


def frames() -> np.ndarray:
    """A square that moves right."""
    made = np.zeros((FRAMES, 48, 64, 3), np.uint8)
    for number in range(FRAMES):
        made[number, 10:30, 4 * number : 4 * number + 20] = (230, 60, 60)
    return made


def rows(shots: int, takes: int = 3, **columns: Any) -> list[dict[str, Any]]:
    """Rows of a catalog: scenes of four shots each, and a tag."""
    return [
        {
            "shot_id": f"shot-{number:03d}",
            "prompt": f"a red square moving right, number {number}",
            "takes": takes,
            "scene": f"scene-{number // 4}",
            "tags": [("mood", "calm" if number % 2 else "loud")],
            **columns,
        }
        for number in range(shots)
    ]


def review_store(
    folder: Path, catalog_rows: Sequence[Mapping[str, Any]], *, job: str = "job", steps: int | None = None
) -> Planned:
    """A store with a planned job, of which nothing is rendered; `make_takes` makes its films."""
    model = folder / f"model-{job}"
    json_model(model)
    if steps is not None:
        path = model / "rushes.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"steps": steps}))
    catalog = folder / f"{job}.parquet"
    schema = pa.schema(
        {
            "shot_id": pa.string(), "prompt": pa.string(), "takes": pa.int32(), "scene": pa.string(),
            "tags": pa.map_(pa.string(), pa.string()), "show": pa.string(),
        }
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist([{"show": "default", **row} for row in catalog_rows], schema=schema), catalog)
    planned = make_plan(str(catalog), str(folder / "store"), Settings(), model=str(model), job=job)
    assert not planned.plan.refused, planned.plan.refused
    planned.store.probe()
    planned.put()
    return planned


def make_takes(
    planned: Planned, takes: Iterable[Mapping[str, Any]] | None = None, *, gpu_s: float = 1.5, posters: bool = True
) -> list[dict[str, Any]]:
    """Commits takes with the same film each, written by hand: a thousand in a moment. Returns the commits."""
    root = Path(planned.store.url.removeprefix("file://"))
    film = root.parent / "film.mp4"
    if not film.exists():
        encode_film(frames(), film, fps=12)
    data, picture = film.read_bytes(), poster(frames())
    sha256 = hashlib.sha256(data).hexdigest()
    made = []
    for number, row in enumerate(planned.plan.takes.to_pylist() if takes is None else takes):
        path = layout.media_path(row["show"], row["shot_id"], row["revision"], row["take"], sha256)
        commit = {
            "format": 1,
            **{name: row[name] for name in ("spec_key", "picture_key", "show", "shot_id", "revision", "take", "seed")},
            "media": {
                "path": path, "sha256": sha256, "bytes": len(data), "width": 64, "height": 48, "frames": FRAMES,
                "fps": 12.0,
            },
            "gang": 1, "layout": "", "attempt": 1, "gpu_s": gpu_s, "owner": "test", "epoch": 1,
            "times": {"committed": datetime.now(UTC).isoformat()},
            "notes": {
                "quality": {
                    "score": (number * 37 % 100) / 100,
                    "verdict": "retry" if number % 2 else "pass",
                    "reasons": ["flicker"] if number % 2 else [],
                    "measures": {"flicker": 0.5 * (number % 2)},
                }
            },
        }  # fmt: skip
        _put(root / path, film)
        if posters:
            (root / layout.poster_path(row["spec_key"])).parent.mkdir(parents=True, exist_ok=True)
            (root / layout.poster_path(row["spec_key"])).write_bytes(picture)
        target = root / layout.commit_path(row["spec_key"])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(commit))
        made.append(commit)
    return made


def _put(path: Path, film: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        os.link(film, path)
