"""How a long clip is cut into pieces, by each method. Whole numbers only; the model's numbers come in as arguments."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from model.errors import InputError
from model.long.pieces import METHODS, LongPlan, Piece

LEAST_WINDOW = 3
"""Latents of the smallest window: two that are known, and one between them."""
KEYS_APART = 3
"""Latents from one key to the next, at least, where the clip leaves a choice: two that lie between them."""
STEADY = 0.5
"""Strength of what lies between two keys in a film that goes at an eighth of the model's own pace, or slower."""
SEGMENT_STEPS = 5
"""Sampling steps of one piece of `co_denoise`: what a lost gang costs there."""


def plan_pieces(
    method: str,
    latents: int,
    window: int,
    *,
    steps: int = 1,
    backward: bool = False,
    closed: bool = False,
    sourced: bool = False,
    ended: bool = False,
    frame_stride: int = 4,
) -> LongPlan:
    """The pieces of a clip of `latents` latents with windows of at most `window`.

    Args:
        method: of METHODS.
        latents: of the clip; a clip that fits into one window is one piece, whatever the method.
        window: most latents that the model sees at once.
        steps: sampling steps of a whole walk.
        backward: `overlap` begins at the end of the clip, because that is what is known.
        closed: `co_denoise` closes the clip to a ring, in which the latents 0 and `latents` - 1 are the same.
        sourced: latents anywhere have a source of their own moment, so that a frame of a window shows the moment of its
            latent and none between two: keys of `hierarchical` are then the last frames of latents alone.
        ended: the last latent is given, one moment for all its frames: keys of `hierarchical` are then frames before
            it, and the last one.
        frame_stride: frames of one latent.

    Raises:
        InputError: an unknown method, or a window too small to be moved along.
    """
    if method not in METHODS:
        raise InputError(f"no long method is called {method!r}; there are {', '.join(METHODS)}")
    if closed and method != "co_denoise":
        raise InputError(f"only co_denoise closes a clip to a ring, not {method}")
    if latents <= window and not closed:
        everything = tuple(range(latents))
        return LongPlan(method, latents, window, (Piece("all", everything, everything),))
    if window < LEAST_WINDOW:
        raise InputError(f"a window of {window} latents is too small for a long clip; at least {LEAST_WINDOW}")
    if method == "hierarchical":
        return LongPlan(method, latents, window, tuple(_hierarchy(latents, window, frame_stride, sourced, ended)))
    if method == "overlap":
        return LongPlan(method, latents, window, tuple(_overlapping(latents, window, backward)))
    windows = tuple(_ring(latents, window) if closed else _row(latents, window))
    pieces = tuple(_segments(range(latents), steps))
    return LongPlan(method, latents, window, pieces, closed, windows)


