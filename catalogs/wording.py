"""What is encoded of a shot: its prompt, the words for its camera, the words of its style.

The catalog's prompt stays as it is; what goes to the text encoder stands beside it. Both are told in the manifest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

Enhance = Callable[[str], str]
"""Makes a prompt richer: a rule or a language model. The same prompt must always come back the same."""

_MOVES: Final = {
    "pan": "pans", "pans": "pans", "panning": "pans", "tilt": "tilts", "tilts": "tilts", "tilting": "tilts",
    "zoom": "zooms", "zooms": "zooms", "zooming": "zooms", "dolly": "moves", "track": "moves", "truck": "moves",
    "push": "pushes", "pull": "pulls", "orbit": "orbits", "crane": "rises",
}  # fmt: skip
_WHERE: Final = ("left", "right", "up", "down", "in", "out", "back")
_LABEL: Final = re.compile(r"(?:cam(?:era)?)?[-_ ]*(?:[A-Za-z]|[0-9]{1,3}|[A-Za-z][0-9]{1,2})?", re.IGNORECASE)
_STILL: Final = frozenset({"still", "static", "fixed", "locked", "locked off"})


def camera_words(camera: str) -> str:
    """The words for a camera: "pan_left" is "the camera pans left", and what is no known move stands for itself.

    A mere label, such as A, cam2 or Camera B, and a camera that stands still say nothing: "".
    """
    words = " ".join(re.sub(r"[-_]+", " ", camera).split())
    if _LABEL.fullmatch(words) or words.lower() in _STILL:
        return ""
    bare = re.sub(r"^(?:the )?camera ", "", words.lower())
    first, _, where = bare.partition(" ")
    if first in _MOVES and (not where or where in _WHERE):
        return f"the camera {_MOVES[first]} {where}".rstrip()
    return words


def style_words(style: str) -> str:
    """The words for a style: one word is a kind of style, "clay style"; several stand for themselves."""
    return style if " " in style else f"{style} style"


def encoded(columns: Mapping[str, pa.Array], enhance: Enhance | None = None) -> pa.Array:
    """What is encoded of each shot, null where that is its prompt as it stands, (n,).

    Args:
        columns: `prompt`, `camera` and `variant.style` of the shots.
        enhance: applied to the prompt, before the words of camera and style are put behind it.
    """
    prompt = columns["prompt"]
    base = prompt if enhance is None else _mapped(prompt, enhance)
    after = _after(_mapped(columns["camera"], camera_words), _mapped(columns["variant.style"], style_words))
    if after.null_count < len(after):
        # Behind the last word, and before the full stop where there is one.
        stop = pc.if_else(pc.ends_with(pc.utf8_rtrim_whitespace(base), "."), ".", "")
        bare = pc.utf8_rtrim(base, " \t\r\n.")
        base = pc.coalesce(pc.binary_join_element_wise(bare, after, stop, ""), base)
    return pc.if_else(pc.equal(base, prompt), None, base)


def _mapped(values: pa.Array, change: Callable[[str], str]) -> pa.Array:
    """Each text changed, equal ones once; null stays null."""
    if values.null_count == len(values):
        return values
    encoded = values.dictionary_encode()
    return pa.array([change(text) for text in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)


def _after(camera: pa.Array, style: pa.Array) -> pa.Array:
    """ ", <camera>, <style>" of what there is; null where there is neither."""
    parts = [pc.if_else(pc.equal(words, ""), None, words) for words in (camera, style)]
    comma = [pc.binary_join_element_wise(", ", words, "") for words in parts]
    joined = pc.binary_join_element_wise(*(words.fill_null("") for words in comma), "")
    return pc.if_else(pc.equal(joined, ""), None, joined)
