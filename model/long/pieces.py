"""Pieces of a long clip as plain data: which latents each sees, which it makes, and what must be there before.

A clip has latents 0 .. n-1 along time. Latent 0 holds one frame and every other one four (the model's frame stride).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from functools import cached_property

METHODS = ("hierarchical", "overlap", "co_denoise")
"""How a long clip may be made: key latents and then what lies between; one window after the other; all at once."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the work on a long clip. Its latents do not depend on who makes it, nor when.

    Attributes:
        id: its name in the plan, and of the object that keeps it.
        positions: latents of the clip that its window holds, in the window's order.
        makes: latents of the clip that it makes: those of its window that are not known from `needs`, or keys.
        needs: ids of pieces that must be there before.
        steps: sampling steps (first, end) that it does of the whole walk, or None for all of them.
        pictures: for keys, the frame of its window that stands at each latent of `makes` (`model.long.held`).
        strength: share of the noise to start from; below 1, sampling starts from the noised way between what is known.
        places: where on that way each of `known` belongs, in latents of the clip; empty means where it stands. A key
            stands at a whole latent, and what it shows may belong beside it.
    """

    id: str
    positions: tuple[int, ...]
    makes: tuple[int, ...]
    needs: tuple[str, ...] = ()
    steps: tuple[int, int] | None = None
    pictures: tuple[int, ...] = ()
    strength: float = 1.0
    places: tuple[float, ...] = ()

    @property
    def known(self) -> tuple[int, ...]:
        """Positions that it takes from the pieces before."""
        if self.pictures:
            return (self.positions[0], self.positions[-1]) if self.needs else ()
        made = set(self.makes)
        return tuple(position for position in self.positions if position not in made)


@dataclass(frozen=True)
class LongPlan:
    """The pieces of one clip, in an order in which they can be made.

    A position may be made twice: what a later piece of the plan makes of it is the clip's.

    Attributes:
        method: of METHODS.
        latents: of the clip, along time.
        window: most latents that the model sees at once.
        closed: the clip is a ring: latents 0 and n-1 are the same one.
        pieces: the work.
        windows: positions of each window, where all windows do every step together (co_denoise).
    """

    method: str
    latents: int
    window: int
    pieces: tuple[Piece, ...]
    closed: bool = False
    windows: tuple[tuple[int, ...], ...] = ()

    @cached_property
    def by_id(self) -> dict[str, Piece]:
        return {piece.id: piece for piece in self.pieces}

    @cached_property
    def stamp(self) -> str:
        """16 hexadecimal digits over the whole plan: latents kept under another plan are not this one's."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def source(self, piece: Piece, position: int) -> str:
        """The piece of `piece.needs` whose latent stands at a known position; the last of several in the plan."""
        wanted = set(piece.needs)
        for earlier in reversed(self.pieces):
            if earlier.id in wanted and position in earlier.makes:
                return earlier.id
        raise ValueError(f"nothing that {piece.id} needs makes the latent {position}")

    def joins(self, frame_stride: int) -> tuple[int, ...]:
        """Where latents of different pieces meet: the first frame after each join, in order."""
        maker = {position: piece.id for piece in self.pieces for position in piece.makes}
        return tuple(
            frame_stride * (position - 1) + 1
            for position in range(1, self.latents)
            if maker[position] != maker[position - 1]
        )

    def ready(self, done: Collection[str]) -> list[Piece]:
        """Pieces that are not done and could be made now, in order. They do not depend on one another."""
        return [piece for piece in self.pieces if piece.id not in done and all(need in done for need in piece.needs)]
