"""The breaker of a job: what goes wrong so often in a row that going on would only cost more. Pure."""

from __future__ import annotations

from collections.abc import Callable

from actors.errors import ErrorClass
from actors.scheduling.policy import ROWS_FAULT, JobState, Policy


class Breaker:
    """Counts what goes wrong with no commit in between, and stops the job at the policy's bounds.

    Args:
        stop: ends the job, with a reason.
        pending: whether takes are left that could still be spared.
    """

    def __init__(self, policy: Policy, stop: Callable[[JobState, str], None], pending: Callable[[], bool]) -> None:
        self._policy, self._stop, self._pending = policy, stop, pending
        self._farm_faults = self._quarantines = 0

    def farm_fault(self, what: str) -> None:
        """Something went wrong that is no take's fault."""
        self._farm_faults += 1
        if self._farm_faults >= self._policy.farm_faults:
            self._stop("failed", f"{self._farm_faults} faults of the farm in a row and no take was committed ({what})")

    def quarantined(self, error: ErrorClass) -> None:
        """A take was given up. One whose own row is at fault says nothing of the others, and costs next to nothing; and
        where no take is left there is nothing to spare: such a job ends as any other with takes given up.
        """
        if error in ROWS_FAULT:
            return
        self._quarantines += 1
        if self._quarantines >= self._policy.quarantines and self._pending():
            self._stop("failed", f"{self._quarantines} takes were quarantined in a row and none was committed")

    def succeeded(self) -> None:
        """A take is done: what went before is forgotten."""
        self._farm_faults = self._quarantines = 0
