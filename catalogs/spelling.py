"""Columns that a catalog has of its own, and that look like one with a meaning: most likely it was meant.

They are handed through as any unknown column is, and change no picture, so a misspelt one would be rendered, and paid
for, without what it asks for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from catalogs.schema import BY_NAME, RESERVED

_LIKE: Final = 0.8  # of difflib's ratio: two letters exchanged in a word of six
# What other tools call a column -> ours.
_ELSEWHERE: Final = {
    "frames": "duration_s", "numframes": "duration_s", "duration": "duration_s", "image": "image_uri",
    "lastimage": "last_image_uri", "video": "video_uri", "mask": "mask_uri", "guidance": "guidance_scale",
    "cfg": "guidance_scale", "cfgscale": "guidance_scale", "negative": "negative_prompt", "numsteps": "steps",
    "numinferencesteps": "steps", "loras": "lora",
}  # fmt: skip


def misspelt(columns: Iterable[str]) -> dict[str, str]:
    """Unknown columns that look like one of a shot's -> that one.

    Args:
        columns: of a catalog or a plan, where `catalog.<name>` is one whose name has a meaning in the plan alone.
    """
    plain = {_plain(name): name for name in BY_NAME}
    found = {}
    for column in columns:
        if column in RESERVED:
            continue
        word = _plain(column.removeprefix("catalog."))
        close = get_close_matches(word, plain, n=1, cutoff=_LIKE)
        meant = _ELSEWHERE.get(word) or (plain[close[0]] if close else None)
        if meant is not None:
            found[column] = meant
    return found


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
