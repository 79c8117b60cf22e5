"""How a long clip is cut into pieces, by each method. Whole numbers only; the model's numbers come in as arguments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from model.errors import InputError
from model.long.pieces import METHODS, LongPlan, Piece

LEAST_WINDOW = 3
"""Latents of the smallest window: two that are known, and one between them."""
SEGMENT_STEPS = 5
"""Sampling steps of one piece of `co_denoise`: what a lost gang costs there."""


def plan_pieces(
    method: str, latents: int, window: int, *, steps: int = 1, backward: bool = False, closed: bool = False
) -> LongPlan:
    """The pieces of a clip of `latents` latents with windows of at most `window`.

    Args:
        method: of METHODS.
        latents: of the clip; a clip that fits into one window is one piece, whatever the method.
        window: most latents that the model sees at once.
        steps: sampling steps of a whole walk.
        backward: `overlap` begins at the end of the clip, because that is what is known.
        closed: `co_denoise` closes the clip to a ring, in which the latents 0 and `latents` - 1 are the same.

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
        return LongPlan(method, latents, window, tuple(_hierarchy(latents, window)))
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


def _hierarchy(latents: int, window: int) -> Iterator[Piece]:
    """Keys over the whole clip in one window; keys between keys until the gaps fit; the gaps; then the keys' joints.

    A key stands still, so that things would halt there: a joint makes it anew together with what lies around it, from
    the middle of one gap to the middle of the next. Between keys that follow one another at once there is nothing to
    join.
    """
    maker: dict[int, str] = {}
    gaps: list[Piece] = []
    top = _spread(0, latents - 1, window - 1)
    pieces = [Piece("keys", tuple(top), tuple(top), held=True)]
    maker.update(dict.fromkeys(top, "keys"))
    waiting = list(pairwise(top))
    while waiting:
        first, last = waiting.pop(0)
        needs = tuple(dict.fromkeys((maker[first], maker[last])))
        if last - first <= window - 1:
            inside = tuple(range(first + 1, last))
            if inside:
                gaps.append(Piece(f"gap-{first:05d}", (first, *inside, last), inside, needs))
            continue
        keys = _spread(first, last, min(window - 1, -(-(last - first) // (window - 1))))
        name = f"keys-{first:05d}-{last:05d}"
        pieces.append(Piece(name, tuple(keys), tuple(keys[1:-1]), needs, held=True))
        maker.update(dict.fromkeys(keys[1:-1], name))
        waiting += pairwise(keys)
    gaps.sort(key=lambda gap: gap.positions)
    yield from pieces
    yield from gaps
    filler = {position: gap.id for gap in gaps for position in gap.makes} | maker
    for before, key, after in zip(*(sorted(maker)[shift:] for shift in range(3)), strict=False):
        if min(key - before, after - key) > 1:
            first, last = (before + key) // 2, (key + after) // 2
            needs = tuple(dict.fromkeys((filler[first], filler[last])))
            yield Piece(f"joint-{key:05d}", tuple(range(first, last + 1)), tuple(range(first + 1, last)), needs)


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
