"""Makes the sample catalogs and the image they refer to, the same bytes each time.

python -m catalogs.samples.make_samples [FOLDER]
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catalogs.samples import FOLDER

BLUE, GRAY = (50, 90, 220), (120, 120, 120)
IMAGE = "images/blue-square.png"
_CLIP = {"fps": 8.0, "duration_s": 2.125}  # 17 frames
_SQUARE = {"width": 64, "height": 64, **_CLIP}
_WIDE = {"width": 96, "height": 64, **_CLIP}

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
        "width": 64,
        "height": 64,
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
    {"shot_id": "negative-seed", "prompt": _GOOD, "seed": -1},
    {"shot_id": "no-takes", "prompt": _GOOD, "takes": 0},
    {"shot_id": "unknown-task", "prompt": _GOOD, "task": "t2x"},
    {"shot_id": "later-task", "prompt": _GOOD, "task": "loop"},
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


def blue_square(side: int = 64) -> np.ndarray:
    """A blue square on gray, left of the middle so that it has room to move right; (side, side, 3) uint8."""
    half, centre = 0.16 * side, (0.3 * side, 0.5 * side)
    x, y = np.meshgrid(np.arange(side) + 0.5 - centre[0], np.arange(side) + 0.5 - centre[1])
    cover = np.clip(half - np.maximum(np.abs(x), np.abs(y)) + 0.5, 0.0, 1.0)[..., None]
    return np.rint(np.asarray(GRAY) + cover * (np.asarray(BLUE) - np.asarray(GRAY))).astype(np.uint8)


def png(picture: np.ndarray) -> bytes:
    """A PNG file of an (h, w, 3) uint8 picture, not compressed, so that no library's version changes its bytes."""
    height, width, _ = picture.shape
    lines = b"".join(b"\0" + row.tobytes() for row in picture)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    stored = b"".join(
        struct.pack("<BHH", int(start + 0xFFFF >= len(lines)), len(block), len(block) ^ 0xFFFF) + block
        for start in range(0, len(lines), 0xFFFF)
        for block in [lines[start : start + 0xFFFF]]
    )
    body = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(lines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def make(folder: Path) -> list[Path]:
    """Writes the samples into a folder and returns their paths."""
    tables = {
        "demo.parquet": pa.Table.from_pylist([{"show": "demo", **shot} for shot in DEMO_SHOTS], DEMO_SCHEMA),
        "bad_rows.parquet": pa.Table.from_pylist([dict(shot) for shot in BAD_SHOTS], BAD_SCHEMA),
    }
    image = folder / IMAGE
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(png(blue_square()))
    for name, table in tables.items():
        pq.write_table(table, folder / name, compression="none")
    return [image, *(folder / name for name in tables)]


if __name__ == "__main__":
    for path in make(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER):
        print(path)
