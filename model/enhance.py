"""Turns a terse prompt into the dense kind that the shipped model was trained on, by rule and without torch.

    dense("Red ball going right")  ->  "a large red circle moving right on a black background"

Only what a prompt leaves open is filled in, and only where every word of it is of the grammar of the model's small
world (`model.training.captions`, and everyday words for it): a word put beside one that is not understood may
contradict it. Any other prompt comes back as it is. A language model can take this one's place: whatever maps a prompt
to a prompt will do, as `rushes render --enhance package.module:function`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from model.training.world.vocabulary import (
    BACKGROUNDS,
    CAMERAS,
    COLORS,
    KINDS,
    MOVING,
    NUMBERS,
    OCCLUDER,
    SIZE_WORDS,
    SIZES,
    STYLES,
    TEXTURES,
    any_of,
)

# A word of everyday language -> the world's.
SYNONYMS = {word: size for size, words in SIZE_WORDS.items() for word in words if word != size} | {
    "ball": "circle", "disc": "circle", "disk": "circle", "dot": "circle", "balls": "circles", "box": "square",
    "block": "square", "cube": "square", "boxes": "squares", "grey": "gray", "crimson": "red", "scarlet": "red",
    "lime": "green", "violet": "purple", "turquoise": "cyan", "aqua": "cyan", "golden": "yellow", "huge": "large",
    "rightwards": "right", "leftwards": "left", "upwards": "up", "upward": "up", "downwards": "down",
    "downward": "down", "centre": "center", "bg": "background", "backdrop": "background", "sketched": "sketch",
    "becomes": "turns", "becoming": "turns", "turning": "turns", "shatters": "breaks", "breaking": "breaks",
    "stopping": "stops",
}  # fmt: skip
DEFAULT_SIZE, DEFAULT_COLOR, DEFAULT_MOTION = "large", "red", "standing still"
DEFAULT_BACKGROUND, DEFAULT_TEXTURE = "black", "checkered"
_NUMBERS = {word: number for number, name in NUMBERS.items() for word in (name, str(number))}


class _Piece(NamedTuple):
    """A phrase that is understood: its role in the caption, and how the world's dense captions put it."""

    role: str
    text: str


def dense(prompt: str) -> str:
    """The prompt with everything named that it leaves open: size, colour, motion, background.

    A prompt with a word or an order of words that the world's captions have not comes back as it is.
    """
    text = " ".join(re.sub(r"[a-z]+", lambda found: SYNONYMS.get(found[0], found[0]), prompt.lower()).split())
    pieces = _pieces(text.rstrip(".! "))
    found = None if pieces is None else _caption(pieces)
    return prompt if found is None else found


def _caption(pieces: list[_Piece]) -> str | None:
    """The dense caption of the phrases in the world's order; None where it is not clear what belongs to what."""
    ends = {role: [piece.text for piece in pieces if piece.role == role] for role in ("paper", "camera", "style")}
    body = [piece for piece in pieces if piece.role not in ends]
    while body and body[-1].role == "comma":
        body.pop()
    roles = [piece.role for piece in body if piece.role != "comma"]
    if any(len(said) > 1 for said in ends.values()) or "noun" not in roles or "picture" in roles[1:]:
        return None
    told = _of_one(body) if roles.count("noun") == 1 else _of_several(body)
    if told is None:
        return None
    # A camera that moves is seen by its background, and the world's has a texture then.
    plain = DEFAULT_BACKGROUND if not any(ends["camera"]) else f"{DEFAULT_TEXTURE} {DEFAULT_BACKGROUND}"
    paper = ends["paper"] or [f"on a {plain} background"]
    return ", ".join([" ".join([*told, *paper]), *filter(None, ends["camera"] + ends["style"])])


_ORDER = ("picture", "noun", "motion", "side", "bar", "change")


def _of_one(body: list[_Piece]) -> list[str] | None:
    """What is told of one thing, or of several alike; None where that is told twice, or of something left unnamed."""
    if any(piece.role == "and" and [*body, piece][place + 1].role != "motion" for place, piece in enumerate(body)):
        return None
    body = [piece for piece in body if piece.role not in ("comma", "and")]
    roles = [piece.role for piece in body]
    if not set(roles) <= set(_ORDER) or any(roles.count(role) > 1 for role in _ORDER if role != "change"):
        return None
    # What stops or is pushed on moves, though nobody says where; what a bar hides may move.
    moves = any(piece.text.endswith(("stops", "moves on")) for piece in body)
    if not moves and not {"motion", "bar", "picture"} & set(roles):
        body.append(_Piece("motion", DEFAULT_MOTION))
    return _joined(sorted(body, key=lambda piece: _ORDER.index(piece.role)))


