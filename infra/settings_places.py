"""How settings of several places become one: file, environment, flags, the later one over the earlier."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_LAYOUT = re.compile(r"(cfg|ulysses|ring)=([1-9][0-9]{0,3})")


class SettingsError(ValueError):
    """Settings that cannot be used (exit code 2). The message names key and place, never a value."""


def layout_size(layout: str) -> int:
    """Ranks of a layout such as `cfg=2,ulysses=2,ring=2`, or `single`. ValueError for any other words."""
    if layout.strip() == "single":
        return 1
    size, seen = 1, set()
    for part in layout.split(","):
        match = _LAYOUT.fullmatch(part.strip())
        if match is None or match[1] in seen or (match[1] == "cfg" and int(match[2]) > 2):
            raise ValueError(f"{layout!r}: write it as cfg=2,ulysses=2,ring=2, each part once, cfg up to 2")
        seen.add(match[1])
        size *= int(match[2])
    return size


def check_groups(values: Mapping[str, Any], groups: Mapping[str, Any], place: str) -> None:
    """A group that is no table would be lost without a word where a later place has keys of it."""
    for name in groups:
        if name in values and not isinstance(values[name], Mapping):
            raise SettingsError(f"{name}: a table of settings, as below [{name}] (from {place})")


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags without those that were not given."""
    found = {key: given(value) if isinstance(value, Mapping) else value for key, value in flags.items()}
    return {key: value for key, value in found.items() if value is not None}


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with those of a later place over them, key by key.

    A gang and a layout imply each other, so a place that sets one of them puts aside the other below it.
    """
    return _over(_without_other_half(low, high), high)


def _over(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        merged[key] = _over(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _without_other_half(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    own, farm = high.get("farm") or {}, low.get("farm")
    if farm is None or ("gang" in own) == ("layout" in own):
        return dict(low)
    other = "layout" if "gang" in own else "gang"
    return {**low, "farm": {key: value for key, value in farm.items() if key != other}}
