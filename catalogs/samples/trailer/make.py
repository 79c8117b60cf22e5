"""Makes the trailer's catalog, the same each time, and the sound that lies under the film.

python -m catalogs.samples.trailer.make [FOLDER]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalogs.samples.trailer import CATALOG, SECONDS, SHOW
from catalogs.samples.trailer.sound import bed, write_wav

# 24 frames a take at 8 a second. 160x90 is rendered and brought to 640x360: the film has two rungs of a ladder so.
_CLIP = {"width": 640, "height": 360, "upscale": 4.0, "fps": 8.0, "duration_s": 3.0, "takes": 3}
SHOTS: Sequence[Mapping[str, Any]] = (
    {"shot_id": "dawn", "prompt": "a small white circle moving right on a navy background", "sequence": "before"},
    {"shot_id": "hero", "prompt": "a large red circle moving right on a black background", "sequence": "before"},
    {"shot_id": "rival", "prompt": "a large blue square moving left on a gray background", "sequence": "city"},
    {"shot_id": "climb", "prompt": "a large yellow triangle moving up on a navy background", "sequence": "city"},
    {"shot_id": "fall", "prompt": "a large green square moving down on a gray background", "sequence": "city"},
    {"shot_id": "meeting", "prompt": "a large purple circle moving left on a black background", "sequence": "night"},
    {"shot_id": "flight", "prompt": "a large cyan triangle moving right on a navy background", "sequence": "night"},
    {"shot_id": "return", "prompt": "a large orange circle moving up on a black background", "sequence": "night"},
)
SCHEMA = pa.schema(
    [
        ("show", pa.string()), ("shot_id", pa.string()), ("sequence", pa.string()), ("prompt", pa.string()),
        ("width", pa.int32()), ("height", pa.int32()), ("upscale", pa.float32()), ("fps", pa.float32()),
        ("duration_s", pa.float32()), ("takes", pa.int32()),
    ]
)  # fmt: skip


def make(folder: Path) -> list[Path]:
    """Writes the catalog and the sound into a folder and returns their paths."""
    rows = [{"show": SHOW, **_CLIP, **shot} for shot in SHOTS]
    catalog, sound = folder / CATALOG.name, folder / "bed.wav"
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), catalog, compression="none")
    write_wav(sound, bed(SECONDS))
    return [catalog, sound]


if __name__ == "__main__":
    for path in make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()):
        print(path)
