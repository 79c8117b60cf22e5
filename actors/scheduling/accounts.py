"""GPU seconds: one rank occupied for one second, also on a CPU. Every second is booked in one column only. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

Shot = tuple[str, str]


@dataclass(slots=True)
class Accounts:
    """The books of a job.

    rendered: seconds that became commits of this job. failed: seconds of attempts that came to nothing. duplicate:
    seconds of renders whose take another had committed first. cached: seconds that commits found in the store had cost.
    """

    rendered: float = 0.0
    failed: float = 0.0
    duplicate: float = 0.0
    cached: float = 0.0
    by_shot: dict[Shot, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def spent(self) -> float:
        """What this job used up; what the cache saved is not in it."""
        return self.rendered + self.failed + self.duplicate

    def spent_on(self, shot: Shot) -> float:
        """What all takes of one shot used up."""
        return self.by_shot.get(shot, 0.0)

    def book_rendered(self, shot: Shot, seconds: float) -> None:
        self.rendered += seconds
        self.by_shot[shot] += seconds

    def book_failed(self, shot: Shot, seconds: float) -> None:
        self.failed += seconds
        self.by_shot[shot] += seconds

    def book_duplicate(self, shot: Shot, seconds: float) -> None:
        self.duplicate += seconds
        self.by_shot[shot] += seconds

    def book_cached(self, seconds: float) -> None:
        self.cached += seconds

    def turn_failed_into_rendered(self, seconds: float) -> None:
        """An attempt thought lost had committed after all: its seconds change column, they are not booked again."""
        self.failed -= seconds
        self.rendered += seconds

    def as_dict(self) -> dict[str, float]:
        """The four columns, rounded to milliseconds."""
        names = ("rendered", "failed", "duplicate", "cached")
        return {name: round(getattr(self, name), 3) + 0.0 for name in names}
