"""The Arrow schema of a shot: every column of a catalog with its type, and the limits its values keep.

Nothing here reads or checks; `validate.py` applies these rules in the order in which the columns stand here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, NamedTuple

import pyarrow as pa

from catalogs.tasks import INPUTS
from catalogs.tasks import TASKS as TASK_TABLE

Kind = Literal["name", "text", "int", "float", "time", "list", "tags", "variants", "unbuilt"]
"""How a column is read: a name also takes whole numbers (1 becomes "1"), a text does not; unbuilt must be null."""

TIME: Final = pa.timestamp("us", tz="UTC")


class Column(NamedTuple):
    """One column of a catalog: its name, how its values are read, and the type that they are given."""

    name: str
    kind: Kind
    type: pa.DataType


# The order is the order of the rules: a row is refused for the first one that it breaks.
COLUMNS: Final[tuple[Column, ...]] = (
    Column("shot_id", "name", pa.string()),
    Column("prompt", "text", pa.string()),
    Column("negative_prompt", "text", pa.string()),
    Column("show", "name", pa.string()),
    Column("sequence", "name", pa.string()),
    Column("task", "text", pa.string()),
    Column("preset", "text", pa.string()),
    Column("width", "int", pa.int32()),
    Column("height", "int", pa.int32()),
    Column("upscale", "float", pa.float64()),
    Column("fps", "float", pa.float64()),
    Column("duration_s", "float", pa.float64()),
    Column("seed", "int", pa.int64()),
    Column("takes", "int", pa.int32()),
    Column("keep", "int", pa.int32()),
    Column("steps", "int", pa.int32()),
    Column("guidance_scale", "float", pa.float64()),
    Column("image_uri", "text", pa.string()),
    Column("last_image_uri", "text", pa.string()),
    Column("video_uri", "text", pa.string()),
    Column("mask_uri", "text", pa.string()),
    Column("depends_on", "name", pa.string()),
    Column("strength", "float", pa.float64()),
    Column("keep_frames", "text", pa.string()),
    Column("long_method", "text", pa.string()),
    Column("model", "text", pa.string()),
    Column("lora", "unbuilt", pa.list_(pa.struct([("uri", pa.string()), ("scale", pa.float64())]))),
    Column("scene", "name", pa.string()),
    Column("camera", "name", pa.string()),
    Column("identity", "name", pa.string()),
    Column(
        "variants",
        "variants",
        pa.struct(
            [
                ("aspect", pa.list_(pa.string())),
                ("duration_s", pa.list_(pa.float64())),
                ("locale", pa.list_(pa.string())),
                ("style", pa.list_(pa.string())),
            ]
        ),
    ),
    Column("priority", "int", pa.int32()),
    Column("deadline", "time", TIME),
    Column("not_before", "time", TIME),
    Column("deliver", "list", pa.list_(pa.string())),
    Column("budget_gpu_s", "float", pa.float64()),
    Column("tags", "tags", pa.map_(pa.string(), pa.string())),
)
BY_NAME: Final = {column.name: column for column in COLUMNS}
REQUIRED: Final = ("shot_id", "prompt")
URIS: Final = tuple(INPUTS)

VARIANT_COLUMNS: Final = {
    "parent": pa.string(),
    "variant": pa.string(),
    "locale": pa.string(),
    "variant.aspect": pa.float64(),
    "variant.style": pa.string(),
    "variant.picture": pa.string(),
}
"""Columns of rows that were made from a row with variants; null in any other row. parent: the shot_id of that row.
variant: what the row's own shot_id has beyond it. aspect: width over height. style: words for the prompt. picture: the
shot_id that the row would have without its locale; rows that share it share their pictures. The last three do not come
into the plan, and their names leave a catalog's own columns alone."""

SHOT_SCHEMA: Final = pa.schema(
    [("row", pa.int64()), *((column.name, column.type) for column in COLUMNS), *VARIANT_COLUMNS.items()]
)
"""The columns of `Batch.shots`; the catalog's unknown columns follow them."""

FOLDER_KEY: Final = b"rushes.folder"
"""Key in the metadata of `Batch.shots.schema`: the catalog's folder, so that a plan can tell inside from outside."""

