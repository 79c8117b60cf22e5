"""Variants: one row that asks for a shot in several aspects, lengths, styles and locales becomes a row for each.

Aspect, length and style change the picture, so each of their combinations is rendered. A locale changes what is said
and written, never the picture, and a still has no length: of the rows that differ by that alone one is rendered, and
the takes of the others are copies of its takes (`first_of_picture`), to be finished in their own way.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from hashlib import sha256
from itertools import product
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalogs.checker import Checker
from catalogs.convert import Cells
from catalogs.schema import CONTROL_PATTERN, DURATION_MAX_S, VARIANT_COLUMNS

MOST: Final = 256
"""Rows that one row may become."""
ASPECT_MOST: Final = 8.0
STYLE_LENGTH: Final = 200
ID_LENGTH: Final = 128

LEGAL: Final = (
    "lists under aspect, duration_s, style and locale, such as"
    ' {"aspect": ["16:9", "9:16"], "style": ["clay", "pencil sketch"]}; an axis that is not meant is null'
)
_ASPECT: Final = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,3})?):([0-9]{1,4}(?:\.[0-9]{1,3})?)")
_LOCALE: Final = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,4}")
_NOT_ID: Final = re.compile(r"[^A-Za-z0-9]+")


class Variant(NamedTuple):
    """One combination. `name` is what it adds to the shot_id, `picture` as much of it as changes the picture."""

    aspect: float | None
    duration_s: float | None
    style: str | None
    locale: str | None
    picture: str
    name: str


class BadVariantsError(ValueError):
    """Variants that cannot be meant; the message says what is legal."""


def combinations(asked: dict[str, Any], *, still: bool = False) -> list[Variant]:
    """Every combination of the axes that are given, in the order of their lists, the last axis fastest.

    An axis that is null or empty is not given.

    Args:
        asked: a value of the column `variants`.
        still: whether it is a still's, which no length changes.

    Raises:
        BadVariantsError: a value that is none, two that are the same or called so, or too many combinations.
    """
    axes: list[list[tuple[str, Any]]] = []
    for axis, read in (("aspect", _aspect), ("duration_s", _duration), ("style", _style), ("locale", _locale)):
        values = asked.get(axis)
        if not values:
            axes.append([("", None)])
            continue
        named = [read(value) for value in values]
        # 16:9 and 32:18 are one aspect under two names; "clay" and "clay!" are two styles under one.
        names, meant = (len(set(group)) for group in zip(*named, strict=True))
        if meant < len(named):
            raise BadVariantsError(f"{axis} with each value once: {', '.join(name for name, _ in named)}")
        if names < len(named):
            called = ", ".join(f"{value} is called {name}" for name, value in named)
            raise BadVariantsError(f"{axis} with values that a shot_id tells apart: {called}")
        axes.append(named)
    if (count := math.prod(map(len, axes))) > MOST:
        raise BadVariantsError(f"at most {MOST} combinations; these are {count:,}")
    found = []
    for aspect, duration, style, locale in product(*axes):
        picture = _dotted(aspect, style) if still else _dotted(aspect, duration, style)
        name = _dotted(aspect, duration, style, locale)
        found.append(Variant(aspect[1], duration[1], style[1], locale[1], picture, name))
    return found


def _dotted(*named: tuple[str, Any]) -> str:
    return ".".join(name for name, _ in named if name)


def _aspect(text: str) -> tuple[str, float]:
    match = _ASPECT.fullmatch(text)
    # In whole numbers, so that equal ratios are equal however they are written.
    ratio = float(Fraction(match[1]) / Fraction(match[2])) if match and Fraction(match[2]) else 0.0
    if match is None or not 1 / ASPECT_MOST <= ratio <= ASPECT_MOST:
        raise BadVariantsError(f"an aspect as width:height, such as 16:9, from 1:{ASPECT_MOST:g} to {ASPECT_MOST:g}:1")
    return f"{match[1]}x{match[2]}", ratio


def _duration(seconds: float) -> tuple[str, float]:
    if not 0 < seconds <= DURATION_MAX_S:
        raise BadVariantsError(f"a duration_s above 0 and at most {DURATION_MAX_S:g} seconds")
    return f"{seconds:g}s", seconds


def _style(text: str) -> tuple[str, str]:
    words = " ".join(text.split())
    if not words or len(words) > STYLE_LENGTH or re.search(CONTROL_PATTERN, words):
        raise BadVariantsError(f"a style of 1 to {STYLE_LENGTH} characters, none of them a control character")
    # Words of another script have no letters for an id: their digest names them.
    return _NOT_ID.sub("-", words).strip("-") or _digest(words), words


def _locale(text: str) -> tuple[str, str]:
    if not _LOCALE.fullmatch(text):
        raise BadVariantsError("a locale such as de or pt-BR")
    return text, text


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]


def derived_id(shot_id: str, name: str) -> str:
    """`<shot_id>.<name>`; one that would be too long is cut, and ends with 8 digits of its SHA-256."""
    made = f"{shot_id}.{name}" if name else shot_id
    return made if len(made) <= ID_LENGTH else f"{made[: ID_LENGTH - 9].rstrip('.-_')}-{_digest(made)}"


def check_variants(checker: Checker, values: pa.Array, cells: Cells) -> None:
    """Refuses the rows whose variants cannot be meant."""
    if values.null_count == len(values):
        return
    reasons: dict[int, str] = {}
    known: dict[str, str | None] = {}
    bad = np.zeros(len(values), bool)
    for index in np.nonzero(np.asarray(values.is_valid()))[0].tolist():
        asked = values[index].as_py()
        key = repr(asked)
        if key not in known:
            known[key] = _reason(asked)
        if (reason := known[key]) is not None:
            bad[index], reasons[index] = True, reason
    checker.refuse("variants", bad, cells, lambda index: reasons[index])


def _reason(asked: dict[str, Any]) -> str | None:
    try:
        combinations(asked)
    except BadVariantsError as error:
        return str(error)
    return None


class Expanded(NamedTuple):
    """Rows made of rows.

    Attributes:
        columns: the shots' columns and those of `VARIANT_COLUMNS`, each (m,).
        source: for each row the place of the one that it was made from, (m,), rising.
    """

    columns: dict[str, pa.Array]
    source: np.ndarray

    @property
    def expanded(self) -> bool:
        """Whether any row became several."""
        return bool(len(self.source) and self.columns["parent"].null_count < len(self.source))


def expand(shots: dict[str, pa.Array], good: np.ndarray) -> Expanded:
    """Each good row with variants as one row for each of them, in its place; the others as they are.

    A row made so keeps all columns of its parent, its seed too: its takes begin from the noise of the parent's seed.

    Args:
        shots: columns of the schema, each (n,), checked.
        good: rows that have broken no rule; the others are not expanded, (n,) bool.
    """
    values, count = shots["variants"], len(shots["variants"])
    asks = np.nonzero(good & np.asarray(values.is_valid()))[0].tolist()
    if not asks:
        return Expanded(
            shots | {name: pa.nulls(count, kind) for name, kind in VARIANT_COLUMNS.items()}, np.arange(count)
        )
    tasks = shots["task"]
    found = {index: combinations(values[index].as_py(), still=tasks[index].as_py() == "still") for index in asks}
    times = np.ones(count, np.int64)
    times[asks] = [len(found[index]) for index in asks]
    source = np.repeat(np.arange(count), times)
    first = np.cumsum(times) - times
    made: dict[str, list[Any]] = {name: [None] * len(source) for name in (*VARIANT_COLUMNS, "shot_id", "duration_s")}
    for index in asks:
        shot_id = shots["shot_id"][index].as_py()
        for place, variant in enumerate(found[index], int(first[index])):
            made["shot_id"][place] = derived_id(shot_id, variant.name)
            made["variant.picture"][place] = derived_id(shot_id, variant.picture)
            made["parent"][place], made["variant"][place] = shot_id, variant.name
            made["variant.aspect"][place], made["variant.style"][place] = variant.aspect, variant.style
            made["duration_s"][place], made["locale"][place] = variant.duration_s, variant.locale
    columns = {name: column.take(pa.array(source)) for name, column in shots.items()}
    for name in ("shot_id", "duration_s"):
        columns[name] = pc.coalesce(pa.array(made[name], columns[name].type), columns[name])
    return Expanded(columns | {name: pa.array(made[name], kind) for name, kind in VARIANT_COLUMNS.items()}, source)


def first_of_picture(shots: dict[str, pa.Array]) -> pa.Array:
    """For each row that shares its pictures with one before it, that one's shot_id; null elsewhere, (n,).

    Args:
        shots: columns `row`, `shot_id`, `variant.picture` of rows of one batch that will be rendered.
    """
    variants = np.nonzero(np.asarray(shots["variant.picture"].is_valid()))[0]
    if not len(variants):
        return pa.nulls(len(shots["row"]), pa.string())
    rows = shots["row"].take(pa.array(variants)).to_pylist()
    pictures = shots["variant.picture"].take(pa.array(variants)).to_pylist()
    shown: dict[tuple[int, str], int] = {}
    first = np.arange(len(shots["row"]))
    for place, row, picture in zip(variants.tolist(), rows, pictures, strict=True):
        first[place] = shown.setdefault((row, picture), place)
    own = pa.array(first == np.arange(len(first)))
    return pc.if_else(own, None, shots["shot_id"].take(pa.array(first)))
