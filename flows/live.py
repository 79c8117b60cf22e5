"""One running job as this process knows it: filled by the threads that talk to the farm, read by the Prefect flow.

Neither Prefect nor Ray stands behind this: the job goes on when the view is gone, and the view stays when the farm is.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from flows.job_view import MOST_FAILURES, MOST_FILMS, MOST_POSTERS, Failure, JobView, Price, Result
from flows.report import ExitCode
from flows.shards import Shard
from flows.wording import failure_of, running_line, take_name, takes_of

MOST_EVENTS = 5000
"""Events kept for a reader that is behind; older ones are told as a count."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    exit: ExitCode
    state: str
    message: str
    error: str | None = None


@dataclass(frozen=True)
class PauseWish:
    """Somebody asked in Prefect for a pause, or for its end; not in the store yet."""

    paused: bool
    who: str


class LiveJob:
    """Thread-safe. Writers: `update`, `add_events`, `add_picture`, `finish`. Readers: `view`, `events`, `shards`,
    `wait`.
    """

    def __init__(
        self,
        job_id: str,
        store: str,
        *,
        run: int,
        shards: Mapping[int, Shard],
        takes: Mapping[str, int] | None = None,
        failures: Sequence[Failure] = (),
        price: Price | None = None,
        board: str | None = None,
    ) -> None:
        """Args:
        store: URL of the store, without secrets.
        run: which run of this job this is, from 1: the epoch of its lease.
        shards: those with something to render, by number, with their names and numbers of takes.
        takes: counts before anything renders: total, committed, cached, quarantined, pending.
        failures: what was known before: takes given up earlier in this round, and refused rows.
        board: where the board will stand.
        """
        self.job_id, self.store, self.run = job_id, store, run
        self.started = datetime.now(UTC)
        self._price, self._board = price or Price(), board
        self._lock = threading.Lock()
        self._status: Mapping[str, Any] = {"takes": dict(takes or {})}
        self._shards: dict[int, Shard] = dict(shards)
        self._events: deque[Mapping[str, Any]] = deque(maxlen=MOST_EVENTS)
        self._seen = 0
        self._failures: list[Failure] = []
        self._earlier = tuple(failures)
        self._quarantined = 0
        self._films: list[tuple[str, str]] = []
        self._pictures: dict[str, bytes] = {}
        self._over = threading.Event()
        self._stop = threading.Event()
        self._stop_reason = ""
        self._pause: str | None = None
        self._wish: PauseWish | None = None
        self._outcome: Outcome | None = None
        self._sheet: bytes | None = None
        self._result: Result | None = None
        self.flow_run_id: UUID | None = None
        """Of the Prefect flow run, once there is one; `run_page` is the address of its page."""
        self.run_page: str | None = None
        self.page_lasts = False
        """Whether that page is there when this process has ended: not with an embedded server."""

    # Written by the farm's threads

    def update(self, status: Mapping[str, Any]) -> None:
        """A fresh status of the dispatcher."""
        shards = {}
        for entry in status.get("shards", ()):
            number = int(entry["shard"])
            shard = self._shards.get(number)
            if shard is not None:
                done, running, failed, skipped = (
                    int(entry.get(n, 0)) for n in ("done", "running", "failed", "skipped")
                )
                shards[number] = replace(shard, done=done, running=running, failed=failed, skipped=skipped)
        with self._lock:
            # A dispatcher that has not read the plan yet knows of no takes.
            known = takes_of(status) if status.get("takes", {}).get("total") else self._status["takes"]
            self._status = {**status, "takes": known}
            self._shards.update(shards)

    def add_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        """New events of the dispatcher, in order."""
        with self._lock:
            for event in events:
                self._events.append(event)
                self._seen += 1
                if event.get("kind") == "quarantined":
                    self._quarantined += 1
                    if len(self._failures) < MOST_FAILURES:
                        self._failures.append(failure_of(event))
                elif event.get("kind") == "committed" and event.get("media") and len(self._films) <= MOST_FILMS:
                    self._films.append((take_name(event), f"{self.store.rstrip('/')}/{event['media']}"))

    def add_picture(self, label: str, jpeg: bytes) -> None:
        """A poster; the newest `MOST_POSTERS` are kept."""
        with self._lock:
            self._pictures[label] = jpeg
            while len(self._pictures) > MOST_POSTERS:
                del self._pictures[next(iter(self._pictures))]

    def came_to(self, result: Result | None) -> None:
        """What the job came to, with its picture; None where nobody could tell. Comes before `finish`."""
        with self._lock:
            self._result = result

    def finish(self, outcome: Outcome, sheet: bytes | None = None) -> None:
        """The job has ended; the first outcome counts.

        Args:
            sheet: the contact sheet as PNG.
        """
        with self._lock:
            if self._outcome is None:
                self._outcome, self._sheet = outcome, sheet
        self._over.set()

    # Read by the flow and the command line

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it runs."""
        return self._outcome

    @property
    def sheet(self) -> bytes | None:
        """The contact sheet, once the job has ended."""
        return self._sheet

    @property
    def status(self) -> Mapping[str, Any]:
        """The last status of the dispatcher."""
        with self._lock:
            return self._status

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until it has ended; False when the time is over."""
        return self._over.wait(timeout_s)

    def request_stop(self, reason: str) -> None:
        """Ask for a stop; harmless when repeated."""
        with self._lock:
            self._stop_reason = self._stop_reason or reason
        self._stop.set()

    @property
    def stop_requested(self) -> str | None:
        """Why a stop was asked for, or None."""
        return self._stop_reason if self._stop.is_set() else None

    def wish_pause(self, paused: bool, who: str) -> None:
        """Ask for a pause, or for its end. It holds at once, and is put into the store by whoever looks there."""
        with self._lock:
            self._wish = PauseWish(paused, who)
            self._pause = f"paused by {who}" if paused else None

    @property
    def pause_wish(self) -> PauseWish | None:
        """What was asked for and is not in the store yet."""
        with self._lock:
            return self._wish

    def granted(self, wish: PauseWish) -> None:
        """The store has it, unless something else was asked for meanwhile."""
        with self._lock:
            if self._wish is wish:
                self._wish = None

    def hold(self, reason: str | None) -> None:
        """What the store says: why the job is to be paused, or None. A wish that it does not have yet goes before."""
        with self._lock:
            if self._wish is None:
                self._pause = reason

    @property
    def pause_requested(self) -> str | None:
        """Why the job is to be paused, or None."""
        with self._lock:
            return self._pause

    def shards(self) -> dict[int, Shard]:
        """The shards with something to render, by number, with their counts."""
        with self._lock:
            return dict(self._shards)

    def events(self, since: int) -> tuple[list[Mapping[str, Any]], int]:
        """Events after the first `since`, and how many there have been. Of those that were dropped only the count
        tells.
        """
        with self._lock:
            missing = min(self._seen - since, len(self._events))
            return list(self._events)[len(self._events) - missing :], self._seen

    def view(self) -> JobView:
        """What the run's page shows now."""
        with self._lock:
            status, outcome = self._status, self._outcome
            takes = dict(status.get("takes", {}))
            return JobView(
                job_id=self.job_id,
                store=self.store,
                state=outcome.state if outcome else self._going_on(status),
                takes=takes,
                gpu_s=dict(status.get("gpu_s", {})),
                shards=[self._shards[number] for number in sorted(self._shards)],
                failures=[*self._failures, *self._earlier][:MOST_FAILURES],
                failures_total=self._quarantined + len(self._earlier),
                running=[running_line(entry) for entry in status.get("running", ())][:20],
                posters=list(self._pictures.items()),
                films=list(self._films),
                board=self._board,
                price=self._price,
                result=self._result,
                eta_s=None if outcome else status.get("eta_s"),
                started=self.started,
                updated=datetime.now(UTC),
                error=outcome.error if outcome else status.get("error"),
            )

    def _going_on(self, status: Mapping[str, Any]) -> str:
        if self._stop.is_set():
            return "stopping"
        pause = status.get("pause")
        if self._pause is None or not pause:
            return "running" if self._pause is None else "pausing"
        return "paused" if pause.get("drained") else "pausing"
