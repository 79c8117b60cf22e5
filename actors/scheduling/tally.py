"""How many takes stand where, in all and by shard. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from actors.scheduling.policy import LIVE, WAITING, State

SHARD_COUNTS = ("total", "done", "running", "failed", "skipped")
"""What is counted of each shard."""


class Tally:
    """Counts of takes by state. Every take is in exactly one state."""

    def __init__(self) -> None:
        self._states: Counter[State] = Counter()
        self._shards: dict[int, Counter[State]] = defaultdict(Counter)

    def __getitem__(self, state: State) -> int:
        return self._states[state]

    @property
    def live(self) -> int:
        """Takes being rendered or finished."""
        return sum(self._states[state] for state in LIVE)

    def add(self, shard: int, state: State, takes: int = 1) -> None:
        self._states[state] += takes
        self._shards[shard][state] += takes

    def move(self, shard: int, before: State, after: State) -> None:
        self.add(shard, before, -1)
        self.add(shard, after)

    def counts(self, unloaded: int = 0) -> dict[str, int]:
        """total, pending, running, committed, cached, quarantined, skipped: disjoint but for the total of them all."""
        return _summary(self._states, unloaded)

    def shards(self) -> list[dict[str, int]]:
        """Per shard, in order: shard, total, done (committed or cached), running, failed (quarantined), skipped."""
        rows = []
        for shard, states in sorted(self._shards.items()):
            row = _summary(states, 0)
            done = row["committed"] + row["cached"]
            failed = row["quarantined"]
            counts = {"total": row["total"], "done": done, "running": row["running"], "failed": failed}
            rows.append({"shard": shard, **counts, "skipped": row["skipped"]})
        return rows


def _summary(states: Mapping[State, int], unloaded: int) -> dict[str, int]:
    row = {
        "pending": sum(states.get(state, 0) for state in WAITING) + unloaded,
        "running": sum(states.get(state, 0) for state in LIVE),
        "committed": states.get(State.COMMITTED, 0),
        "cached": states.get(State.CACHED, 0),
        "quarantined": states.get(State.QUARANTINED, 0),
        "skipped": states.get(State.SKIPPED, 0),
    }
    return {"total": sum(row.values()), **row}
