"""The breaker of a job: what goes wrong so often in a row that going on would only cost more. Pure."""

from __future__ import annotations

from collections.abc import Callable

from actors.policy import JobState, Policy


class Breaker:
    """Counts what goes wrong with no commit in between, and stops the job at the policy's bounds.

    Args:
        stop: ends the job, with a reason.
    """

    def __init__(self, policy: Policy, stop: Callable[[JobState, str], None]) -> None:
        self._policy, self._stop = policy, stop
        self._farm_faults = self._quarantines = 0

    def farm_fault(self, what: str) -> None:
        """Something went wrong that is no take's fault."""
        self._farm_faults += 1
        if self._farm_faults >= self._policy.farm_faults:
            self._stop("failed", f"{self._farm_faults} faults of the farm in a row and no take was committed ({what})")

    def quarantined(self) -> None:
        """A take was given up."""
        self._quarantines += 1
        if self._quarantines >= self._policy.quarantines:
            self._stop("failed", f"{self._quarantines} takes were quarantined in a row and none was committed")

    def succeeded(self) -> None:
        """A take is done: what went before is forgotten."""
        self._farm_faults = self._quarantines = 0
