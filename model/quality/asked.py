"""What a caption of the world asks for, as data: from the scene itself, or read back from the words."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from model.training.world import (
    BACKGROUNDS,
    CAMERAS,
    COLORS,
    DIRECTIONS,
    KINDS,
    STYLES,
    TEXTURES,
    Scene,
    Thing,
)
from model.training.world.vocabulary import MOVING, NUMBERS, OCCLUDER, SIZE_WORDS, any_of


@dataclass(frozen=True)
class Subject:
    """One thing, or several alike. None is what the caption leaves open.

    Attributes:
        kind, color, size: words of the vocabulary.
        motion: still, straight, accelerating, falling, falling and bouncing, bouncing left and right, bouncing up and
            down, or orbiting.
        direction: where it heads; with straight and accelerating motion.
    """

    kind: str
    color: str
    size: str | None = None
    motion: str | None = None
    direction: str | None = None


@dataclass(frozen=True)
class Change:
    """Something that happens: turns (to a colour), breaks, stops, or moves on."""

    kind: str
    color: str | None = None


@dataclass(frozen=True)
class Asked:
    """What a caption asks for.

    Attributes:
        subjects: as they are named.
        layout: alone, alike (`count` of them), pair (the left one first), contact (the first hits the second), near, or
            behind (the first passes behind a bar).
        count: how many things there are; None where the caption leaves it open, as "red circles" does.
        bar: its colour.
        changes: in their order.
        background, texture, style, camera: words of the vocabulary; background is None where it is left open, and style
            where it is none of the world's.
    """

    subjects: tuple[Subject, ...]
    layout: str
    count: int | None
    background: str | None
    texture: str = "plain"
    style: str | None = "flat"
    camera: str = "still"
    changes: tuple[Change, ...] = ()
    bar: str | None = None


def asked_of(scene: Scene, *, clip: bool = True) -> Asked:
    """What the scene's dense caption asks for; clip: as `model.training.captions.dense` has it."""
    things = scene.things
    camera = scene.camera if clip else "still"
    bare = Asked((), "alone", 1, scene.background, scene.texture, scene.style, camera)
    first = _subject(things[0], clip)
    if things[-1].kind == OCCLUDER:
        return replace(bare, subjects=(first,), layout="behind", bar=things[-1].color)
    if scene.push is not None or any(event.contact for event in scene.events):
        layout = "contact" if clip else "near"
        both = (first, _subject(things[1], False))
        return replace(bare, subjects=both, layout=layout, count=2, changes=_changes(scene, clip))
    if len(things) > 1 and len({(thing.kind, thing.color, thing.size) for thing in things}) == 1:
        return replace(bare, subjects=(first,), layout="alike", count=len(things))
    if len(things) == 2:
        pair = tuple(_subject(thing, clip and thing.motion.kind != "still") for thing in things)
        return replace(bare, subjects=pair, layout="pair", count=2)
    return replace(bare, subjects=(first,), changes=_changes(scene, clip))


def _subject(thing: Thing, told: bool) -> Subject:
    """told: whether the caption tells its motion."""
    motion = thing.motion
    name = motion.kind
    direction: str | None = None
    if name == "falling" and motion.restitution > 0:
        name = "falling and bouncing"
    elif name == "bouncing":
        name = "bouncing left and right" if motion.velocity[0] else "bouncing up and down"
    elif name in ("straight", "accelerating"):
        direction = motion.direction
    if not told:
        return Subject(thing.kind, thing.color, thing.size)
    return Subject(thing.kind, thing.color, thing.size, name, direction)


def _changes(scene: Scene, clip: bool) -> tuple[Change, ...]:
    if not clip:
        return ()
    if scene.push is not None:
        return (Change("moves on"),)
    caused = {event.frame for event in scene.events if event.contact}
    return tuple(
        Change(event.kind, event.color) for event in scene.events if event.kind != "stops" or event.frame not in caused
    )


