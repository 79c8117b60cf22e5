"""The Prefect flow of a job: it watches, and renders nothing.

A flow run is a job, a task run is a shard. Both are `async`: a sync flow or subflow costs a second each for its
heartbeat thread, and a task runner would add a process or thread per shard to what is only waiting. Takes are
rendered by the farm, which the flow neither feeds nor holds tensors for; they are told about through a `LiveJob`.

Final states of the flow run, and why:
- `Completed`: every take is committed.
- `CompletedWithFailures` (of type Completed): the job ran to its end, and takes were quarantined or rows refused. Not
  Failed: what can be rendered is there, and neither Prefect's retries nor a person need to run it again for that. Its
  shards with quarantined takes do end as `Quarantined` (of type Failed), so that the timeline shows them in red.
- `StoppedByBudget`, `StoppedByFault` (of type Failed): takes are missing, and somebody has to act.
- `Cancelled`: somebody stopped it. `Suspended` stays what it is where Prefect starts the run again when it is resumed
  (`flows.pausing.ends_process`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows.automations import FLOW_NAME
from flows.live import LiveJob, Outcome
from flows.page import JobPage, Pace, shard_pace
from flows.pausing import PrefectPause, ends_process
from flows.reconcile import close_former_runs
from flows.report import ExitCode
from flows.server import Api

if TYPE_CHECKING:
    from prefect import Flow, Task
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import State
    from prefect.tasks import TaskRun

log = logging.getLogger("rushes.watch")

TICK_S = 0.5
SUMMARY_S = 60.0
"""Seconds between lines in the run's log that sum the job up."""
MOST_SHARDS_WATCHED = 64
"""Task runs open at the same time. More shards at work than that are shown when one of these has ended."""
MOST_TASK_RUNS = 5000
"""Above this Prefect's pages freeze and its graph is cut; the planner makes no more shards."""
RETRY_DELAYS_S = [1.0, 5.0, 15.0]


def watch_flow(live: LiveJob, api: Api, *, progress_s: float, cancel_poll_s: float) -> Flow[..., Any]:
    """The flow that watches `live`. Its parameters are small and hold no secret: they are stored and shown by
    Prefect.
    """
    from prefect import flow

    @flow(
        name=FLOW_NAME,
        flow_run_name=f"{live.job_id} #{live.run}",
        description="Renders a catalog into a store. One run is one job, one task run is one shard.",
        # The store is the ledger: nothing of Prefect's own is read back, so nothing is stored.
        persist_result=False,
        retries=0,
        validate_parameters=False,
        log_prints=False,
    )
    async def render(job_id: str, store: str) -> State:
        return await watch(live, api, progress_s=progress_s, cancel_poll_s=cancel_poll_s)

    return render


async def watch(live: LiveJob, api: Api, *, progress_s: float, cancel_poll_s: float) -> State:
    """The body of the flow: follow `live` to its end, and say how it ended. Call it inside of a flow run."""
    from prefect.client.orchestration import get_client
    from prefect.context import get_run_context
    from prefect.exceptions import Pause
    from prefect.logging import get_run_logger

    flow_run_id: UUID = get_run_context().flow_run.id  # type: ignore[union-attr]  # always set inside a flow
    live.flow_run_id, live.run_page = flow_run_id, api.run_page(flow_run_id)
    live.page_lasts = api.kind != "embedded"
    async with get_client() as client:
        with hiccups_logged("former runs of the job were not closed"):
            await close_former_runs(client, live.job_id, live.store, flow_run_id)
        page = JobPage(client, api, flow_run_id, live, get_run_logger())
        shards = _ShardWatch(live, page, progress_s)
        pause = PrefectPause(client, flow_run_id, live)
        draw, look, summary = Pace(progress_s), Pace(cancel_poll_s), Pace(SUMMARY_S)
        while not live.wait(0):
            shards.open_new()
            page.tell()
            if draw.due():
                await page.update()
            if summary.due():
                page.summarise()
            if look.due():
                await _look_at_own_state(client, flow_run_id, live, pause)
            await asyncio.sleep(TICK_S)
        await shards.close()
        page.tell()
        await page.update()
        page.summarise()
        if live.sheet is not None:
            await page.put_sheet(live.sheet, "one picture per take")
        suspended = await _suspension(client, flow_run_id)
    outcome = live.outcome or Outcome(ExitCode.FAULT, "failed", "ended without an outcome")
    page.milestone("rushes.job.done", {"exit": int(outcome.exit), "state": outcome.state, "message": outcome.message})
    if suspended is not None and outcome.exit == ExitCode.CANCELLED:
        raise Pause(state=suspended)  # the run keeps its state: Prefect will start it again when it is resumed
    return final_state(outcome)


@contextlib.contextmanager
def hiccups_logged(what: str) -> Iterator[None]:
    """Log that Prefect did not do something that the job can do without."""
    import httpx
    from prefect.exceptions import PrefectException

    try:
        yield
    except (httpx.HTTPError, PrefectException, OSError) as error:
        log.warning("%s: %r", what, error)


def final_state(outcome: Outcome) -> State:
    """The flow run's state for an outcome; see the top of this page."""
    from prefect.states import Cancelled, Completed, Failed

    if outcome.exit == ExitCode.DONE:
        return Completed(message=outcome.message)
    if outcome.exit == ExitCode.FAULTS:
        return Completed(name="CompletedWithFailures", message=outcome.message)
    if outcome.exit == ExitCode.CANCELLED:
        return Cancelled(message=outcome.message)
    name = "StoppedByBudget" if outcome.exit == ExitCode.BUDGET else "StoppedByFault"
    return Failed(name=name, message=outcome.error or outcome.message)