def _of_several(body: list[_Piece]) -> list[str] | None:
    """What is told of several things, in its own order, which tells whose it is."""
    roles = [piece.role for piece in body]
    start = roles.index("picture") + 1 if "picture" in roles else 0
    if roles[start] != "noun":
        return None
    pair = _pair(body[start:])
    if pair:
        return [*(piece.text for piece in body[:start]), *pair]
    sides = [piece.text for piece in body if piece.role == "side"]
    if "beside" in roles or len(set(sides)) < len(sides):
        return None
    for before, role in pairwise(roles[start:]):
        joins = before in ("and", "link")
        if joins != (role == "noun") or (before == "comma" and role == "motion"):
            return None  # a thing that nothing joins to the one before, or a motion that may be either's
    return None if roles[-1] in ("and", "link") else _joined([piece for piece in body if piece.role != "comma"])


def _pair(body: list[_Piece]) -> list[str] | None:
    """Two things side by side, the left one first, as the world's captions have it; None for what is no such pair."""
    roles = [piece.role for piece in body]
    second = len(roles) - 1 - roles[::-1].index("noun")
    if roles.count("noun") != 2 or not set(roles) <= {"noun", "motion", "side", "and", "beside", "comma"}:
        return None
    between = next((place for place in range(1, second) if roles[place] in ("and", "beside", "comma")), second)
    joint, halves = body[between:second], (body[:between], body[second:])
    told = [[piece for piece in half if piece.role != "noun"] for half in halves]
    if any(len({piece.role for piece in half} - {"and", "comma"}) != len(half) for half in told):
        return None  # a side or a motion told twice, or joined by what joins things
    said = [[piece.text.removeprefix("on the ") for piece in half if piece.role == "side"] for half in told]
    sides = [next(iter(half), None) for half in said]
    kinds = [piece.role for piece in joint]
    if kinds == ["beside"]:
        sides = [sides[0] or joint[0].text or None, sides[1]]
    elif kinds not in (["and"], ["comma", "and"]) and not (kinds == ["comma"] and all(sides)):
        return None
    other = {"left": "right", "right": "left"}
    first = sides[0] or other.get(sides[1] or "", "left")
    if sides[1] == first:
        return None
    nouns = [half[0].text for half in halves]
    moves = [[piece.text for piece in half if piece.role == "motion"] for half in told]
    left = 0 if first == "left" else 1
    one, two = ([nouns[half], *moves[half]] for half in (left, 1 - left))
    return [*one, "on the left and", *two, "on the right"]


def _joined(body: list[_Piece]) -> list[str]:
    """The texts; a change after another one follows it in time."""
    again = [one.role == other.role == "change" for one, other in pairwise(body)]
    return [
        "and then " + piece.text.removeprefix("which ") if after else piece.text
        for piece, after in zip(body, [False, *again], strict=True)
    ]


def _pieces(text: str) -> list[_Piece] | None:
    """The phrases of a text; None where a word is in none of them, or stands where it says nothing."""
    found: list[_Piece] = []
    while text:
        matches = ((role, put, pattern.match(text)) for role, pattern, put in _PHRASES)
        role, put, match = next((one for one in matches if one[2]), ("", _as_said, None))
        put_so = match and put(match)
        if match is None or put_so is None:
            return None
        found.append(_Piece(role, put_so))
        if role == "noun":  # "a falling clay ball": its style and motion are told before it
            words = match["words"].split()
            found += [_Piece("style", _style(word)) for word in words if word in STYLES]
            found += [_Piece("motion", _DOING[word]) for word in words if word in _DOING]
        text = text[match.end() :].lstrip()
    return found


def _as_said(found: re.Match[str]) -> str | None:
    return found[0]


def _noun(found: re.Match[str]) -> str | None:
    """A shape with an article, a size and a colour; None where it is not clear which, or how many."""
    words = found["words"].split()
    sizes = [word for word in words if word in SIZES]
    colors = [word for word in words if word in COLORS]
    numbers = [_NUMBERS[word] for word in words if word in _NUMBERS]
    number = numbers[0] if numbers else 1
    if max(len(sizes), len(colors), len(numbers)) > 1 or bool(found["many"]) != (number > 1):
        return None
    many = NUMBERS[number] if number > 1 else "a"
    return " ".join([many, *(sizes or [DEFAULT_SIZE]), *(colors or [DEFAULT_COLOR]), found["kind"] + found["many"]])


def _style(word: str) -> str:
    """How captions put a style: flat is the one that they do not name."""
    return "" if word == "flat" else f"{word} style"


def _camera(found: re.Match[str]) -> str:
    return f"the camera {'zooms' if found['zoom'] else 'pans'} {found['zoom'] or found['pan']}"


def _paper(found: re.Match[str]) -> str | None:
    if found["where"] in (None, "with ") and not found["word"]:
        return None  # a colour that says of nothing that it is the background
    texture = "" if found["texture"] in (None, "plain") else f"{found['texture']} "
    return f"on a {texture}{found['name']} background"


def _move(found: re.Match[str]) -> str | None:
    """Straight motion; without a direction as well, for that is not ours to choose."""
    way = re.sub(r"-| and ", " ", found["way"] or "")
    return " ".join(["accelerating" if found["faster"] else "moving", *way.split()])


def _fall(found: re.Match[str]) -> str | None:
    return "falling and bouncing" if found["again"] else "falling down"


