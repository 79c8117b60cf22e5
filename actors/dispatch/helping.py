"""Gangs that have nothing to render help with a long take that another gang renders: piece by piece, through the store.

A helper makes one piece, keeps it in the store and is asked again, so that it is free whenever a take is due. The gang
that renders the take looks into the store before each piece. Neither waits for the other, and the loss of a helper
costs the piece that it was at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actors.gangs.rendering import Order, Progress
from actors.logs import AttemptLog

METHODS = frozenset({"hierarchical"})
"""Long methods whose pieces need not wait for one another."""
PAUSE_S = 2.0
"""Seconds before a take is offered again in which there was nothing to help with."""


@dataclass
class _Open:
    """A take that is being rendered, and who helps."""

    order: Order
    log: AttemptLog
    ready: bool = False
    closed: bool = False
    at: float = 0.0
    helpers: set[int] = field(default_factory=set)

    def offers(self, now: float) -> bool:
        return self.ready and not self.closed and now >= self.at


class Helping:
    """Which takes are open to help. Pure: times come in as seconds.

    most: helpers of one take at once.
    """

    def __init__(self, most: int) -> None:
        self._most = max(0, most)
        self._open: dict[int, _Open] = {}
        self._seconds: dict[int, float] = {}

    def began(self, order: Order, log: AttemptLog) -> None:
        """A gang renders this take now."""
        if order.get("long_method") in METHODS:
            self._open[order["id"]] = _Open(order, log)

    def moved(self, order: Order, progress: Progress) -> None:
        """How far that gang is: its first piece holds the keys, and nothing can be made without them."""
        entry = self._open.get(order["id"])
        if entry is not None and entry.order["attempt"] == order["attempt"]:
            entry.ready = progress.stage == "denoise" and progress.step >= int(order["steps"])

    def ended(self, take: int) -> None:
        """That gang has rendered it, or has not."""
        self._open.pop(take, None)

    def room(self, now: float) -> int:
        """Helpers that would have something to do now."""
        return sum(self._most - len(entry.helpers) for entry in self._open.values() if entry.offers(now))

    def next(self, now: float) -> dict[str, Any] | None:
        """An order for a helper: a take's own, with the helper's number."""
        offers = [entry for entry in self._open.values() if entry.offers(now) and len(entry.helpers) < self._most]
        if not offers:
            return None
        entry = min(offers, key=lambda entry: len(entry.helpers))
        number = min(set(range(1, self._most + 1)) - entry.helpers)
        entry.helpers.add(number)
        return {**entry.order, "helper": number}

    def back(
        self, order: Order, now: float, *, made: bool, seconds: float, lines: tuple[str, ...] = (), failed: bool = False
    ) -> bool:
        """A helper is back. False when the take is no longer rendered, so that its seconds were spent for nothing.

        made: it made a piece; otherwise there was nothing to begin, and the take is offered again a little later.
        failed: what it did went wrong; the take gets no more help, and its own gang will see for itself.
        """
        entry = self._open.get(order["id"])
        if entry is None or entry.order["attempt"] != order["attempt"]:
            return False
        entry.helpers.discard(order["helper"])
        entry.log.extend(lines)
        entry.closed = entry.closed or failed
        if not made:
            entry.at = now + PAUSE_S
        self._seconds[order["id"]] = self._seconds.get(order["id"], 0.0) + seconds
        return True

    def unbooked(self) -> list[tuple[int, float]]:
        """What `spent` was never asked for, by take."""
        left, self._seconds = list(self._seconds.items()), {}
        return left

    def spent(self, take: int) -> float:
        """GPU seconds that helpers have given to a take and that nobody has booked. Asked once."""
        return self._seconds.pop(take, 0.0)