class _ShardWatch:
    """Opens a task run for each shard when it starts to move, a bounded number at a time."""

    def __init__(self, live: LiveJob, page: JobPage, progress_s: float) -> None:
        self._live, self._page, self._progress_s = live, page, progress_s
        self._waiting = list(live.shards())[:MOST_TASK_RUNS]
        self._open: dict[int, asyncio.Task[Any]] = {}

    def open_new(self, *, all_settled: bool = False) -> None:
        """Open what moves. With `all_settled`, at the end, only what is settled and was never shown."""
        for number in [n for n, task in self._open.items() if task.done()]:
            self._end(self._open.pop(number))
        shards = self._live.shards()
        for number in list(self._waiting):
            if len(self._open) >= MOST_SHARDS_WATCHED:
                return
            state = shards[number].state
            if state == "waiting" or (all_settled and state == "running"):
                continue
            self._waiting.remove(number)
            task = _shard_task(shards[number].name, self._observe)
            self._open[number] = asyncio.create_task(task(number, return_state=True))

    async def close(self) -> None:
        """Bring every open task run to its end, and show the shards that were settled unseen."""
        while True:
            self.open_new(all_settled=True)
            if not self._open:
                return
            await asyncio.wait(self._open.values())

    async def _observe(self, number: int) -> State:
        """What a shard's task run does: wait until the shard is settled."""
        from prefect.context import TaskRunContext
        from prefect.states import Cancelled, Completed, Failed

        context = TaskRunContext.get()
        pace: Pace | None = None
        while True:
            over = self._live.wait(0)
            shard = self._live.shards()[number]
            if shard.state in ("done", "failed") or over:
                break
            if context is not None:
                pace = pace or Pace(self._progress_s)
                pace.every_s = shard_pace(len(self._open), self._progress_s)
                if pace.due():
                    await self._page.put_shard(context.task_run.id, shard)
            await asyncio.sleep(TICK_S)
        if context is not None and pace is not None:
            await self._page.put_shard(context.task_run.id, shard)
        counts = f"{shard.done} of {shard.total} takes committed"
        if shard.state in ("done", "failed"):
            payload = {"shard": number, "done": shard.done, "failed": shard.failed}
            self._page.milestone("rushes.shard.done", payload, part=f"shard.{number}")
        if shard.state == "done":
            return Completed(message=counts)
        if shard.state == "failed":
            return Failed(name="Quarantined", message=f"{counts}, {shard.failed} quarantined")
        return Cancelled(message=f"stopped with {counts}")

    @staticmethod
    def _end(task: asyncio.Task[Any]) -> None:
        from prefect.exceptions import Pause

        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, Pause):  # that one: Prefect has suspended the whole run
            log.warning("the task run of a shard ended early; the shard itself goes on: %r", error)


def _shard_task(name: str, observe: Callable[[int], Awaitable[State]]) -> Task[..., Any]:
    """The task of one shard: a thin observer."""
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    @task(
        name="shard",
        task_run_name=name.replace("{", "{{").replace("}", "}}"),
        # Never cached, never persisted: whether a take is done is read from its commit in the store, and a cached
        # "done" would outlive a film that was deleted.
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=len(RETRY_DELAYS_S),
        retry_delay_seconds=RETRY_DELAYS_S,
        retry_condition_fn=is_hiccup,
    )
    async def shard(number: int) -> State:
        return await observe(number)

    return shard


def is_hiccup(_task: Task[..., Any], _run: TaskRun, state: State) -> bool:
    """Whether watching is worth trying again: the store or Prefect was away for a moment. A shot's fault is never
    retried
    here: the farm has tried it already, as often as its error class asks for."""
    import httpx
    from prefect.exceptions import PrefectException

    from infra.store.errors import StoreUnavailable

    hiccups = (StoreUnavailable, httpx.TransportError, PrefectException, ConnectionError, TimeoutError)
    return isinstance(state.data, hiccups)


async def _look_at_own_state(client: PrefectClient, flow_run_id: UUID, live: LiveJob, pause: PrefectPause) -> None:
    """Whether somebody asked for a stop or a pause in Prefect. Nobody else tells a flow that was started directly."""
    with hiccups_logged("Prefect did not say whether the run is to be cancelled or paused"):
        run = await client.read_flow_run(flow_run_id)
        state = run.state
        if state is None:
            return
        if state.is_cancelling() or state.is_cancelled():
            live.request_stop("cancelled in Prefect")
        elif ends_process(run):
            live.request_stop("suspended in Prefect")
        elif state.is_failed() and pause.shown:  # Prefect's pauses have a time-out, and this is what follows it
            live.request_stop("paused in Prefect for longer than it was paused for")
        elif not state.is_final():
            await pause.look(state)


async def _suspension(client: PrefectClient, flow_run_id: UUID) -> State | None:
    """The run's state where it was suspended: its process is to end, and the run is not over."""
    with hiccups_logged("Prefect did not say whether the run was suspended"):
        run = await client.read_flow_run(flow_run_id)
        return run.state if ends_process(run) else None
    return None
