"""How many takes of a shot have passed, where only so many of them are wanted. Pure: no Ray, no clock.

A take with `keep` is rendered only as long as fewer takes of its shot than that have passed: the others are skipped
then. Until then so many takes of the shot are at work at once as it still needs, and ``ahead`` more.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from actors.scheduling.accounts import Shot
from actors.scheduling.takes import Take


class Keeping:
    """The shots of a job of which a number of takes is to be kept. Takes without `keep` are none of its business."""

    def __init__(self, ahead: int = 0) -> None:
        self._ahead = ahead
        self._passed: Counter[Shot] = Counter()
        self._at_work: dict[Shot, set[int]] = defaultdict(set)
        self._takes: dict[Shot, list[int]] = defaultdict(list)

    def enter(self, take: Take) -> None:
        """A take of the job."""
        if take.keep is not None:
            self._takes[take.shot].append(take.id)

    def passed(self, shot: Shot, takes: int = 1) -> None:
        """So many more takes of the shot have passed."""
        self._passed[shot] += takes

    def enough(self, take: Take) -> bool:
        """Whether so many takes of its shot have passed that this one is not wanted any more."""
        return take.keep is not None and self._passed[take.shot] >= take.keep

    def room(self, take: Take) -> bool:
        """Whether the take may start now: those of its shot at work might still not be enough."""
        if take.keep is None:
            return True
        beside = len(self._at_work[take.shot] - {take.id})
        return beside < take.keep - self._passed[take.shot] + self._ahead

    def began(self, take: Take) -> None:
        """The take is at work."""
        if take.keep is not None:
            self._at_work[take.shot].add(take.id)

    def rests(self, take: Take) -> None:
        """The take is at work no more."""
        if take.keep is not None:
            self._at_work[take.shot].discard(take.id)

    def of(self, shot: Shot) -> list[int]:
        """The takes of a shot that have a `keep`, by id."""
        return list(self._takes[shot])
