"""Presets: sizes, rates and lengths that have a name, so that a row need not spell them out.

The one table that validation, the command's help and the pages read. A column that a row gives itself wins over its
preset; what a preset leaves open is the model's own.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc


class Preset(NamedTuple):
    """What a name stands for; None is left to the model.

    Attributes:
        width, height: pixels.
        fps: frames a second.
        duration_s: seconds.
        purpose: for people.
    """

    width: int | None
    height: int | None
    fps: float | None
    duration_s: float | None
    purpose: str


PRESETS: Final[dict[str, Preset]] = {
    "square-512": Preset(512, 512, 16.0, 4.0, "64 frames, the size at which reports compare models"),
    "square-256": Preset(256, 256, 8.0, 4.0, "a draft of it"),
    "wide-480p": Preset(832, 480, 16.0, 5.0, "landscape"),
    "tall-480p": Preset(480, 832, 16.0, 5.0, "portrait"),
    "wide-720p": Preset(1280, 720, 24.0, 5.0, "landscape, HD"),
    "tall-720p": Preset(720, 1280, 24.0, 5.0, "portrait, HD"),
    "wide-1080p": Preset(1920, 1080, 24.0, 5.0, "landscape, full HD"),
    "tall-1080p": Preset(1080, 1920, 24.0, 5.0, "portrait, full HD"),
    "clip-4s": Preset(None, None, None, 4.0, "a short clip of the model's own size and rate"),
    "master-60s": Preset(None, None, None, 60.0, "a minute of the model's own size and rate"),
}
FIELDS: Final = ("width", "height", "fps", "duration_s")
"""Columns that a preset fills in."""
LEGAL: Final = ", ".join(PRESETS)


def filled(values: pa.Array, names: pa.Array, field: str) -> pa.Array:
    """A column with its nulls filled in from each row's preset.

    Args:
        values: the column `field`, (n,).
        names: of presets, null for none; unknown ones fill nothing in, (n,).
    """
    if names.null_count == len(names) or not values.null_count:
        return values
    encoded = names.dictionary_encode()
    found = [getattr(PRESETS[name], field) if name in PRESETS else None for name in encoded.dictionary.to_pylist()]
    return pc.coalesce(values, pa.array(found, values.type).take(encoded.indices))


def table() -> str:
    """The presets as a table in Markdown."""
    lines = ["| preset | size | frames a second | seconds | for |", "|---|---|---|---|---|"]
    for name, preset in PRESETS.items():
        size = "–" if preset.width is None else f"{preset.width}×{preset.height}"
        fps, seconds = ("–" if value is None else f"{value:g}" for value in (preset.fps, preset.duration_s))
        lines.append(f"| `{name}` | {size} | {fps} | {seconds} | {preset.purpose} |")
    return "\n".join(lines)