def overlap_of(window: int) -> int:
    """Latents of a window that are known from the one before it, in `overlap`."""
    return max(1, window // 3)


def _spread(first: int, last: int, parts: int) -> list[int]:
    """Positions from `first` to `last` that cut the way into `parts` parts of nearly equal length."""
    return [first + (2 * part * (last - first) + parts) // (2 * parts) for part in range(parts + 1)]


def _keys(way: int, window: int, frame_stride: int, sourced: bool, ended: bool) -> list[tuple[int, float]]:
    """Keys of a way of so many latents: for each the frame of one window that it shows, and how far along that belongs.

    As many as leave room between them, or as the gaps need to fit into a window, at even steps through the frames.
    """
    frames = frame_stride * (window - 1)
    own, last = frames, float(frames)
    if ended and not sourced:  # the frames of the last latent are one moment, which is taken for the middle of them
        own, last = frames - frame_stride + 1, frames - frame_stride / 2
    most = window - 1 if sourced else frames
    even = [parts for parts in range(1, most + 1) if most % parts == 0]
    fit = math.ceil(way * frames / (last * (window - 1)))
    parts = max(parts for parts in even if parts == 1 or KEYS_APART * parts <= way)
    if parts < fit:
        parts = min([number for number in even if number >= fit], default=most)
    pictures = _spread(0, frames, min(parts, way))
    return [(picture, picture / last) for picture in pictures[:-1] if picture < own] + [(frames, 1.0)]


def _strength(latents: int, window: int) -> float:
    """Strength of gaps and joints: 1 in a film of half the model's own pace, `STEADY` in one of an eighth and less.

    The slower a film, the closer its keys, and the closer is the truth to the straight way from one to the next. From
    pure noise a model places what hardly moves anew in every latent, a few pixels to and fro.
    """
    slower = (latents - 1) / (window - 1)
    return min(1.0, max(STEADY, 1.0 - (1.0 - STEADY) * math.log2(slower / 2) / 2))


def _hierarchy(latents: int, window: int, frame_stride: int, sourced: bool, ended: bool) -> Iterator[Piece]:
    """Keys, of one window over the whole clip; keys between keys until the gaps fit; the gaps; and then joints.

    A key stands still, so that things would halt there: a joint makes it anew together with what lies around it, from
    the middle of one gap to the middle of the next.
    """
    strength = _strength(latents, window)
    maker: dict[int, str] = {}
    places = {0: 0.0, latents - 1: latents - 1.0}
    waiting = [(0, latents - 1)]
    while waiting:
        first, last = waiting.pop(0)
        # Between two keys that are there, the later one is one moment, like a last latent that is given.
        shown = _keys(last - first, window, frame_stride, sourced, ended or bool(maker))
        slots = tuple(_spread(first, last, window - 1))
        belongs, pictures = dict[int, float](), dict[int, int]()
        for picture, share in shown:
            place = places[first] + share * (places[last] - places[first])
            key = slots[picture // frame_stride] if sourced or share in (0.0, 1.0) else math.floor(place + 0.5)
            belongs[key], pictures[key] = key if sourced else place, picture  # of two at one latent, the later one
        places |= belongs
        marks = tuple(belongs)
        if not maker:
            piece = Piece("keys", slots, marks, pictures=tuple(pictures.values()))
        else:
            needs = tuple(dict.fromkeys((maker[first], maker[last])))
            name = f"keys-{first:05d}-{last:05d}"
            shows = tuple(pictures.values())[1:-1]
            piece = Piece(name, slots, marks[1:-1], needs, pictures=shows, strength=strength)
        yield piece
        maker |= dict.fromkeys(piece.makes, piece.id)
        waiting += [(before, after) for before, after in pairwise(marks) if after - before > window - 1]
    keys = sorted(maker)
    yield from _between("gap", keys, window, strength, maker, places)
    middles = [(before + after) // 2 for before, after in pairwise(keys) if after - before > 1]
    yield from _between("joint", middles, window, strength, maker)


def _between(
    kind: str,
    known: Sequence[int],
    window: int,
    strength: float,
    maker: dict[int, str],
    places: Mapping[int, float] | None = None,
) -> Iterator[Piece]:
    """What lies between latents that are known, as many of them as fit into a window at a time.

    Args:
        maker: of each latent that was made, the piece; told of those that are made here.
        places: where each that is known belongs; None where they stand.
    """
    at, marks = 0, set(known)
    while at < len(known) - 1:
        end = at + 1
        while end + 1 < len(known) and known[end + 1] - known[at] < window:
            end += 1
        span = tuple(range(known[at], known[end] + 1))
        inside = tuple(position for position in span if position not in marks)
        if inside and len(span) <= window:
            needs = tuple(dict.fromkeys(maker[position] for position in known[at : end + 1]))
            belong = () if places is None else tuple(places[position] for position in known[at : end + 1])
            piece = Piece(f"{kind}-{known[at]:05d}", span, inside, needs, strength=strength, places=belong)
            yield piece
            maker |= dict.fromkeys(inside, piece.id)
        at = end


def _overlapping(latents: int, window: int, backward: bool) -> Iterator[Piece]:
    """Windows one after the other; the last one reaches back further, so that it is as long as the others."""
    stride = window - overlap_of(window)
    starts = [*range(0, latents - window, stride), latents - window]
    spans = [range(start, start + window) for start in starts]
    if backward:
        spans = [range(latents - span.stop, latents - span.start) for span in spans]
    maker: dict[int, str] = {}
    for number, span in enumerate(spans):
        makes = tuple(position for position in span if position not in maker)
        needs = tuple(dict.fromkeys(maker[position] for position in span if position in maker))
        name = f"window-{number:05d}"
        yield Piece(name, tuple(span), makes, needs)
        maker.update(dict.fromkeys(makes, name))


def _row(latents: int, window: int) -> Iterator[tuple[int, ...]]:
    """Windows from the first latent to the last, each over half of the one before."""
    stride = window - window // 2
    for start in [*range(0, latents - window, stride), latents - window]:
        yield tuple(range(start, start + window))


def _ring(latents: int, window: int) -> Iterator[tuple[int, ...]]:
    """Windows around the ring of the latents 1 .. n-1; latent 0 is n-1 seen from the other side."""
    around = latents - 1
    width = min(window, around)
    count = max(1, -(-around // (width - width // 2)))
    for start in _spread(0, around, count)[:-1]:
        yield tuple((start + step) % around + 1 for step in range(width))


def _segments(positions: Sequence[int], steps: int) -> Iterator[Piece]:
    before: tuple[str, ...] = ()
    for first in range(0, steps, SEGMENT_STEPS):
        piece = Piece(
            f"steps-{first:05d}", tuple(positions), tuple(positions), before, (first, min(first + SEGMENT_STEPS, steps))
        )
        yield piece
        before = (piece.id,)
