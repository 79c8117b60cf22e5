"""Which takes wait for which others. Pure: no Ray, no clock.

A take waits until all that it comes after are settled, done or given up; then it may start where enough of them are
done. Where so many are given up that it never can, it is lost with them. Takes that wait for the same others, as all
takes of one shot do, share one gate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from actors.scheduling.takes import Take

Entry = Literal["open", "shut", "lost"]
Fate = Callable[[int], bool | None]
_Key = tuple[tuple[int, ...], int | None]


class Opened(NamedTuple):
    """What the settling of one take did to those that come after it: ids that may start now, and that never will."""

    free: list[int]
    lost: list[int]


@dataclass(slots=True, eq=False)
class _Gate:
    missing: set[int]
    spare: int  # how many more may be given up
    key: _Key
    members: list[int] = field(default_factory=list)


class Gates:
    """The takes that wait, by what they wait for.

    Args:
        fate: what became of a take: True done, False given up, None not settled, or not heard of yet.
    """

    def __init__(self, fate: Fate) -> None:
        self._fate = fate
        self._before: dict[int, bool] = {}
        self._gates: dict[_Key, _Gate] = {}
        self._gate_of: dict[int, _Gate] = {}
        self._behind: dict[int, list[_Gate]] = defaultdict(list)

    def note(self, take: int, *, done: bool) -> None:
        """A take that was settled before this job began, and that nobody else will tell of."""
        self._before[take] = done

    def enter(self, take: Take) -> Entry:
        """Whether a take may start, has to wait, or never will. Raises ValueError for one that waits for itself."""
        if not take.after:
            return "open"
        key = take.after, take.needs
        gate = self._gates.get(key)
        if gate is None:
            if take.id in take.after:
                raise ValueError(f"take {take.id} waits for itself")
            gate = self._made(key)
            if gate.spare < 0:
                return "lost"
            if not gate.missing:
                return "open"
            self._gates[key] = gate
            for other in gate.missing:
                self._behind[other].append(gate)
        gate.members.append(take.id)
        self._gate_of[take.id] = gate
        return "shut"

    def settle(self, take: int) -> Opened:
        """The take has met its fate: what of those that wait for it may start, and what is lost with it."""
        opened = Opened([], [])
        given_up = self._what_of(take) is False
        for gate in self._behind.pop(take, ()):
            if self._gates.get(gate.key) is not gate:  # lost before, with another
                continue
            gate.missing.discard(take)
            gate.spare -= given_up
            if gate.missing and gate.spare >= 0:
                continue
            (opened.free if gate.spare >= 0 else opened.lost).extend(gate.members)
            del self._gates[gate.key]
            for number in gate.members:
                del self._gate_of[number]
        return opened

    def waits_for(self, take: int) -> frozenset[int]:
        """Takes that this one still waits for."""
        gate = self._gate_of.get(take)
        return frozenset() if gate is None else frozenset(gate.missing)

    def waiting_for(self, take: int) -> list[int]:
        """Takes that wait for this one."""
        gates = (gate for gate in self._behind.get(take, ()) if self._gates.get(gate.key) is gate)
        return [number for gate in gates for number in gate.members]

    def first_lost(self, take: Take) -> int:
        """The first of those that a lost take comes after that was given up."""
        return next(other for other in take.after if self._what_of(other) is False)

    def _made(self, key: _Key) -> _Gate:
        after, needs = key
        fates = [self._what_of(other) for other in after]
        spare = len(after) - (len(after) if needs is None else needs) - fates.count(False)
        return _Gate({other for other, fate in zip(after, fates, strict=True) if fate is None}, spare, key)

    def _what_of(self, take: int) -> bool | None:
        fate = self._fate(take)
        return self._before.get(take) if fate is None else fate
