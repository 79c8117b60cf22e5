"""Caps on GPU seconds: of a job, and of each shot. Pure.

A cap is hard at the start of a take: none starts once what is used, and what the takes under way will use, has reached
it. What a take under way will use is the plan's estimate until it is rendered, and then known.
"""

from __future__ import annotations

from collections import defaultdict
from enum import Enum

from actors.scheduling.accounts import Accounts
from actors.scheduling.takes import Take

Shot = tuple[str, str]


class Room(Enum):
    """What a shot's budget says to another take: it may start, has to wait for others of the shot, or never will."""

    FREE = "free"
    WAIT = "wait"
    NONE = "none"


class Budgets:
    """What may still be spent, beside the books of what was."""

    def __init__(self, accounts: Accounts, cap: float | None) -> None:
        self._accounts, self._cap = accounts, cap
        self._before: dict[Shot, float] = defaultdict(float)
        self._reserved: dict[int, tuple[Shot, float]] = {}
        self._reserved_by_shot: dict[Shot, dict[int, float]] = defaultdict(dict)

    def charge(self, shot: Shot, seconds: float) -> None:
        """What takes of a shot had cost before this job began counts towards the shot's cap, and nowhere else."""
        self._before[shot] += seconds

    def reserve(self, take: Take, seconds: float) -> None:
        """A take under way will use so much; a second call for it replaces the first."""
        self._reserved[take.id] = take.shot, seconds
        self._reserved_by_shot[take.shot][take.id] = seconds

    def release(self, take: Take) -> None:
        """The take came to rest: the books say what it used."""
        self._reserved.pop(take.id, None)
        of_shot = self._reserved_by_shot[take.shot]
        of_shot.pop(take.id, None)
        if not of_shot:
            del self._reserved_by_shot[take.shot]

    @property
    def job_is_full(self) -> bool:
        """Whether no take of the job may start now."""
        if self._cap is None:
            return False
        return self._accounts.spent + sum(seconds for _, seconds in self._reserved.values()) >= self._cap

    def room(self, take: Take) -> Room:
        """Whether a take may start, as far as its shot's cap is concerned."""
        if take.budget is None:
            return Room.FREE
        used = self._accounts.spent_on(take.shot) + self._before.get(take.shot, 0.0)
        if used >= take.budget:
            return Room.NONE
        under_way = sum(self._reserved_by_shot.get(take.shot, {}).values())
        return Room.WAIT if used + under_way >= take.budget else Room.FREE
