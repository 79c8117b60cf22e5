"""Which renders run far past their estimate. Pure: times come in as seconds."""

from __future__ import annotations

from collections import deque
from statistics import median

REMEMBERED = 64
"""Renders that the estimate is learnt from: the newest ones, because a farm changes while a job runs."""


class Stragglers:
    """Learns how many GPU seconds a unit of planned cost takes on this farm, and says what is late.

    Args:
        factor: times its estimate that a render may take.
        least_s: seconds for which it has to run before it is called late, whatever the estimate says.
    """

    def __init__(self, factor: float, least_s: float) -> None:
        self._factor, self._least_s = factor, least_s
        self._paces: deque[float] = deque(maxlen=REMEMBERED)

    def learn(self, cost: float, seconds: float) -> None:
        """A take of this planned cost was rendered in so many GPU seconds."""
        if cost > 0.0:
            self._paces.append(seconds / cost)

    def estimate(self, cost: float) -> float | None:
        """GPU seconds that a take of this cost should need; None while nothing was rendered.

        The median: one take that hung for an hour must not make the next look punctual.
        """
        return median(self._paces) * cost if self._paces else None

    def overdue(self, cost: float, *, ran_s: float, ranks: int) -> bool:
        """Whether a render on so many ranks that has run for so long is late."""
        estimate = self.estimate(cost)
        if estimate is None or ran_s <= self._least_s:
            return False
        return ran_s * ranks > self._factor * estimate
