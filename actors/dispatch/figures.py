"""Figures of a job for those who watch it."""

from __future__ import annotations

from actors.dispatch.orders import Ledger
from actors.scheduling.scheduler import Scheduler
from actors.scheduling.tally import SHARD_COUNTS


def all_shards(scheduler: Scheduler, ledger: Ledger | None) -> list[dict[str, int]]:
    """A row for each shard, in order: also for those that are not loaded yet. See `Scheduler.shards`."""
    rows = {row["shard"]: row for row in scheduler.shards()}
    if ledger is not None:
        for shard, total in ledger.shard_sizes.items():
            row = rows.setdefault(shard, {"shard": shard, **dict.fromkeys(SHARD_COUNTS, 0)})
            row["total"] = total
    return [rows[shard] for shard in sorted(rows)]


def eta_s(scheduler: Scheduler, ledger: Ledger | None, ranks: int) -> float | None:
    """Seconds that are left on so many ranks, from what the rendered takes really cost; None while nobody can tell."""
    left = 0.0 if ledger is None else ledger.planned - scheduler.standing.planned_settled
    if not scheduler.outcomes.planned_committed or left <= 0.0:
        return None
    pace = scheduler.accounts.rendered / scheduler.outcomes.planned_committed
    return round(left * pace / ranks, 1)
