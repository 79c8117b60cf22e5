"""The shards of a job, as task runs show them: their names and how far each is."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Shard:
    """A shard's name, as its task run has it, and its counts."""

    name: str
    total: int
    done: int = 0
    running: int = 0
    failed: int = 0
    before: int = 0
    """Takes that were settled when this run began."""
    skipped: int = 0
    """Takes that are not wanted any more, because enough others of their shots have passed."""

    @property
    def settled(self) -> int:
        """Takes of which nothing more is to come."""
        return self.done + self.failed + self.skipped

    @property
    def state(self) -> str:
        """done, failed (finished, with takes given up), running or waiting."""
        if self.settled >= self.total:
            return "failed" if self.failed else "done"
        return "running" if self.running or self.settled > self.before else "waiting"

    @property
    def percent(self) -> float:
        """How much of it is settled, 0 to 100."""
        return 100.0 if not self.total else 100.0 * self.settled / self.total


def shards_of(
    takes: pa.Table,
    settled: frozenset[tuple[str, str, int]] = frozenset(),
    skipped: frozenset[tuple[str, str, int]] = frozenset(),
) -> dict[int, Shard]:
    """The shards of a plan that have something to render, by number.

    Args:
        takes: a plan's takes: show, shot_id, take, shard, cached (of this moment).
        settled: takes given up in the newest round, as (show, shot_id, take).
        skipped: takes that are not wanted any more.
    """
    columns = takes.select(["show", "shot_id", "take", "shard", "cached"])
    shots: dict[int, tuple[str, str]] = {}
    counts: dict[int, list[int]] = {}
    for batch in columns.to_batches(max_chunksize=65536):
        for show, shot, take, shard, cached in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            first, _ = shots.get(shard, (shot, shot))
            shots[shard] = (first, shot)
            known = counts.setdefault(shard, [0, 0, 0, 0])
            known[0] += 1
            known[1] += bool(cached)
            known[2] += not cached and (show, shot, take) in settled
            known[3] += not cached and (show, shot, take) in skipped
    digits = max(3, len(str(max(counts, default=0))))
    return {
        n: Shard(
            _shard_name(n, digits, shots[n], total),
            total,
            done=done,
            failed=failed,
            before=done + failed + spared,
            skipped=spared,
        )
        for n, (total, done, failed, spared) in sorted(counts.items())
        if done + failed + spared < total
    }


def _shard_name(number: int, digits: int, ends: tuple[str, str], total: int) -> str:
    first, last = ends
    # ASCII only: the timeline's font has no dots of other kinds, and leaves them out.
    names = first if first == last else f"{first} .. {last}"
    return f"{number:0{digits}d}: {names} ({total})"
