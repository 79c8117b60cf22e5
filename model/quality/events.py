"""What happens to things: changes of colour, stops, contacts, breaking; whether in order, and whether for good."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from model.quality.asked import Asked
from model.quality.blobs import Blob
from model.quality.paths import STILL_BELOW, Verdict, path_of
from model.quality.reading import Reading
from model.training.world import DIRECTIONS

# Part of the clip, and frames, that a colour must last to count. Shorter is a flicker, or the blend of two colours in
# which a decoder of four frames at once shows a change. In the world each colour lasts a fifth at least.
_RUN, _LEAST_RUN = 0.15, 2
_LASTS = 0.9  # of the frames from a change on: one that is misread must not undo it
_STOPPED = 0.03  # of the short side: a thing that no longer moves away further than this has stopped
_TOUCH = 0.08  # of the short side between two boxes that touch; an edge that blurs makes them seem apart
_PIECES = 2  # of the four pieces of a broken thing, the smallest may be specks or hide


def runs(words: Sequence[str | None]) -> list[tuple[str, int, int]]:
    """Colours in their order, each with its first frame and the one after its last; flickers left out."""
    found: list[tuple[str, int, int]] = []
    least = min(max(_LEAST_RUN, round(_RUN * len(words))), len(words))
    begin = 0
    for frame in range(1, len(words) + 1):
        if frame == len(words) or words[frame] != words[begin]:
            word = words[begin]
            if word is not None and frame - begin >= least:
                if found and found[-1][0] == word:
                    found[-1] = (word, found[-1][1], frame)
                else:
                    found.append((word, begin, frame))
            begin = frame
    return found


def stopped_at(reading: Reading, blobs: Sequence[Blob | None]) -> int | None:
    """The frame from which a thing that moved stays where it is; None where it never moves, or to the end."""
    path = path_of(reading, blobs)
    seen = np.flatnonzero(np.isfinite(path[:, 0]))
    if len(seen) < 4:
        return None
    away = np.hypot(*(path - path[seen[-1]]).T)
    if np.nanmax(away) < STILL_BELOW:
        return None
    far = np.flatnonzero(np.nan_to_num(away) > _STOPPED)
    frame = int(far[-1]) + 1
    return frame if frame < len(path) - max(2, len(path) // 10) else None


def happens(reading: Reading, asked: Asked) -> Verdict | None:
    """Whether the one change that is asked for happens."""
    if not asked.changes or len(reading.blobs) < 5:
        return None
    if asked.layout == "contact":
        return _contact(reading, asked) if len(asked.changes) == 1 else None
    if asked.layout != "alone" or len(asked.changes) > 1 or asked.changes[0].kind not in ("turns", "stops"):
        return None
    main = reading.main()
    if asked.changes[0].kind == "stops":
        found = stopped_at(reading, main) is not None
        return Verdict(found, float(found))
    order = [word for word, *_ in runs([blob.color if blob else None for blob in main])]
    return _compare(order, [asked.subjects[0].color, asked.changes[0].color])


def _compare(found: list[str], wanted: list[str | None]) -> Verdict:
    """Whether colours come in the order wanted. Each colour too many or missing lowers the degree."""
    hits = sum(a == b for a, b in zip(found, wanted, strict=False))
    return Verdict(found == wanted, hits / max(len(found), len(wanted), 1))


def in_order(reading: Reading, asked: Asked) -> Verdict | None:
    """Whether changes of colour, and a stop among them, happen in the order in which they are asked for."""
    if asked.layout != "alone" or len(asked.changes) < 2 or len(reading.blobs) < 5:
        return None
    kinds = [change.kind for change in asked.changes]
    if not set(kinds) <= {"turns", "stops"} or kinds.count("stops") > 1:
        return None
    main = reading.main()
    colours = runs([blob.color if blob else None for blob in main])
    turns = [change.color for change in asked.changes if change.kind == "turns"]
    told = _compare([word for word, *_ in colours], [asked.subjects[0].color, *turns])
    if "stops" not in kinds:
        return told
    stop = stopped_at(reading, main)
    if stop is None or not told.passed:
        return Verdict(False, told.degree / 2)
    # The changes of colour and the stop, in the order of the words.
    turned = iter(begin for _, begin, _ in colours[1:])
    moments = [stop if kind == "stops" else next(turned) for kind in kinds]
    passed = all(one < other for one, other in pairwise(moments))
    return Verdict(passed, 1.0 if passed else 0.5)


def persists(reading: Reading, asked: Asked) -> Verdict | None:
    """Whether the last change, once there, holds to the last frame."""
    if not asked.changes or len(reading.blobs) < 5 or asked.layout not in ("alone", "contact"):
        return None
    if asked.layout == "contact" and len(asked.changes) > 1:
        return None
    last = asked.changes[-1]
    if last.kind == "turns":
        lasting = _colour_lasts(reading, asked, last.color)
    elif last.kind == "breaks":
        turned = [change.color for change in asked.changes if change.color is not None]
        lasting = _pieces_last(reading, turned[-1] if turned else asked.subjects[-1].color)
    elif last.kind == "stops":
        found = stopped_at(reading, reading.main()) is not None
        return Verdict(found, float(found))
    else:
        return None
    return Verdict(lasting >= _LASTS, lasting)


def _colour_lasts(reading: Reading, asked: Asked, color: str | None) -> float:
    """Share of the frames that have the last colour, of those from its first one on; 0 where it never comes."""
    if asked.layout == "contact":
        old = asked.subjects[-1].color
        there = [_area(frame, old) == 0 and _area(frame, color) > 0 for frame in reading.blobs]
        begins = [begin for word, begin, _ in runs([str(value) for value in there]) if word == "True"]
        return _share(there[begins[0] :]) if begins and begins[0] > 0 else 0.0
    words = [blob.color if blob else None for blob in reading.main()]
    # The colour may have been there before: what counts is when it comes after the one it takes the place of.
    turns = [change.color for change in asked.changes if change.kind == "turns"]
    old = [asked.subjects[0].color, *turns][len(turns) - 1] or ""
    found = runs(words)
    left = next((end for word, _, end in found if word == old), None)
    first = next((begin for word, begin, _ in found if left is not None and begin >= left and word == color), None)
    return 0.0 if first is None else _share([word == color for word in words[first:]])


def _share(there: Sequence[bool]) -> float:
    """Share of the frames; half at most where it is over in the end."""
    share = float(np.mean(there)) if there else 0.0
    return share if there and there[-1] else min(share, 0.5)


def _pieces_last(reading: Reading, color: str) -> float:
    many = [len(_of(frame, color)) >= _PIECES for frame in reading.blobs]
    if not any(many) or many[0]:
        return 0.0
    # It takes three frames until the pieces are apart.
    return _share(many[many.index(True) + 3 :])


def _of(frame: Sequence[Blob], color: str) -> list[Blob]:
    return [blob for blob in frame if blob.color == color]


def _area(frame: Sequence[Blob], color: str | None) -> float:
    return sum(blob.area for blob in frame if blob.color == color)


def _tracks(reading: Reading, asked: Asked) -> tuple[list[Blob | None], list[Blob | None]]:
    """In each frame the largest blob of the first subject's colour, and of the second's."""
    found: list[list[Blob | None]] = []
    for subject in asked.subjects[:2]:
        found.append([next(iter(_of(frame, subject.color)), None) for frame in reading.blobs])
    return found[0], found[1]


def _contact(reading: Reading, asked: Asked) -> Verdict | None:
    """Whether the first thing comes to the second, and what is asked for happens then and not before.

    None where that is told by a way that nobody named: pushed on, a thing goes the way the first one came.
    """
    if asked.changes[-1].kind == "moves on" and asked.subjects[0].direction is None:
        return None
    mover, target = _tracks(reading, asked)
    start = max(2, len(mover) // 5)
    both = [a is not None and b is not None for a, b in zip(mover[:start], target[:start], strict=True)]
    if not all(both):
        return Verdict(False, 0.0)
    gaps = [_gap(a, b) / reading.short if a and b else np.nan for a, b in zip(mover, target, strict=True)]
    change = asked.changes[-1]
    if change.kind == "moves on":
        return _pushed(reading, mover, target, asked.subjects[0].direction)
    if change.kind == "turns":
        moment = next((frame for frame, blob in enumerate(target) if blob is None), None)
        end = reading.blobs[-1]
        done = moment is not None and _area(end, asked.subjects[1].color) == 0 and _area(end, change.color) > 0
    else:
        many = [len(_of(frame, asked.subjects[1].color)) >= _PIECES for frame in reading.blobs]
        moment = many.index(True) if any(many) else None
        done = moment is not None and not many[0] and many[-1]
    if not done or moment is None:
        return Verdict(False, 0.2)
    # Just before it happens they touch, and at the start they do not.
    touched = float(np.nanmin(gaps[max(moment - 3, 0) : moment] or [np.inf])) < _TOUCH
    return Verdict(touched and gaps[0] > _TOUCH / 2, 1.0 if touched else 0.5)


def _pushed(
    reading: Reading, mover: Sequence[Blob | None], target: Sequence[Blob | None], direction: str | None
) -> Verdict:
    """The target stands, then moves the way the mover came; the mover has stopped by then."""
    one, other = path_of(reading, mover), path_of(reading, target)
    unit = np.asarray(DIRECTIONS[direction or "right"])
    third = max(2, len(other) // 4)
    before = float((other[third] - other[0]) @ unit)
    after = float((other[-1] - other[0]) @ unit)
    last = float((one[-1] - one[-third]) @ unit)
    came = float((one[len(one) // 2] - one[0]) @ unit)
    passed = abs(before) < 0.05 and after > 0.07 and abs(last) < 0.05 and came > 0.07
    return Verdict(bool(passed), 1.0 if passed else 0.3)


def _gap(one: Blob, other: Blob) -> float:
    """Pixels between two boxes, 0 where they overlap."""
    across = max(one.box[0] - other.box[2], other.box[0] - one.box[2], 0)
    down = max(one.box[1] - other.box[3], other.box[1] - one.box[3], 0)
    return float(np.hypot(across, down))
