"""A model's facts, and catalogs written on the spot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Write = Callable[..., Path]


@pytest.fixture
def facts() -> dict[str, Any]:
    """A small model with a grid of 16 and limits that a test can reach."""
    return {
        "name": "tiny", "folder": "/models/tiny", "digest": "d" * 64, "tasks": ["t2v", "still", "i2v"],
        "width": 64, "height": 64, "frames": 17, "fps": 8, "steps": 30, "guidance_scale": 3.0, "negative_prompt": "",
        "grid": 16, "frame_stride": 4, "spatial_stride": 8, "patch": [1, 2, 2], "min_size": 32, "max_size": 512,
        "max_frames": 161, "max_tokens": 20_000, "layers": 6, "model_width": 192, "ffn_dim": 768, "picture_version": 1,
        "sampler": "euler shift=3", "precision": {"transformer": "float32", "autoencoder": "bfloat16"},
        "gpu_s_per_tflop": 20.0,
    }  # fmt: skip


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(shot_id=[..], prompt=[..], ..)` puts a Parquet catalog into tmp_path; missing prompts are filled in."""

    def put(name: str = "catalog.parquet", **columns: Any) -> Path:
        arrays: Mapping[str, Any] = {name: pa.array(values) for name, values in columns.items()}
        rows = max(len(array) for array in arrays.values())
        defaults = {"shot_id": [f"shot-{row}" for row in range(rows)], "prompt": ["a red circle"] * rows}
        pq.write_table(pa.table({**defaults, **arrays}), tmp_path / name)
        return tmp_path / name

    return put