# As `model.training.captions` puts them; a prompt may say grey.
_SIZE_OF = {word: size for size, words in SIZE_WORDS.items() for word in words}
_NUMBER_WORDS = {word: number for number, name in NUMBERS.items() for word in (name, str(number))}
_NOUN = re.compile(
    rf"(?:\b(?:(?P<article>an?|the)|(?P<number>{any_of(_NUMBER_WORDS)})) )?\b(?:(?P<size>{any_of(_SIZE_OF)}) )?"
    rf"(?P<color>{any_of(COLORS)}) (?P<kind>{any_of(KINDS)})(?P<many>s?)\b"
)
# Before a noun with "the": one that was named is spoken of again.
_AGAIN = re.compile(r"(?:[.;,](?: and)?(?: then)?|\bthen) $")
_BAR = re.compile(rf"\bbehind an? (?P<color>{any_of(COLORS)}) {OCCLUDER}\b")
_PAPER = re.compile(
    rf"\b(?:on|in front of|against|over)(?: an?| the)?(?: (?P<texture>{any_of(TEXTURES)}))? "
    rf"(?P<name>{any_of(BACKGROUNDS)})(?: background)?\b(?! (?:{any_of((*KINDS, OCCLUDER))}|and white)\b)"
)
# What is said of the camera is said of no thing.
_FILMED = re.compile(r"\bcamera\b.*?(?=[,.;]| (?:as|while|and|on|in front of|against|over)\b|$)")
_PANS, _ZOOMS = (any_of(name.split()[1] for name in CAMERAS if name.startswith(verb)) for verb in ("pans", "zooms"))
_CAMERA = re.compile(rf"\b(?:pan(?:s|ning)? (?P<pan>{_PANS})|zoom(?:s|ing)? (?P<zoom>{_ZOOMS}))\b")
_STYLE = re.compile(rf",? ?\b(?:(?P<style>{any_of(STYLES)}) style|(?P<made>clay|sketch))\b")
_CHANGE = re.compile(
    rf"(?<!never )\b(?:(?:turns|becomes|changes)(?: (?:in)?to)? (?P<color>{any_of(COLORS)})"
    rf"|then (?P<next>{any_of(COLORS)})(?! {any_of(KINDS)})|(?P<kind>breaks|stops|moves on))\b"
)
_WAY = any_of(name for name in DIRECTIONS if name != "still")
_MOVE = re.compile(
    rf"\b(?:{any_of(MOVING)}|(?P<faster>accelerating)) (?P<way>{_WAY})\b"
    rf"(?!,?(?: and)?(?: then)?(?: back)? {_WAY}\b)"  # to and fro, or around a corner: in no one direction
)
_MOTIONS = (
    ("bouncing left and right", re.compile(r"\bbouncing left and right\b")),
    ("bouncing up and down", re.compile(r"\bbouncing up and down\b")),
    ("falling and bouncing", re.compile(r"\bfalling and bouncing\b")),
    ("falling", re.compile(r"\bfalling(?: down)?\b")),
    ("orbiting", re.compile(r"\borbiting(?: around the center)?\b")),
    ("still", re.compile(r"\b(?:standing still|stays still|not moving|is still)\b")),
)


