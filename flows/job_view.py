"""What people are shown of a job, as plain data: counts, cost, failures, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flows.markdown import shorten
from flows.shards import Shard

MOST_FAILURES = 500
"""Rows of the failures table. The page searches them in the browser, and the whole table is one database row."""
MOST_POSTERS = 24
MOST_FILMS = 12


@dataclass(frozen=True)
class Failure:
    """A take that was given up in this round, or a row of the catalog that was refused."""

    what: str
    error: str
    message: str
    where: str = ""
    attempts: int | None = None
    gpu_s: float | None = None
    replay: str = ""

    def as_row(self) -> dict[str, Any]:
        """A row of the failures table."""
        return {
            "shot": self.what,
            "error": self.error,
            "message": shorten(self.message, 400),
            "attempts": self.attempts,
            "gpu_s": None if self.gpu_s is None else round(self.gpu_s, 2),
            "log": self.where,
            "replay": self.replay,
        }


@dataclass(frozen=True)
class Price:
    """What GPU seconds cost. `gpu_hour` None: no money is shown."""

    gpu_hour: float | None = None
    currency: str = "USD"

    def of(self, gpu_s: float) -> str:
        """The price of some GPU seconds, or a dash."""
        return "–" if self.gpu_hour is None else f"{gpu_s * self.gpu_hour / 3600:,.2f} {self.currency}"


@dataclass(frozen=True)
class Result:
    """What a job came to: figures as (name, value), shots and takes that people should look at, and a picture (PNG)."""

    figures: Sequence[tuple[str, str]]
    picture: bytes
    look_at: Sequence[str] = ()


@dataclass(frozen=True)
class JobView:
    """All that the report says. Counts are takes; `gpu_s` has rendered, failed, duplicate and cached."""

    job_id: str
    store: str
    state: str
    takes: Mapping[str, int]
    gpu_s: Mapping[str, float]
    shards: Sequence[Shard] = ()
    failures: Sequence[Failure] = ()
    failures_total: int = 0
    running: Sequence[str] = ()
    posters: Sequence[tuple[str, bytes]] = ()
    films: Sequence[tuple[str, str]] = ()
    board: str | None = None
    price: Price = field(default_factory=Price)
    result: Result | None = None
    eta_s: float | None = None
    started: datetime | None = None
    updated: datetime | None = None
    error: str | None = None

    @property
    def percent(self) -> float:
        """How much of the job is settled, 0 to 100."""
        total = self.takes.get("total", 0)
        settled = sum(self.takes.get(name, 0) for name in ("committed", "quarantined", "skipped"))
        return 100.0 if not total else 100.0 * settled / total
