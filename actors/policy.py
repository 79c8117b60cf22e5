"""What the scheduler decides by, and the words it answers with. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from actors.errors import ErrorClass
from actors.takes import Take


@dataclass(frozen=True, slots=True)
class Policy:
    """Bounds of trying again.

    tries: attempts of a take that fail by its own fault before it is quarantined (an input fault: one; NaN: two, the
    second in fp32). take_deaths and slot_deaths: gang deaths that quarantine a take, or in a row retire a slot.
    farm_faults: faults of the farm in a row, with no commit between, that stop the job. quarantines: likewise for
    takes given up. budget_gpu_s: the job's cap on GPU seconds.
    """

    tries: int = 3
    take_deaths: int = 3
    slot_deaths: int = 4
    farm_faults: int = 30
    quarantines: int = 100
    backoff_s: float = 1.0
    backoff_most_s: float = 60.0
    budget_gpu_s: float | None = None

    def __post_init__(self) -> None:
        if self.slot_deaths <= self.take_deaths:
            raise ValueError(
                f"slot_deaths ({self.slot_deaths}) must be above take_deaths ({self.take_deaths}): "
                "else one poisonous take retires a healthy slot"
            )

    def tries_of(self, error: ErrorClass) -> int:
        """Attempts that may fail with this class, one of the shot's own, before the take is given up."""
        if error in (ErrorClass.INPUT, ErrorClass.POLICY):
            return 1
        return 2 if error is ErrorClass.NAN else self.tries

    def delay(self, take: int, faults: int) -> float:
        """Seconds to wait after the n-th fault of the farm: doubled each time, spread by ±25 % from take to take."""
        spread = 0.75 + 0.5 * ((take * 2654435761 + faults * 40503) % 1024) / 1023
        return float(min(self.backoff_most_s, self.backoff_s * 2 ** min(faults - 1, 16)) * spread)


class State(StrEnum):
    """Where a take stands. ``held``: not started, because its shot's budget is used up."""

    PENDING = "pending"
    RUNNING = "running"
    FINISHING = "finishing"
    COMMITTED = "committed"
    CACHED = "cached"
    QUARANTINED = "quarantined"
    HELD = "held"


LIVE = frozenset({State.RUNNING, State.FINISHING})
JobState = Literal["running", "done", "budget", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """A take handed to a slot. The precision is set only where a retry departs from the plan; the key stays."""

    take: Take
    attempt: int
    precision: str | None = None
    low_memory: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a take after a report.

    ``superseded``: the report came from an attempt that no longer owns the take, and was not counted.
    """

    kind: Literal["committed", "retry", "quarantine", "superseded"]
    error: ErrorClass | None = None
    delay: float = 0.0
    slot_retired: bool = False
