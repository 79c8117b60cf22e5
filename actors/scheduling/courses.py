"""How one take has fared, and the attempts at work on it. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from actors.scheduling.policy import State
from actors.scheduling.slots import Slot
from actors.scheduling.takes import Take


@dataclass(slots=True)
class Try:
    """An attempt at work.

    Attributes:
        began: when its gang began to render, in seconds since the epoch; None while the take is prepared.
        ranks: of its gang.
        precision: where it departs from the plan's.
        finishing: rendered in so many ``seconds`` (GPU seconds), and its gang is free.
    """

    slot: Slot
    precision: str | None = None
    began: float | None = None
    ranks: int = 1
    finishing: bool = False
    seconds: float = 0.0


@dataclass(slots=True)
class Course:
    """How one take has fared so far.

    Attributes:
        take: as urgent as the most urgent take that waits for it.
        filed: what stands for it in the queue; anything else there is out of date.
        attempt: the number of the newest attempt; they count from 1.
        tries: attempts at work on a take that is not settled: one, or two of a straggler.
        losers: attempts still at work on a take that another attempt, or another job, has settled.
        copied: a copy was handed out beside the attempt at work.
        failures: attempts that failed, by error class.
        lost_seconds: GPU seconds of the last render whose finishing was lost, booked as failed.
    """

    take: Take
    state: State = State.PENDING
    filed: Take | None = None
    due: float | None = None
    attempt: int = 0
    own_faults: int = 0
    farm_faults: int = 0
    deaths: int = 0
    precision: str | None = None
    low_memory: bool = False
    copied: bool = False
    lost_seconds: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    tries: dict[int, Try] = field(default_factory=dict)
    losers: dict[int, Try] = field(default_factory=dict)

    @property
    def live_state(self) -> State:
        """What its attempts at work make of it: RUNNING as long as one of them holds a gang."""
        return State.FINISHING if all(tried.finishing for tried in self.tries.values()) else State.RUNNING

    def expected_seconds(self) -> float:
        """GPU seconds that the attempts at work will have used: known where they are rendered, else planned."""
        return sum(tried.seconds if tried.finishing else self.take.cost for tried in self.tries.values())
