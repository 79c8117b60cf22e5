"""Writes a job's report to its Prefect run: artifacts updated in place, log lines and events, all of it bounded.

Prefect is a view. Whatever goes wrong here is logged once and the job goes on.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows.artifacts import cost_line, failure_rows, failures_line, progress_line, report_markdown, sheet_markdown, slug
from flows.embedded import Api
from flows.live import LiveJob
from flows.shards import Shard
from flows.wording import take_name

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

log = logging.getLogger("rushes.page")

REQUESTS_PER_S = 10.0
"""Updates of artifacts that one run sends at most; with many shards at work each is updated less often."""
MOST_LINES = 1000
"""Log lines about takes in the run's log. Every take has a log of its own in the store."""
MOST_TAKE_EVENTS = 500
"""Events about quarantined takes; after that the job's own events tell the number."""


TROUBLE = frozenset(
    {"gang_lost", "gang_not_built", "slot_retired", "straggler", "called_off", "journal_failed", "stopping"}
)
"""Kinds of events about the farm that an operator should notice."""


class JobPage:
    """The artifacts of one flow run. Not thread-safe: it belongs to the flow's event loop."""

    def __init__(
        self, client: PrefectClient, api: Api, flow_run_id: UUID, live: LiveJob, run_log: logging.Logger | Any
    ) -> None:
        """Args:
        run_log: the flow run's logger, whose lines show on its page.
        """
        self._client, self._api, self._run, self._live, self._log = client, api, flow_run_id, live, run_log
        self._slug = slug(live.job_id)
        self._ids: dict[str, UUID] = {}
        self._sent: dict[str, str | float] = {}
        self._seen = 0
        self._lines = 0
        self._quarantine_events = 0
        self._complained = False

    async def update(self) -> None:
        """Bring the report, the progress and the table of failures up to date."""
        view = self._live.view()
        key = self._slug
        await self._put(f"progress-{key}", "progress", round(view.percent, 1), progress_line(view))
        await self._put(f"job-{key}", "markdown", report_markdown(view), cost_line(view))
        if view.failures or f"failures-{key}" in self._ids:
            table = json.dumps(failure_rows(view.failures))
            names = failures_line(view.failures, view.failures_total)
            await self._put(f"failures-{key}", "table", table, names)

    def summarise(self) -> None:
        """One line in the run's log, which its page opens with: how far, what it cost, which shots failed."""
        view = self._live.view()
        failed = failures_line(view.failures, view.failures_total)
        text = f"{progress_line(view)} · {cost_line(view)}" + (f" · failed: {failed}" if failed else "")
        report = self._ids.get(f"job-{self._slug}")
        self._log.info("%s%s", text, f" · {self._api.artifact_page(report)}" if report else "")

    async def put_sheet(self, png: bytes, caption: str) -> None:
        """The job's contact sheet."""
        text = sheet_markdown(self._live.job_id, png, caption)
        await self._put(f"contact-sheet-{self._slug}", "markdown", text, caption)

    async def put_shard(self, task_run_id: UUID, shard: Shard) -> None:
        """The progress of one shard at work, on its own task run."""
        failed = f", {shard.failed} quarantined" if shard.failed else ""
        text = f"{shard.name}: {shard.settled} of {shard.total}{failed}"
        await self._put(f"shard {task_run_id}", "progress", round(shard.percent, 1), text, task_run_id=task_run_id)

    def tell(self) -> None:
        """Log lines and events for what happened since the last call."""
        events, seen = self._live.events(self._seen)
        dropped = seen - self._seen - len(events)
        self._seen = seen
        for event in events:
            self._tell_one(event)
        if dropped:
            self._log.info("%s more events came too fast for this log; the store holds every take", dropped)

    def milestone(self, name: str, payload: Mapping[str, Any], *, part: str = "") -> None:
        """An event that automations can act on: `rushes.job.done`, `rushes.shard.done`, `rushes.take.quarantined`."""
        from prefect.events import emit_event

        resource = {
            "prefect.resource.id": f"rushes.job.{self._live.job_id}" + (f".{part}" if part else ""),
            "prefect.resource.name": self._live.job_id,
            "rushes.store": self._live.store,
        }
        emit_event(
            event=name,
            resource=resource,
            payload={"job_id": self._live.job_id, **payload},
        )

    def _tell_one(self, event: Mapping[str, Any]) -> None:
        kind, name = event.get("kind"), take_name(event)
        gpu_s = f", {event['gpu_s']:.1f} GPU s" if isinstance(event.get("gpu_s"), (int, float)) else ""
        if kind == "committed":
            self._line(logging.INFO, "%s: committed %s%s", name, event.get("media") or "", gpu_s)
        elif kind == "quarantined":
            message = " ".join(str(event.get("message") or "").split())[:500]
            self._line(logging.WARNING, "%s: quarantined, %s: %s", name, event.get("error_class"), message)
            if self._quarantine_events < MOST_TAKE_EVENTS:
                self._quarantine_events += 1
                payload = {k: event.get(k) for k in ("show", "shot_id", "take", "error_class", "attempt", "gpu_s")}
                part = f"take.{name}".replace(" ", ".")
                self.milestone("rushes.take.quarantined", {**payload, "message": message}, part=part)
        elif kind == "enough":
            self._line(logging.INFO, "%s: %s", name, event.get("message"))
        elif kind == "retry":
            self._line(logging.INFO, "%s: tried again, %s: %s", name, event.get("error_class"), event.get("message"))
        elif kind in TROUBLE:
            about = f" ({name})" if event.get("shot_id") else ""
            self._line(logging.WARNING, "%s%s: %s", str(kind).replace("_", " "), about, event.get("message") or "")
        elif event.get("shot_id") is None:
            self._line(logging.INFO, "%s: %s", str(kind).replace("_", " "), event.get("message") or _facts(event))

    def _line(self, level: int, text: str, *values: object) -> None:
        self._lines += 1
        if self._lines <= MOST_LINES:
            self._log.log(level, text, *values)
        elif self._lines == MOST_LINES + 1:
            self._log.info("no more lines about takes after %s: `rushes logs` shows each take's own log", MOST_LINES)

    async def _put(
        self, key: str, kind: str, data: str | float, description: str, *, task_run_id: UUID | None = None
    ) -> None:
        from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate

        if self._sent.get(key) == data:
            return

        async def send() -> None:
            if key in self._ids:
                await self._client.update_artifact(self._ids[key], ArtifactUpdate(data=data, description=description))
            else:
                artifact = ArtifactCreate(
                    key=key if task_run_id is None else None,
                    type=kind,
                    data=data,
                    description=description,
                    flow_run_id=self._run,
                    task_run_id=task_run_id,
                )
                self._ids[key] = (await self._client.create_artifact(artifact)).id
            self._sent[key] = data

        await self._try(send, key)

    async def _try(self, send: Callable[[], Awaitable[None]], what: str) -> None:
        import httpx
        from prefect.exceptions import PrefectException

        try:
            await send()
        except (httpx.HTTPError, PrefectException, OSError) as error:
            # A view that cannot be drawn now is drawn with the next update; the job does not wait for it.
            level = logging.DEBUG if self._complained else logging.WARNING
            log.log(level, "Prefect did not take artifact %s: %r", what, error)
            self._complained = True


def _facts(event: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{k} {v}" for k, v in event.items() if k not in ("seq", "at", "kind", "message") and v is not None
    )


class Pace:
    """Says when a thing that must not happen too often may happen again. The clock is handed in for tests."""

    def __init__(self, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.every_s, self._clock = every_s, clock
        self._last: float | None = None

    def due(self) -> bool:
        """True at first, then once per `every_s`."""
        now = self._clock()
        if self._last is not None and now - self._last < self.every_s:
            return False
        self._last = now
        return True


def shard_pace(active: int, every_s: float) -> float:
    """Seconds between updates of one shard's progress, so that all together stay below `REQUESTS_PER_S`."""
    return max(every_s, active / REQUESTS_PER_S)
