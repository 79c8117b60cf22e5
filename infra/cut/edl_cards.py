"""A card as a comment of an EDL, which knows of none: what else reads the list passes over it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_MARK = "RUSHES CARD:"


def card_comment(values: Mapping[str, Any]) -> str:
    """The comment that holds what a card says."""
    return f"{_MARK} {json.dumps(values, separators=(',', ':'))}"


def card_of_comment(comment: str) -> dict[str, Any] | None:
    """What such a comment holds; None for any other comment."""
    _, mark, rest = comment.partition(_MARK)
    if not mark:
        return None
    try:
        told = json.loads(rest)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None