# --- values ---------------------------------------------------------------------------------------------------------
DEFAULT_SHOW: Final = "default"
DEFAULT_TASK: Final = "t2v"
DEFAULT_DELIVER: Final = ("mp4",)
DEFAULT_MODEL: Final = "default"
"""In the column `model`: the model that the job is given, as null."""

TASKS: Final = tuple(TASK_TABLE)
_FILMS: Final = tuple(task for task in TASKS if task != "still")
# Delivery profile -> tasks that can be delivered so. `infra/deliver/profiles.toml` says what each one is.
PROFILES: Final[dict[str, tuple[str, ...]]] = {
    "mp4": TASKS,  # what every row has that names none; a still is then delivered as png
    **dict.fromkeys(
        (
            "hevc", "av1", "prores-hq", "prores-4444", "dnxhr-hqx", "ffv1", "png-sequence", "hls", "vertical", "square",
            "portrait-4x5", "mp4-24", "mp4-25", "mp4-30", "tiles", "sprite", "proxy", "broadcast-eu", "broadcast-uk",
            "broadcast-us",
        ),
        _FILMS,
    ),
    "poster": TASKS,
    "png": ("still",),
}  # fmt: skip
OWN_PROFILE: Final = "x-"
"""Profiles of a user's own file begin so where a catalog names them: which there are is known at delivery alone."""

NAME_PATTERN: Final = r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\z"
NAME_LEGAL: Final = "a letter or digit, then at most 127 of A-Z a-z 0-9 . _ -"
PROMPT_MAX: Final = 4000
CONTROL_PATTERN: Final = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
"""What no words that are encoded hold: control characters other than tab, new line and carriage return."""
SIZE_MIN, SIZE_MAX = 16, 8192
UPSCALE_MAX: Final = 16.0
FPS_MIN: Final = 0.001  # of what is written into films: a lower rate would come out as this one
FPS_MAX: Final = 240.0
DURATION_MAX_S: Final = 3600.0
FRAMES_MAX: Final = 100_000
TAKES_MAX: Final = 10_000
STEPS_MAX: Final = 1000
GUIDANCE_MAX: Final = 100.0
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
INT64_MAX: Final = 2**63 - 1
VALUE_SHOWN: Final = 200

# --- names that a catalog's unknown columns may not take ------------------------------------------------------------
PLAN_COLUMNS: Final = (
    "row", "show", "shot_id", "revision", "take", "seed", "spec_key", "picture_key", "shard", "task", "prompt",
    "encoded_prompt", "negative_prompt", "width", "height", "frames", "fps", "render_width", "render_height",
    "render_frames", "steps", "guidance_scale", "image_uri", "last_image_uri", "video_uri", "mask_uri", "image_sha256",
    "last_image_sha256", "video_sha256", "mask_sha256", "depends_on", "source_shot", "source_frame",
    "parent", "variant", "locale", "picture_of", "deliver", "priority", "deadline", "not_before",
    "budget_gpu_s", "window_frames", "tokens", "cost_gpu_s", "cached", "model", "draft", "draft_of", "upscaler",
)  # fmt: skip
# The catalog's own columns that follow them in a plan: those that a reader may have given a meaning.
HANDED_THROUGH: Final = (
    "preset", "duration_s", "upscale", "takes", "keep", "strength", "keep_frames", "long_method", "sequence", "scene",
    "camera", "identity", "tags",
)  # fmt: skip
# Columns that a take gets later: in the manifest, and on the board that is drawn from it.
LATER_COLUMNS: Final = (
    "state", "media", "media_path", "sha256", "bytes", "gpu_s", "attempt", "error_class", "quality",
    "quality_verdict", "quality_reasons", "quality_rank", "poster", "poster_jpeg", "gang", "layout", "log", "message",
    "replay",
)  # fmt: skip
RESERVED: Final = frozenset(PLAN_COLUMNS) | frozenset(LATER_COLUMNS) | frozenset(BY_NAME) | frozenset(VARIANT_COLUMNS)


def free_name(name: str, taken: Collection[str]) -> str:
    """The name under which an unknown column is kept: its own, or `catalog.<name>` where that name has a meaning.

    Args:
        name: the column's name in the catalog.
        taken: the other unknown columns' names, which are not to be hidden either.
    """
    while name in RESERVED or name in taken:
        name = f"catalog.{name}"
    return name
