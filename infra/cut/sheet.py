"""A cut sheet: a timeline as people write it by hand, in TOML.

[[part]]
title = "Night drive"        # a card; also colour, background, size (share of the height), font
seconds = 2

[[part]]
shot = "trailer/opening"     # the take that was chosen; "trailer/opening.take-002" for a certain one
in = 4                       # first frame of the take, and
out = 40                     # the frame behind the last
dissolve = 6                 # out of the part before it, in frames of the film

[[part]]
shot = "trailer/chase"
speed = 0.5
dip = 8                      # through black; dip_colour = "white" for another colour

[[part]]
solid = "black"
length = 12                  # frames of the film
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from infra.cut.asked import Asked, AskedPart, Ref, Time, card_of, colour_of, ref_of
from infra.cut.errors import BadTimeline
from infra.cut.frames import as_speed
from infra.cut.timeline import Card, Solid

MOST_BYTES = 8 * 2**20
_KINDS = ("shot", "title", "solid")
_KEYS = {
    "shot": {"in", "out", "speed"},
    "title": {"colour", "background", "font", "size"},
    "solid": set[str](),
}
_COMMON = {"length", "seconds", "dissolve", "dip", "dip_colour"}


def read(text: str, name: str) -> Asked:
    """The timeline of a cut sheet. `name` is what messages call it. BadTimeline for what is none."""
    if len(text) > MOST_BYTES:
        raise BadTimeline(f"{name} is larger than {MOST_BYTES // 2**20} MiB")
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadTimeline(f"{name} is no cut sheet: {error}") from error
    listed = told.get("part")
    if set(told) - {"part"} or not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise BadTimeline(f"{name}: a cut sheet is a list of [[part]] tables, and nothing else")
    parts: list[AskedPart] = []
    for number, one in enumerate(listed, 1):
        parts += _parts(one, f"{name}: part {number}", first=number == 1)
    return Asked(parts)


def _parts(told: Mapping[str, Any], where: str, *, first: bool) -> list[AskedPart]:
    kinds = [kind for kind in _KINDS if kind in told]
    if len(kinds) != 1:
        raise BadTimeline(f"{where} has {' and '.join(kinds) or 'none'} of shot, title and solid: it takes one")
    unknown = set(told) - _COMMON - _KEYS[kinds[0]] - {kinds[0]}
    if unknown:
        known = ", ".join(sorted(_COMMON | _KEYS[kinds[0]]))
        raise BadTimeline(f"{where}: a {kinds[0]} has no {', '.join(sorted(unknown))}", f"It may have {known}.")
    dissolve, dip = (_count(told, key, where) for key in ("dissolve", "dip"))
    if (dissolve or dip) and first:
        raise BadTimeline(f"{where}: the first part has nothing before it for a transition", "Put a solid before it.")
    if dissolve and dip:
        raise BadTimeline(f"{where} has a dissolve and a dip: it takes one")
    part = AskedPart(
        _content(told, kinds[0], where),
        where,
        start=_frames(told, "in", where),
        until=_frames(told, "out", where),
        length=_length(told, where),
        speed=as_speed(_number(told.get("speed", 1), where), where),
        overlap=(Time(dissolve or dip - dip // 2),),
    )
    if not dip:
        return [part]
    if dip < 2:
        raise BadTimeline(f"{where}: a dip takes at least 2 frames, not {dip}")
    colour = Solid(colour_of(told.get("dip_colour", "black"), where))
    return [AskedPart(colour, f"{where}, its dip,", length=Time(dip), overlap=(Time(dip // 2),)), part]


def _content(told: Mapping[str, Any], kind: str, where: str) -> Ref | Card | Solid:
    if kind == "shot":
        return ref_of(str(told["shot"]))
    if kind == "solid":
        return Solid(colour_of(told["solid"], where))
    return card_of(
        told["title"],
        where,
        colour=told.get("colour", "white"),
        background=told.get("background", "black"),
        font=told.get("font"),
        size=told.get("size"),
    )


def _length(told: Mapping[str, Any], where: str) -> Time | None:
    if "length" in told and "seconds" in told:
        raise BadTimeline(f"{where} has a length and seconds: it takes one")
    if "seconds" in told:
        seconds = Fraction(_number(told["seconds"], where)).limit_denominator(100_000)
        if seconds <= 0:
            raise BadTimeline(f"{where}: {told['seconds']} seconds is no length")
        return Time(seconds, Fraction(1))
    return _frames(told, "length", where)


def _frames(told: Mapping[str, Any], key: str, where: str) -> Time | None:
    return Time(_count(told, key, where)) if key in told else None


def _count(told: Mapping[str, Any], key: str, where: str) -> int:
    value = told.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadTimeline(f"{where}: {key} is a number of frames, not {value!r}")
    return value


def _number(value: Any, where: str) -> int | float:
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value or abs(value) > 1e6:
        raise BadTimeline(f"{where}: {value!r} is no number")
    return value
