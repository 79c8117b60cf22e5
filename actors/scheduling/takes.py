"""Takes as the scheduler sees them, and the queue that says which comes next. Pure: no Ray, no clock."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from math import inf

Shape = tuple[int, int, int]
"""Rendered width, height and frames: takes of one shape run one after another without a new warm-up."""

Urgency = tuple[int, float]

AFFINITY = 0.5
"""A gang keeps its shape as long as the next take of it costs at least this share of the largest that waits."""


@dataclass(frozen=True, slots=True)
class Take:
    """One take to render. Times are seconds since the epoch, costs and budgets are GPU seconds.

    after: takes that must be settled before this one may start; needs: how many of them must be done, all by default.
    gangless: nothing is rendered for it (its picture is another take's), so it asks for no gang.
    keep: how many takes of its shot are wanted; once so many have passed, this one is skipped. None: it is rendered in
    any case.
    """

    id: int
    shot: tuple[str, str]
    shape: Shape = (0, 0, 0)
    shard: int = 0
    cost: float = 1.0
    priority: int = 0
    deadline: float | None = None
    not_before: float | None = None
    budget: float | None = None
    after: tuple[int, ...] = ()
    needs: int | None = None
    gangless: bool = False
    keep: int | None = None

    @property
    def urgency(self) -> Urgency:
        """Lower is more urgent: priority first, then the deadline."""
        return -self.priority, inf if self.deadline is None else self.deadline

    def hurried(self, urgency: Urgency) -> Take:
        """The same take as urgent as that."""
        priority, deadline = urgency
        return replace(self, priority=-priority, deadline=None if deadline == inf else deadline)


_Entry = tuple[bool, float, int, int, Take]


class TakeQueue:
    """Waiting takes: highest priority first, then the earliest deadline, then the largest cost.

    A take that is tried again goes to the front of its group. Every operation costs O(log n), plus the number of
    shapes in the group that is served.
    """

    def __init__(self) -> None:
        self._groups: dict[Urgency, dict[Shape, list[_Entry]]] = {}
        self._order: list[Urgency] = []
        self._delayed: list[tuple[float, int, int, bool, Take]] = []
        self._size = self._pushed = 0

    def __len__(self) -> int:
        return self._size

    def push(self, take: Take, *, front: bool = False, at: float | None = None) -> None:
        """Adds a take, which waits until ``at`` where that is given."""
        self._size += 1
        self._pushed += 1
        if at is not None:
            heapq.heappush(self._delayed, (at, take.id, self._pushed, front, take))
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
            *_, front, take = heapq.heappop(self._delayed)
            self._file(take, front)

    def _file(self, take: Take, front: bool) -> None:
        group = take.urgency
        if group not in self._groups:
            self._groups[group] = {}
            heapq.heappush(self._order, group)
        self._pushed += 1
        entries = self._groups[group].setdefault(take.shape, [])
        heapq.heappush(entries, (not front, -take.cost, take.id, self._pushed, take))


def _choose(shapes: dict[Shape, list[_Entry]], near: Shape | None) -> Shape:
    best = min(shapes, key=lambda shape: shapes[shape][0][:3])
    if near is None or near == best or near not in shapes:
        return best
    behind, cost, *_ = shapes[best][0]
    retried = not behind
    return near if not retried and shapes[near][0][1] <= cost * AFFINITY else best