def parse(prompt: str) -> Asked | None:
    """What a prompt in the world's grammar asks for; None for one that names nothing of the world's things.

    Words that are not of the grammar are left out, and what they would ask for with them.
    """
    text = _normal(prompt)
    nouns = list(_NOUN.finditer(text))
    if not nouns:
        return None
    paper = _PAPER.search(text, nouns[-1].end()) or _PAPER.search(text)
    camera, style, bar = _CAMERA.search(text), _STYLE.search(text), _BAR.search(text)
    things = _things(nouns, _of_things(text, paper))
    subjects = tuple(_read_subject(noun, after) for noun, after in things)
    numbers = [_number(noun) for noun, _ in things]
    count = None if None in numbers else sum(number or 0 for number in numbers)
    hits = bool(re.search(r"\bhits\b", things[0][1])) and count == len(things) == 2
    if hits:
        # In "hits a circle which moves on" the words after the second noun are what happens to it.
        subjects = (subjects[0], Subject(subjects[1].kind, subjects[1].color, subjects[1].size))
    changes = tuple(
        Change(found["kind"] or "turns", found["color"] or found["next"]) for found in _CHANGE.finditer(things[-1][1])
    )
    layout = "alone" if count == 1 else "alike"
    if bar is not None:
        layout, subjects, count = "behind", subjects[:1], 1
    elif hits:
        # What hits stops by that, as the captions take for granted.
        layout, changes = "contact", tuple(change for change in changes if change.kind != "stops")
    elif len(things) > 1:
        first = _first_side(things[0][1], things[1][1]) if count == len(things) == 2 else None
        layout = "near" if first is None else "pair"
        subjects = subjects[::-1] if first == "right" else subjects
    return Asked(
        subjects,
        layout,
        count,
        paper["name"] if paper else None,
        texture=(paper["texture"] if paper else None) or "plain",
        style=(style["style"] or style["made"]) if style else None if re.search(r"\bstyle\b", text) else "flat",
        camera="still" if camera is None else f"pans {camera['pan']}" if camera["pan"] else f"zooms {camera['zoom']}",
        changes=changes,
        bar=bar["color"] if bar else None,
    )


def _of_things(text: str, paper: re.Match[str] | None) -> str:
    """The text with blanks for what it says of background, camera and style, and for sentences after that of others."""
    if paper:
        told, *others = re.split(r"(?<=[.;!?]) ", text[paper.end() :])
        for other in others:
            own = other.startswith("it ") or _NOUN.search(other)
            told += " " + (other if own else " " * len(other))
        text = text[: paper.start()] + " " * len(paper[0]) + told
    for pattern in (_FILMED, _STYLE):
        text = pattern.sub(lambda found: " " * len(found[0]), text)
    return text


def _things(nouns: list[re.Match[str]], text: str) -> list[tuple[re.Match[str], str]]:
    """Each thing by its first noun, and what is said of it: from each of its nouns to the next noun."""
    found: list[tuple[re.Match[str], str]] = []
    for noun, end in zip(nouns, [*(noun.start() for noun in nouns[1:]), len(text)], strict=True):
        after, own = text[noun.end() : end], None
        if noun["article"] == "the" and _AGAIN.search(text[: noun.start()]):
            named = (noun["color"], noun["kind"])
            own = next((at for at, (one, _) in enumerate(found) if (one["color"], one["kind"]) == named), None)
        if own is None:
            found.append((noun, after))
        else:
            found[own] = (found[own][0], found[own][1] + after)
    return found


def _number(noun: re.Match[str]) -> int | None:
    """How many things a noun names; None for several of an unknown number."""
    if noun["number"]:
        return _NUMBER_WORDS[noun["number"]]
    return None if noun["many"] and noun["article"] not in ("a", "an") else 1


def _first_side(between: str, after: str) -> str | None:
    """On which side of two things the first one is; None where that is not said of both, or is the same of both."""
    beside = re.search(r"^(?: is)?(?: on the)? (left|right) of\b", between)
    if beside:
        return beside[1]
    sides = [re.search(r"\bon the (left|right)\b", text) for text in (between, after)]
    told = [side[1] for side in sides if side]
    return told[0] if len(set(told)) == 2 else None


def _normal(prompt: str) -> str:
    """Lower case, one space between words, one spelling of each direction."""
    text = " ".join(prompt.lower().replace("grey", "gray").split()).rstrip(".! ")
    text = re.sub(r"\b(up|down)(?:-| and )(left|right)\b", r"\1 \2", text)
    text = re.sub(r"\b(up|down)wards?\b", r"\1", text)
    return re.sub(r"\bto the (left|right)\b", r"\1", text)


def _read_subject(noun: re.Match[str], after: str) -> Subject:
    size = _SIZE_OF[noun["size"]] if noun["size"] else None
    move = _MOVE.search(after)
    if move:
        motion = "accelerating" if move["faster"] else "straight"
        return Subject(noun["kind"], noun["color"], size, motion, move["way"])
    told = next((name for name, pattern in _MOTIONS if pattern.search(after)), None)
    return Subject(noun["kind"], noun["color"], size, told)
