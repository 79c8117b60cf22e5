"""What the scheduler decides by, and the words it answers with. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from actors.errors import ErrorClass
from actors.scheduling.takes import Take

FP32 = "float32"
REDONE_IN_FP32 = frozenset({ErrorClass.NAN, ErrorClass.QUALITY})
"""What numbers that ran over look like, as they are or in the picture. The seed would give the same once more."""

ROWS_FAULT = frozenset({ErrorClass.INPUT, ErrorClass.POLICY})
"""What is plainly in the catalog's row, and comes out the same however often it is tried."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Bounds of trying again.

    tries: attempts of a take that fail by its own fault before it is quarantined. What input and policy forbid is not
    tried again; what came out unusable (``REDONE_IN_FP32``) is, once, in fp32. take_deaths and slot_deaths: gang deaths
    that quarantine a take, or in a row retire a slot. farm_faults: faults of the farm in a row, with no commit between,
    that stop the job. quarantines: likewise for takes given up, but for ``ROWS_FAULT``, while others wait.
    budget_gpu_s: the job's cap on GPU seconds.
    keep_ahead: takes of a shot with `keep` that may be at work beyond those it still needs.
    straggler_factor and straggler_s: times its estimate, and seconds at least, that a take renders before it is copied.
    """

    tries: int = 3
    take_deaths: int = 3
    slot_deaths: int = 4
    farm_faults: int = 30
    quarantines: int = 100
    backoff_s: float = 1.0
    backoff_most_s: float = 60.0
    budget_gpu_s: float | None = None
    straggler_factor: float = 3.0
    straggler_s: float = 30.0
    keep_ahead: int = 0

    def __post_init__(self) -> None:
        if self.slot_deaths <= self.take_deaths:
            raise ValueError(
                f"slot_deaths ({self.slot_deaths}) must be above take_deaths ({self.take_deaths}): "
                "else one poisonous take retires a healthy slot"
            )

    def gives_up(self, error: ErrorClass, faults: int, precision: str | None) -> bool:
        """Whether a take is given up after a fault of its own.

        error: the class of it. faults: how many of its own it has had, with this one. precision: of this attempt, None
        where it was the plan's.
        """
        if error in ROWS_FAULT:
            return True
        if error in REDONE_IN_FP32:
            return precision == FP32
        return faults >= self.tries

    def delay(self, take: int, faults: int) -> float:
        """Seconds to wait after the n-th fault of the farm: doubled each time, spread by ±25 % from take to take."""
        spread = 0.75 + 0.5 * ((take * 2654435761 + faults * 40503) % 1024) / 1023
        return float(min(self.backoff_most_s, self.backoff_s * 2 ** min(faults - 1, 16)) * spread)


class State(StrEnum):
    """Where a take stands.

    ``blocked``: it waits for those that it comes after. ``held``: not started, because its shot's budget is used up.
    ``skipped``: never to be started, because enough takes of its shot have passed.
    """

    PENDING = "pending"
    BLOCKED = "blocked"
    RUNNING = "running"
    FINISHING = "finishing"
    COMMITTED = "committed"
    CACHED = "cached"
    QUARANTINED = "quarantined"
    HELD = "held"
    SKIPPED = "skipped"


LIVE = frozenset({State.RUNNING, State.FINISHING})
DONE = frozenset({State.COMMITTED, State.CACHED})
SETTLED = DONE | {State.QUARANTINED, State.SKIPPED}
WAITING = frozenset({State.PENDING, State.BLOCKED, State.HELD})
JobState = Literal["running", "done", "budget", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """A take handed to a slot. The precision is set only where a retry departs from the plan; the key stays.

    copy: another attempt at the take is at work, and late. retried: attempts that failed before, by error class.
    """

    take: Take
    attempt: int
    precision: str | None = None
    low_memory: bool = False
    copy: bool = False
    retried: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Orphan:
    """A take given up without an attempt, because one that it comes after was given up."""

    take: Take
    upstream: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a take after a report.

    ``superseded``: the report came from an attempt that no longer owns the take, and changed nothing but, where the
    take was settled without it, the books. ``outlived``: the attempt has ended, and another goes on with the take.
    """

    kind: Literal["committed", "retry", "quarantine", "superseded", "outlived"]
    error: ErrorClass | None = None
    delay: float = 0.0
    slot_retired: bool = False
