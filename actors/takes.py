"""Takes as the scheduler sees them, and the queue that says which comes next. Pure: no Ray, no clock."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from math import inf

Shape = tuple[int, int, int]
"""Rendered width, height and frames: takes of one shape run one after another without a new warm-up."""

AFFINITY = 0.5
"""A gang keeps its shape as long as the next take of it costs at least this share of the largest that waits."""


@dataclass(frozen=True, slots=True)
class Take:
    """One take to render. Times are seconds since the epoch, costs and budgets are GPU seconds."""

    id: int
    shot: tuple[str, str]
    shape: Shape = (0, 0, 0)
    shard: int = 0
    cost: float = 1.0
    priority: int = 0
    deadline: float | None = None
    not_before: float | None = None
    budget: float | None = None


_Group = tuple[int, float]
_Entry = tuple[bool, float, int, Take]


class TakeQueue:
    """Waiting takes: highest priority first, then the earliest deadline, then the largest cost.

    A take that is tried again goes to the front of its group. Every operation costs O(log n), plus the number of
    shapes in the group that is served.
    """

    def __init__(self) -> None:
        self._groups: dict[_Group, dict[Shape, list[_Entry]]] = {}
        self._order: list[_Group] = []
        self._delayed: list[tuple[float, int, bool, Take]] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, take: Take, *, front: bool = False, at: float | None = None) -> None:
        """Adds a take, which waits until ``at`` where that is given."""
        self._size += 1
        if at is not None:
            heapq.heappush(self._delayed, (at, take.id, front, take))
        else:
            self._file(take, front)

    def pop(self, now: float, near: Shape | None = None) -> Take | None:
        """The take to render next, or None while nothing is due. ``near`` is the shape that the gang rendered last."""
        self._wake(now)
        while self._order:
            group = self._order[0]
            shapes = self._groups[group]
            if not shapes:
                heapq.heappop(self._order)
                del self._groups[group]
                continue
            shape = _choose(shapes, near)
            entries = shapes[shape]
            take = heapq.heappop(entries)[-1]
            if not entries:
                del shapes[shape]
            self._size -= 1
            return take
        return None

    def next_due(self) -> float | None:
        """When the earliest delayed take becomes due; None when none is delayed."""
        return self._delayed[0][0] if self._delayed else None

    def _wake(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            _, _, front, take = heapq.heappop(self._delayed)
            self._file(take, front)

    def _file(self, take: Take, front: bool) -> None:
        group = (-take.priority, inf if take.deadline is None else take.deadline)
        if group not in self._groups:
            self._groups[group] = {}
            heapq.heappush(self._order, group)
        heapq.heappush(self._groups[group].setdefault(take.shape, []), (not front, -take.cost, take.id, take))


def _choose(shapes: dict[Shape, list[_Entry]], near: Shape | None) -> Shape:
    best = min(shapes, key=lambda shape: shapes[shape][0][:3])
    if near is None or near == best or near not in shapes:
        return best
    behind, cost, _, _ = shapes[best][0]
    retried = not behind
    return near if not retried and shapes[near][0][1] <= cost * AFFINITY else best
