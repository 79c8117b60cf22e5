"""The Prefect flow of a job, run beside it in a thread of its own, so that the job waits for Prefect at no point."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from flows.live import LiveJob
from flows.reconcile import job_tag, open_task_runs
from flows.server import Api, ServerError, prefect_settings

if TYPE_CHECKING:
    from infra.settings import PrefectSettings

log = logging.getLogger("rushes.view")

END_S = 60.0
"""Seconds for the flow's last words once the job has ended."""
AWAY_S = 8.0
"""A server that takes no connection for so long does not hold up the end of the command."""
DRAIN_S = 10.0
RECORD_S = 6.0
"""Seconds that an embedded server is given to write down task states, which travel to it as events."""


class FlowView:
    """A context manager: enter it before the job starts, leave it when the `LiveJob` is finished."""

    def __init__(
        self, live: LiveJob, resolve: Callable[[], Api], prefect: PrefectSettings, *, cancel_poll_s: float
    ) -> None:
        """Args:
        resolve: gives the API once it answers; called in the flow's thread.
        """
        self._live, self._resolve, self._prefect = live, resolve, prefect
        self._cancel_poll_s = cancel_poll_s
        self._ready = threading.Event()
        self._api: Api | None = None
        context = contextvars.copy_context()  # Prefect's settings live in the context, and threads start with none
        self._thread = threading.Thread(target=context.run, args=(self._main,), name="prefect-flow", daemon=True)

    def __enter__(self) -> FlowView:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ready.wait()  # `resolve` has a time limit of its own
        began = seen = time.monotonic()
        while self._thread.is_alive():
            now = time.monotonic()
            if self._api is not None and _takes_connections(self._api.url):
                seen = now
            if now - began > END_S or now - seen > AWAY_S:
                log.warning("Prefect did not take the end of the run; the job itself has ended")
                return
            self._thread.join(timeout=1.0)

    def _main(self) -> None:
        try:
            try:
                silence()
                api = self._api = self._resolve()
            finally:
                self._ready.set()
            with prefect_settings(api):
                asyncio.run(self._run(api))
                _drain()
                if api.kind == "embedded" and self._live.flow_run_id is not None:
                    asyncio.run(_await_records(self._live.flow_run_id))
        except ServerError as error:
            log.warning("this run is not shown in Prefect: %s", error)
        except Exception:
            # Whatever Prefect does, the job goes on: the store has its state, and the command line its progress.
            log.warning("this run is no longer shown in Prefect", exc_info=True)

    async def _run(self, api: Api) -> None:
        from prefect import tags
        from prefect.client.orchestration import get_client

        from flows import automations
        from flows.watch import hiccups_logged, watch_flow

        with hiccups_logged("the zombie automation was not installed"):
            async with get_client() as client:
                await automations.install(client)
        flow: Any = watch_flow(self._live, api, progress_s=self._prefect.progress_s, cancel_poll_s=self._cancel_poll_s)
        with tags("rushes", job_tag(self._live.job_id)):
            state = await flow(self._live.job_id, self._live.store, return_state=True)
        log.debug("the flow run ended as %r", state)


def _takes_connections(api_url: str) -> bool:
    parts = urlsplit(api_url)
    try:
        with socket.create_connection(
            (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)), 2.0
        ):
            return True
    except OSError:
        return False


def silence() -> None:
    """Keep Prefect's lines about runs off the terminal (they are on the run's page) and its telemetry off the network.

    Telemetry is switched by an environment variable only, and before Prefect is imported.
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")
    import prefect.main  # noqa: F401  # sets its handlers up, once
    from prefect.logging.handlers import PrefectConsoleHandler

    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler) and not any(isinstance(f, _NotOfRuns) for f in handler.filters):
            handler.addFilter(_NotOfRuns())


class _NotOfRuns(logging.Filter):
    _OF_RUNS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine", "EventsWorker", "APILogWorker")

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.name.startswith(self._OF_RUNS)


def _drain() -> None:
    """Send what is still queued in this process: log lines, and the events that carry the task runs' states."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=DRAIN_S)
    EventsWorker.drain_all(timeout=DRAIN_S, at_exit=False)


async def _await_records(flow_run_id: UUID) -> None:
    """Wait until the embedded server, which ends with this process, has written the task runs' last states."""
    from prefect.client.orchestration import get_client

    deadline = time.monotonic() + RECORD_S
    async with get_client() as client:
        await asyncio.sleep(1.5)  # the recorder's interval: before that nothing may have been written at all
        while time.monotonic() < deadline and await open_task_runs(client, flow_run_id):
            await asyncio.sleep(0.25)
