"""Makes the music video's catalog, the same each time, and its song.

python -m catalogs.samples.music_video.make [FOLDER]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalogs.samples.music_video import CATALOG, SECONDS, SHOW
from catalogs.samples.trailer.sound import bed, write_wav

TAKES = 7
# Small and short: 70 takes are rendered on a CPU in a few minutes.
_CLIP = {"width": 64, "height": 64, "fps": 8.0, "duration_s": 2.0, "steps": 12, "takes": TAKES}
SHOTS: Sequence[Mapping[str, Any]] = (
    {"shot_id": "intro", "prompt": "a small white circle moving right on a navy background", "sequence": "verse"},
    {"shot_id": "pulse", "prompt": "a large red circle moving up on a black background", "sequence": "verse"},
    {"shot_id": "drift", "prompt": "a large blue square moving left on a gray background", "sequence": "verse"},
    {"shot_id": "wait", "prompt": "a small green square moving down on a gray background", "sequence": "verse"},
    {"shot_id": "rise", "prompt": "a large yellow triangle moving up on a navy background", "sequence": "chorus"},
    {"shot_id": "clash", "prompt": "a large purple circle moving left on a black background", "sequence": "chorus"},
    {"shot_id": "spin", "prompt": "a large cyan triangle moving right on a navy background", "sequence": "chorus"},
    {"shot_id": "turn", "prompt": "a large orange square moving right on a navy background", "sequence": "bridge"},
    {"shot_id": "echo", "prompt": "a small red circle moving left on a black background", "sequence": "bridge"},
    {"shot_id": "last", "prompt": "a large white circle moving down on a black background", "sequence": "bridge"},
)
SCHEMA = pa.schema(
    [
        ("show", pa.string()), ("shot_id", pa.string()), ("sequence", pa.string()), ("prompt", pa.string()),
        ("width", pa.int32()), ("height", pa.int32()), ("fps", pa.float32()), ("duration_s", pa.float32()),
        ("steps", pa.int32()), ("takes", pa.int32()),
    ]
)  # fmt: skip


def make(folder: Path) -> list[Path]:
    """Writes the catalog and the song into a folder and returns their paths."""
    catalog, sound = folder / CATALOG.name, folder / "song.wav"
    pq.write_table(pa.Table.from_pylist([{"show": SHOW, **_CLIP, **shot} for shot in SHOTS], SCHEMA), catalog,
                   compression="none")  # fmt: skip
    write_wav(sound, bed(SECONDS))
    return [catalog, sound]


if __name__ == "__main__":
    for path in make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()):
        print(path)
