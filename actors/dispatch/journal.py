"""What a dispatcher tells: events for those who watch, a log per attempt, a quarantine record per take given up."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from actors.gangs.rendering import Failure
from actors.job import JobSpec
from actors.logs import AttemptLog
from actors.metrics import FarmMetrics
from actors.replay import replay_command
from infra.store import Store
from infra.store.errors import StoreError, StoreUnavailable
from infra.store.jobs import record_quarantine
from infra.store.layout import log_path

log = logging.getLogger(__name__)

EVENTS_KEPT = 20_000
AGAIN_S = 2.0
OUTAGE_S = 600.0
"""As long as for a film, a job that has rendered everything waits for a store that does not take its last records."""
_NAMED = ("show", "shot_id", "take", "revision", "spec_key", "attempt", "shard")
SEQUENCES_PER_LIFE = 1_000_000_000
"""A dispatcher that takes over after a death numbers its events above those of the one before."""


class Journal:
    """Events in memory, logs and quarantine records in the store. For one event loop; store calls run in threads."""

    def __init__(self, spec: JobSpec, store: Store, life: int, metrics: FarmMetrics) -> None:
        self._spec, self._store, self._metrics = spec, store, metrics
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self._next = life * SEQUENCES_PER_LIFE + 1
        self._writing: set[asyncio.Task[None]] = set()
        self._records: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(8)

    def event(self, kind: str, order: Mapping[str, Any] | None = None, **facts: Any) -> None:
        """Adds an event: seq, at, kind, the take's name, and what else is known."""
        named = {name: order[name] for name in _NAMED if name in order} if order else {}
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._events.append({"seq": self._next, "at": at, "kind": kind, **named, **facts})
        self._next += 1
        self._metrics.event(kind)

    def since(self, seq: int) -> list[dict[str, Any]]:
        """Events numbered above ``seq``, oldest first."""
        newer = []
        for event in reversed(self._events):
            if event["seq"] <= seq:
                break
            newer.append(event)
        return newer[::-1]

    def log_path(self, order: Mapping[str, Any]) -> str:
        names = (order["show"], order["shot_id"], order["revision"], order["take"])
        return log_path(*names, self._spec.job_id, self._spec.epoch, order["attempt"])

    def put_log(self, order: Mapping[str, Any], lines: AttemptLog) -> None:
        """Puts the log of an attempt that has ended. A log that is lost costs nothing but itself."""
        path, data = self.log_path(order), lines.encode()

        def put() -> None:
            try:
                self._store.write(path, data)
            except StoreError as error:
                log.warning("no log at %s: %s", path, error)
                self._metrics.event("log_lost")

        self._in_background(put)

    def quarantine(self, order: Mapping[str, Any], failure: Failure, gpu_s: float, ended: Callable[[], bool]) -> None:
        """Puts the record of a take given up, for as long as it takes: without it, the take would be rendered again.

        ended: true once the job is over and the record must not hold it up any longer.
        """
        facts = {
            "error_class": str(failure.error),
            "message": str(failure),
            "attempt": order["attempt"],
            "gpu_s": round(gpu_s, 3),
            "log": self.log_path(order),
            "replay": replay_command(order, self._spec.model_folder, self._spec.store_url),
        }
        record = {
            **{name: order.get(name) for name in _NAMED},
            **facts,
            "job_id": self._spec.job_id,
            "round": self._spec.round,
            "epoch": self._spec.epoch,
            "exception": failure.kind,
            "traceback": failure.traceback,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }

        async def put() -> None:
            while True:
                try:
                    await asyncio.to_thread(record_quarantine, self._store, self._spec.job_id, record)
                    break
                except StoreUnavailable as error:
                    log.warning("the quarantine record of %s waits: %s", order["shot_id"], error)
                    if ended():
                        break
                    await asyncio.sleep(AGAIN_S)
            self.event("quarantined", order, **facts)

        task = asyncio.ensure_future(put())
        self._records.add(task)
        task.add_done_callback(self._records.discard)
        self._keep(task)

    async def recorded(self, timeout_s: float) -> int:
        """Waits until all records of takes given up are in the store, or the time is over. How many are not, then."""
        if self._records:
            await asyncio.wait(set(self._records), timeout=timeout_s)
        return len(self._records)

    async def flush(self, timeout_s: float) -> None:
        """Waits until all that was handed over is in the store, or the time is over."""
        if self._writing:
            await asyncio.wait(set(self._writing), timeout=timeout_s)

    def _in_background(self, call: Callable[[], None]) -> None:
        async def run() -> None:
            async with self._slots:
                await asyncio.to_thread(call)

        self._keep(asyncio.ensure_future(run()))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._writing.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._writing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the journal could not write", exc_info=error)
            self.event("journal_failed", message=f"{type(error).__name__}: {error}")
