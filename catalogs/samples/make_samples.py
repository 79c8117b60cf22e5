"""Makes the sample catalogs and the pictures and films they refer to, the same each time.

python -m catalogs.samples.make_samples [FOLDER]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catalogs.samples import FOLDER
from catalogs.samples.pictures import animation, pair, png, square, travelling

IMAGE = "images/blue-square.png"
LAST_IMAGE = "images/blue-square-right.png"
PAIR, RIGHT_HALF = "images/square-and-circle.png", "images/right-half.png"
FILM, LATER_FILM = "films/red-circle.apng", "films/red-circle-later.apng"
BEHIND, CIRCLE = "films/not-the-circle.apng", "films/the-circle.apng"
_CLIP = {"fps": 8.0, "duration_s": 2.125}  # 17 frames
_SQUARE = {"width": 128, "height": 128, **_CLIP}
_WIDE = {"width": 160, "height": 96, **_CLIP}

# What the shipped model knows: one shape of one colour and size, on a plain background, moving one way.
DEMO_SHOTS: Sequence[Mapping[str, Any]] = (
    {"shot_id": "red-circle", "prompt": "a large red circle moving right on a black background", **_SQUARE, "takes": 3},
    {"shot_id": "yellow-triangle", "prompt": "a large yellow triangle moving up on a navy background", **_SQUARE},
    {"shot_id": "green-square", "prompt": "a small green square moving down left on a gray background", **_SQUARE},
    {"shot_id": "white-circle", "prompt": "a small white circle standing still on a pink background", **_SQUARE},
    {"shot_id": "purple-circle-wide", "prompt": "a large purple circle moving left on a black background", **_WIDE},
    {"shot_id": "cyan-triangle-wide", "prompt": "a large cyan triangle moving right on a navy background", **_WIDE},
    {
        "shot_id": "orange-square-still",
        "prompt": "a large orange square on a navy background",
        "task": "still",
        "width": 128,
        "height": 128,
    },
    {
        "shot_id": "blue-square-from-image",
        "prompt": "a large blue square moving right on a gray background",
        "task": "i2v",
        "image_uri": IMAGE,
        **_SQUARE,
    },
)
DEMO_SCHEMA = pa.schema(
    [
        ("show", pa.string()), ("shot_id", pa.string()), ("prompt", pa.string()), ("task", pa.string()),
        ("width", pa.int32()), ("height", pa.int32()), ("fps", pa.float32()), ("duration_s", pa.float32()),
        ("takes", pa.int32()), ("image_uri", pa.string()),
    ]
)  # fmt: skip

_RED = "a large red circle moving right on a black background"
_BLUE = "a large blue square moving right on a gray background"
_BESIDE = "on the left and a large red circle moving down on the right"
# A row of every task. Pictures and films are 128x128; a film may be of any kind that FFmpeg decodes.
TASK_SHOTS: Sequence[Mapping[str, Any]] = (
    {"shot_id": "t2v", "prompt": _RED},
    {"shot_id": "still", "prompt": "a large orange square on a navy background", "task": "still"},
    {"shot_id": "i2v", "prompt": _BLUE, "task": "i2v", "image_uri": IMAGE},
    {"shot_id": "flf2v", "prompt": _BLUE, "task": "flf2v", "image_uri": IMAGE, "last_image_uri": LAST_IMAGE},
    {"shot_id": "extend", "prompt": _RED, "task": "extend", "video_uri": FILM},
    {"shot_id": "extend-back", "prompt": _RED, "task": "extend_back", "video_uri": LATER_FILM},
    {"shot_id": "connect", "prompt": _RED, "task": "connect", "video_uri": FILM, "last_image_uri": LATER_FILM},
    {"shot_id": "infill", "prompt": _RED, "task": "infill", "video_uri": FILM, "keep_frames": "0-4, 13-16"},
    {"shot_id": "loop", "prompt": "a large cyan triangle standing still on a navy background", "task": "loop"},
    {
        "shot_id": "v2v",
        "prompt": "a large green circle moving right on a black background",
        "task": "v2v",
        "video_uri": FILM,
        "strength": 0.8,
    },
    {
        "shot_id": "edit-background",
        "prompt": "a large red circle moving right on a pink background",
        "task": "edit",
        "video_uri": FILM,
        "mask_uri": BEHIND,
    },
    {
        "shot_id": "edit-subject",
        "prompt": "a large blue circle moving right on a black background",
        "task": "edit",
        "video_uri": FILM,
        "mask_uri": CIRCLE,
    },
    {
        "shot_id": "edit-region",
        "prompt": f"a large blue square {_BESIDE} on a gray background",
        "task": "edit",
        "image_uri": PAIR,
        "mask_uri": RIGHT_HALF,
    },
)
TASK_SCHEMA = pa.schema(
    [
        ("show", pa.string()), ("shot_id", pa.string()), ("prompt", pa.string()), ("task", pa.string()),
        ("width", pa.int32()), ("height", pa.int32()), ("fps", pa.float32()), ("duration_s", pa.float32()),
        ("image_uri", pa.string()), ("last_image_uri", pa.string()), ("video_uri", pa.string()),
        ("mask_uri", pa.string()), ("strength", pa.float32()), ("keep_frames", pa.string()),
    ]
)  # fmt: skip

_GOOD = "a small red circle moving left on a black background"
BAD_SHOTS: Sequence[Mapping[str, Any]] = (
    {"shot_id": "good", "prompt": _GOOD},
    {"shot_id": "../escape", "prompt": _GOOD},
    {"shot_id": "no-prompt", "prompt": None},
    {"shot_id": "blank-prompt", "prompt": "  \n "},
    {"shot_id": "odd-width", "prompt": _GOOD, "width": 63},
    {"shot_id": "absurd-height", "prompt": _GOOD, "height": 1_000_000},
    {"shot_id": "good", "prompt": "a large blue square moving up on a gray background"},
    {"shot_id": "backwards", "prompt": _GOOD, "duration_s": -1.0},
    {"shot_id": "no-rate", "prompt": _GOOD, "fps": float("nan")},
    {"shot_id": "seeds-past-64-bits", "prompt": _GOOD, "seed": 2**63 - 1, "takes": 2},
    {"shot_id": "no-takes", "prompt": _GOOD, "takes": 0},
    {"shot_id": "unknown-task", "prompt": _GOOD, "task": "t2x"},
    {"shot_id": "no-last-image", "prompt": _GOOD, "task": "flf2v", "image_uri": IMAGE},
    {"shot_id": "no-image", "prompt": _GOOD, "task": "i2v"},
    {"shot_id": "private-file", "prompt": _GOOD, "task": "i2v", "image_uri": "file:///etc/passwd"},
    {"shot_id": "metadata", "prompt": _GOOD, "task": "i2v", "image_uri": "http://169.254.169.254/latest/meta-data/"},
    {"shot_id": "chained", "prompt": _GOOD, "task": "i2v", "image_uri": "zip://a.png::https://example.com/a.zip"},
    {"shot_id": "forgotten-task", "prompt": _GOOD, "image_uri": IMAGE},
    {"shot_id": "unknown-profile", "prompt": _GOOD, "deliver": ["betamax"]},
    {"shot_id": "also-good", "prompt": _GOOD, "takes": 2},
)
BAD_SCHEMA = pa.schema(
    [
        ("shot_id", pa.string()), ("prompt", pa.string()), ("task", pa.string()), ("width", pa.int64()),
        ("height", pa.int64()), ("fps", pa.float64()), ("duration_s", pa.float64()), ("seed", pa.int64()),
        ("takes", pa.int64()), ("image_uri", pa.string()), ("deliver", pa.list_(pa.string())),
    ]
)  # fmt: skip


def make(folder: Path) -> list[Path]:
    """Writes the samples into a folder and returns their paths."""
    tables = {
        "demo.parquet": pa.Table.from_pylist([{"show": "demo", **shot} for shot in DEMO_SHOTS], DEMO_SCHEMA),
        "tasks.parquet": pa.Table.from_pylist(
            [{"show": "tasks", **_SQUARE, **shot} for shot in TASK_SHOTS], TASK_SCHEMA
        ),
        "bad_rows.parquet": pa.Table.from_pylist([dict(shot) for shot in BAD_SHOTS], BAD_SCHEMA),
    }
    inputs = sample_inputs()
    for name, data in inputs.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    for name, table in tables.items():
        pq.write_table(table, folder / name, compression="none")
    return [folder / name for name in (*inputs, *tables)]


def sample_inputs() -> dict[str, bytes]:
    """The pictures and films that the catalogs refer to, by their paths beside them."""
    half = np.zeros((128, 128, 3), np.uint8)
    half[:, 64:] = 255
    film = travelling(17)
    return {
        IMAGE: png(square(0.3)),
        LAST_IMAGE: png(square(0.7)),
        PAIR: png(pair()),
        RIGHT_HALF: png(half),
        FILM: animation(film, fps=8),
        LATER_FILM: animation(travelling(17, first=0.55), fps=8),
        BEHIND: animation(_white(film[..., 0] <= 100), fps=8),
        CIRCLE: animation(_white(travelling(17, across=0.42)[..., 0] > 100), fps=8),
    }


def _white(where: np.ndarray) -> np.ndarray:
    """A mask film (frames, h, w, 3), uint8, white where `where` (frames, h, w) says so."""
    return np.where(where[..., None], 255, 0).astype(np.uint8).repeat(3, axis=3)


if __name__ == "__main__":
    for path in make(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER):
        print(path)
