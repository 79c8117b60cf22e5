"""Whether a clip shows what was asked for, each check being a function of a reading and what was asked.

A check returns None where nothing was asked that it could hold the clip against.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from model.quality.asked import Asked, Subject
from model.quality.blobs import Blob
from model.quality.events import happens, in_order, persists
from model.quality.paths import Verdict, heading, obeys, path_of
from model.quality.reading import Reading
from model.training.world import DIRECTIONS, KINDS

# Longer side of the box over the short side of the frame: small things reach 0.22, large ones begin at 0.29.
LARGE_ABOVE = 0.255
_NOMINAL = {"small": 0.19, "large": 0.34}
_SHARE = 0.5  # of the frames: what most of them show is what the clip shows
# Of the frames that have as many things as the first ones: blurs that touch and blends of colours, which are read as
# one thing or two, last for a few; a thing that goes away leaves more.
_STEADY = 0.75


def _leads(reading: Reading, asked: Asked) -> list[Blob | None]:
    """In each frame the blob that is the first subject: the largest, in a contact the one on the side it comes from."""
    if asked.layout != "contact" and any(change.kind == "breaks" for change in asked.changes):
        return reading.main()[: max(1, len(reading.blobs) // 4)]  # its pieces are smaller, and of another kind
    if asked.layout != "contact":
        return reading.main()[: _in_view(reading, asked)]
    from_left = _across(asked) > 0
    # After the contact nothing tells the two apart by their places.
    early = reading.blobs[: max(1, len(reading.blobs) // 4)]
    pairs = [frame[:2] for frame in early]
    return [min(pair, key=lambda blob: blob.x if from_left else -blob.x) if len(pair) == 2 else None for pair in pairs]


def _in_view(reading: Reading, asked: Asked) -> int:
    """In how many of the first frames the things are surely in view: a camera that pans may lose them."""
    return max(1, len(reading.blobs) // 2) if asked.camera.startswith("pans") else len(reading.blobs)


def _across(asked: Asked) -> float:
    """Which way the first subject crosses the frame: above 0 to the right, below 0 to the left; 0 if that is open."""
    return DIRECTIONS[asked.subjects[0].direction or "still"][0]


def _alike(asked: Asked) -> bool:
    """Whether color, kind and size are those of one subject; a pair has its own check.

    Of a contact they are where it is told from which side the first thing comes, so that it is known by its place.
    """
    return asked.layout in ("alone", "alike", "behind") or (asked.layout == "contact" and _across(asked) != 0)


def _seen(blobs: Sequence[Blob | None]) -> list[Blob]:
    found = [blob for blob in blobs if blob is not None]
    return found if len(found) >= _SHARE * len(blobs) else []


def color(reading: Reading, asked: Asked) -> Verdict | None:
    """The first subject's colour, before anything changes it."""
    if not _alike(asked):
        return None
    blobs = _leads(reading, asked)
    if any(change.kind == "turns" for change in asked.changes):
        blobs = blobs[: max(1, len(blobs) // 5)]
    if asked.layout == "behind":  # for half of the clip the bar hides some or all of it
        blobs = [blob for blob in blobs if blob is not None and blob.whole]
    share = sum(blob.color == asked.subjects[0].color for blob in _seen(blobs)) / max(len(blobs), 1)
    return Verdict(share > _SHARE, share)


def _likeness(blobs: Sequence[Blob | None]) -> np.ndarray | None:
    """Mean likeness to the kinds, over the frames that show the thing whole."""
    found = [blob.likeness for blob in blobs if blob is not None and blob.likeness is not None]
    return np.mean(found, axis=0) if found else None


def shape(reading: Reading, asked: Asked) -> Verdict | None:
    """The first subject's kind."""
    if not _alike(asked):
        return None
    return _kind(_likeness(_leads(reading, asked)), asked.subjects[0].kind)


def _kind(likeness: np.ndarray | None, kind: str) -> Verdict:
    if likeness is None:
        return Verdict(False, 0.0)
    own = KINDS.index(kind)
    margin = float(likeness[own] - np.delete(likeness, own).max())
    return Verdict(margin > 0, float(np.clip(0.5 + 2.5 * margin, 0, 1)))


def size(reading: Reading, asked: Asked) -> Verdict | None:
    """Small or large, as the first frames have it where the camera zooms."""
    wanted = asked.subjects[0].size
    if wanted is None or not _alike(asked):
        return None
    blobs = [blob for blob in _leads(reading, asked) if blob is not None]
    if asked.camera.startswith("zooms"):
        blobs = blobs[: max(1, len(blobs) // 6)]
    whole = [blob for blob in blobs if blob.whole] or blobs
    if not whole:
        return Verdict(False, 0.0)
    extent = float(np.median([blob.extent for blob in whole])) / reading.short
    miss = abs(float(np.log(max(extent, 1e-3) / _NOMINAL[wanted])))
    return Verdict((extent > LARGE_ABOVE) == (wanted == "large"), 1 / (1 + 3 * miss))


def count(reading: Reading, asked: Asked) -> Verdict | None:
    """How many things there are; of a thing that breaks, before it does."""
    if asked.layout == "behind" or asked.count is None:
        return None
    counts = reading.counts()[: _in_view(reading, asked)]
    if any(change.kind == "breaks" for change in asked.changes):
        counts = counts[: max(1, len(counts) // 4)]
    elif asked.layout == "contact":
        counts = counts[: max(1, len(counts) // 3)]  # of one colour in the end, they may be one blob
    share = sum(found == asked.count for found in counts) / len(counts)
    return Verdict(share > _SHARE, share)


def direction(reading: Reading, asked: Asked) -> Verdict | None:
    """Where the first subject heads, or that it stands, seen by a camera that stands."""
    subject = asked.subjects[0]
    plain = subject.motion in ("still", "straight", "accelerating") and asked.camera == "still"
    if not plain or asked.layout not in ("alone", "alike", "behind") or len(reading.blobs) < 5:
        return None
    wanted = subject.direction or "still"
    found = heading(_middle(reading) if asked.layout == "alike" else path_of(reading, reading.main()))
    return Verdict(found == wanted, float(found == wanted))


def _middle(reading: Reading) -> np.ndarray:
    """The middle of all things, in the frames that have as many as most have: (frames, 2)."""
    counts = reading.counts()
    usual = max(sorted(set(counts)), key=counts.count)
    path = np.full((len(counts), 2), np.nan)
    for frame, blobs in enumerate(reading.blobs):
        if usual and counts[frame] == usual:
            path[frame] = np.mean([(blob.x, blob.y) for blob in blobs[:usual]], axis=0) / reading.short
    return path


def _sides(reading: Reading) -> tuple[list[Blob], list[Blob]]:
    """The left and the right one of two things, in the frames that have two."""
    left, right = [], []
    for blobs, number in zip(reading.blobs, reading.counts(), strict=True):
        if number == 2:
            one, other = sorted(blobs[:2], key=lambda blob: blob.x)
            left.append(one)
            right.append(other)
    return (left, right) if len(left) >= _SHARE * len(reading.blobs) else ([], [])


def _fit(blobs: Sequence[Blob], subject: Subject) -> float:
    """How much a side looks like a subject, 0..3: colour, kind and size."""
    likeness = _likeness(blobs)
    kind = 0.0 if likeness is None else float(likeness[KINDS.index(subject.kind)] - likeness.min())
    extent = float(np.median([blob.extent for blob in blobs]))
    shared = float(np.mean([blob.color == subject.color for blob in blobs]))
    return shared + kind + (0.0 if subject.size is None else 0.1 * np.sign(extent) * (subject.size == "large"))


def position(reading: Reading, asked: Asked) -> Verdict | None:
    """Of a pair, whether the one that belongs on the left is on the left, whatever else is wrong with them."""
    if asked.layout != "pair":
        return None
    left, right = _sides(reading)
    if not left:
        return Verdict(False, 0.0)
    first, second = asked.subjects
    straight = _fit(left, first) + _fit(right, second)
    crossed = _fit(left, second) + _fit(right, first)
    if (first.kind, first.color) == (second.kind, second.color):
        # Only their sizes tell them apart.
        larger = np.median([a.extent - b.extent for a, b in zip(left, right, strict=True)])
        straight, crossed = float(larger * ((first.size == "large") - (second.size == "large"))), 0.0
    return Verdict(straight > crossed, float(np.clip(0.5 + (straight - crossed) / 4, 0, 1)))


def binding(reading: Reading, asked: Asked) -> Verdict | None:
    """Of a pair, whether each has its own colour and kind on its own side."""
    if asked.layout != "pair":
        return None
    sides = _sides(reading)
    if not sides[0]:
        return Verdict(False, 0.0)
    verdicts = []
    for blobs, subject in zip(sides, asked.subjects, strict=True):
        share = float(np.mean([blob.color == subject.color for blob in blobs]))
        verdicts += [Verdict(share > _SHARE, share), _kind(_likeness(blobs), subject.kind)]
    return Verdict(all(verdict.passed for verdict in verdicts), float(np.mean([one.degree for one in verdicts])))


def background(reading: Reading, asked: Asked) -> Verdict | None:
    """Its colour and its texture."""
    if asked.background is None:
        return None
    right = (reading.paper.name == asked.background) + (reading.paper.texture == asked.texture)
    return Verdict(right == 2, right / 2)


def style(reading: Reading, asked: Asked) -> Verdict | None:
    """Flat, clay or sketch."""
    if asked.style is None:
        return None
    right = reading.style == asked.style
    return Verdict(right, float(right))


def camera(reading: Reading, asked: Asked) -> Verdict | None:
    """What the camera does, before a background which would show it: what was asked for, or that it stands."""
    if len(reading.blobs) < 5 or asked.texture == "plain":
        return None
    right = (reading.camera or "still") == asked.camera
    return Verdict(right, float(right))


def physics(reading: Reading, asked: Asked) -> Verdict | None:
    """Whether the one thing moves by the law of its motion: line, parabola, bounce, circle."""
    subject = asked.subjects[0]
    plain = asked.layout == "alone" and asked.camera == "still" and not asked.changes
    if not plain or subject.motion in (None, "still") or len(reading.blobs) < 9:
        return None
    floor = reading.height / reading.short
    return obeys(path_of(reading, reading.main()), str(subject.motion), subject.direction, floor)


def permanence(reading: Reading, asked: Asked) -> Verdict | None:
    """Whether a thing that goes behind a bar comes out again; without a bar, whether as many stay to the end."""
    if len(reading.blobs) < 5:
        return None
    if asked.layout == "behind":
        return _behind(reading, asked) if _across(asked) else None  # what stands behind a bar, or goes up, stays there
    if asked.layout not in ("alone", "alike", "pair") or asked.camera != "still":
        return None
    if any(change.kind == "breaks" for change in asked.changes):
        return None  # of one thing it makes several
    counts = reading.counts()
    third = max(1, len(counts) // 3)
    usual, last = (max(sorted(set(part)), key=part.count) for part in (counts[:third], counts[-third:]))
    share = sum(found == usual for found in counts) / len(counts) if usual else 0.0
    return Verdict(share >= _STEADY and last == usual, share)


def _behind(reading: Reading, asked: Asked) -> Verdict:
    bar, subject = reading.bar, asked.subjects[0]
    if bar is None or bar.color != asked.bar:
        return Verdict(False, 0.0)
    left, _, right, _ = bar.box
    main = [next((blob for blob in frame if blob.color == subject.color), None) for frame in reading.blobs]
    count = max(1, len(main) // 5)
    before = [blob for blob in main[:count] if blob is not None]
    after = [blob for blob in main[-count:] if blob is not None]
    if len(before) < count / 2 or len(after) < count / 2:
        return Verdict(False, 0.2)
    begins, ends = float(np.median([blob.x for blob in before])), float(np.median([blob.x for blob in after]))
    passes = begins < left and ends > right if _across(asked) > 0 else begins > right and ends < left
    alone = all(sum(blob.color == subject.color for blob in frame) == 1 for frame in reading.blobs[-count:])
    # Behind the bar it is hidden: all of it in the midst of the bar would be before it.
    full = float(np.median([blob.area for blob in before]))
    middle, room = bar.x, 0.35 * (right - left)
    hidden = all(blob is None or abs(blob.x - middle) > room or blob.area < 0.7 * full for blob in main)
    return Verdict(passes and hidden and alone, (passes + hidden + alone) / 3)


CHECKS: Mapping[str, Callable[[Reading, Asked], Verdict | None]] = {
    "color": color,
    "shape": shape,
    "size": size,
    "count": count,
    "direction": direction,
    "position": position,
    "binding": binding,
    "background": background,
    "style": style,
    "camera": camera,
    "event": happens,
    "order": in_order,
    "persistence": persists,
    "physics": physics,
    "permanence": permanence,
}


def judge(reading: Reading, asked: Asked | None) -> dict[str, Verdict]:
    """What each check that applies says of a clip; of a prompt that asks for nothing here (`parse`), none does."""
    if asked is None:
        return {}
    found = {name: check(reading, asked) for name, check in CHECKS.items()}
    return {name: verdict for name, verdict in found.items() if verdict is not None}