def _change(found: re.Match[str]) -> str | None:
    what = f"turns {found['color'] or found['again']}" if found["color"] or found["again"] else found["what"]
    return f"which {what}" if found["which"] else what


# What may be said before a noun -> as it is put behind.
_DOING = {
    "falling": "falling down",
    "bouncing": "bouncing",
    "moving": "moving",
    "orbiting": "orbiting around the center",
}
_BEFORE = any_of(("a", "an", "the", *_NUMBERS, *SIZES, *COLORS, *STYLES, *_DOING))
_PANS, _ZOOMS = (any_of(name.split()[1] for name in CAMERAS if name.startswith(verb)) for verb in ("pans", "zooms"))
_IS = r"(?:(?:that|which) )?(?:is )?"
_VERBS = any_of((
    *MOVING, "move", "goes", "travelling", "traveling", "sliding", "flies", "flying", "drifts", "drifting", "glides",
    "gliding", "floats", "floating",
))  # fmt: skip
_PAPER = rf"(?:(?:an?|the) )?(?:(?P<texture>{any_of(TEXTURES)}) )?(?P<name>{any_of(BACKGROUNDS)})(?P<word> background)?"
_ON_PAPER = re.sub(r"\?P<\w+>", "?:", _PAPER)
# Each with its role and how it is put; what is matched first counts.
_PHRASES: tuple[tuple[str, re.Pattern[str], Callable[[re.Match[str]], str | None]], ...] = tuple(
    (role, re.compile(rf"(?:{pattern})(?![\w-])" if role != "comma" else pattern), put)
    for role, pattern, put in (
        ("comma", ",", _as_said),
        ("picture", r"an? (?:picture|still|image) of", _as_said),
        ("paper", rf"(?P<where>(?:on|in front of|against|over|with) )?{_PAPER}", _paper),
        (
            "camera",
            r"(?:with )?(?:an? |the )?(?:still|static|fixed) camera|no camera (?:movement|motion)",
            lambda _: "",
        ),
        (
            "camera",
            r"(?:(?:and |as |while |with )?(?:an? |the )?camera (?:is )?)?(?:slow |slowly )?"
            rf"(?:(?:pan(?:s|ning)?|tilt(?:s|ing)?)(?: to the)? (?P<pan>{_PANS})"
            rf"|zoom(?:s|ing)? (?P<zoom>{_ZOOMS}))",
            _camera,
        ),
        (
            "style",
            rf"(?:in )?(?:an? )?(?P<how>{any_of(STYLES)}) style|(?:made |in |out )*(?:of|in) (?P<stuff>clay)"
            r"|(?:an? )?(?P<drawing>sketch|clay) (?:of|picture of)",
            lambda found: _style(found["how"] or found["stuff"] or found["drawing"]),
        ),
        (
            "bar",
            rf"behind (?:(?:an?|the) )?(?P<color>{any_of(COLORS)}) {OCCLUDER}",
            lambda found: f"behind {'an' if found['color'][0] in 'aeiou' else 'a'} {found['color']} {OCCLUDER}",
        ),
        ("beside", "(?:is )?(?:(?:on|to) the )?(?P<side>left|right) of", lambda found: found["side"]),
        ("beside", "(?:is )?(?:next to|beside)", lambda _: ""),
        ("side", "(?:is )?on the (?P<side>left|right)", lambda found: f"on the {found['side']}"),
        (
            "change",
            r"(?:(?P<which>which )|that |and then |and |then )?"
            rf"(?:(?:turns|changes)(?: (?:in)?to)? (?P<color>{any_of(COLORS)})"
            rf"|(?P<what>breaks|stops|moves on(?! {_ON_PAPER}(?![\w-])))(?: apart| into pieces)?)"
            rf"|(?:and )?then (?P<again>{any_of(COLORS)})(?! {any_of(KINDS)})",
            _change,
        ),
        ("motion", rf"{_IS}(?:standing still|stands still|stays still|not moving|still)", lambda _: DEFAULT_MOTION),
        ("motion", rf"{_IS}(?:falls|falling)(?: down)?(?P<again> and (?:bounces|bouncing))?", _fall),
        (
            "motion",
            rf"{_IS}(?:bounces|bouncing)(?P<way> left and right| up and down)?",
            lambda found: f"bouncing{found['way'] or ''}",
        ),
        ("motion", rf"{_IS}(?:orbits|orbiting)(?: around)?(?: the center)?", lambda _: "orbiting around the center"),
        (
            "motion",
            rf"{_IS}(?:(?P<faster>accelerates|accelerating)|{_VERBS})"
            r"(?: (?:(?:to|towards) the )?(?P<way>(?:up|down)(?:-| and | )(?:left|right)|up|down|left|right))?",
            _move,
        ),
        ("noun", rf"(?P<words>(?:{_BEFORE} )*)(?P<kind>{any_of(KINDS)})(?P<many>s?)", _noun),
        ("link", "hits|near", _as_said),
        ("and", "and", _as_said),
    )
)
