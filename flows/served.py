"""The job as a Prefect deployment: the entry point of `flow.serve()`, of workers and of schedules.

Here Prefect starts the process and its engine runs the flow, so the flow is outside and the job inside of it; when it
is started by hand (`flows.render`) it is the other way round. A cancel from the dashboard reaches this process as
SIGTERM, which becomes a stop in good order; the flow's own state, which it looks at anyway, says the same.

    from flows.served import render_catalog
    render_catalog.serve("render", parameters={"catalog": "s3://b/shots.parquet", "store": "s3://b/out"})
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from threading import Thread
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import get_run_context
from prefect.settings import get_current_settings
from prefect.states import Completed, Failed

from flows.automations import FLOW_NAME
from flows.farm import RenderOptions
from flows.live import LiveJob
from flows.reconcile import job_tag
from flows.report import JobReport
from flows.running import Run, View
from flows.server import Api
from flows.signals import LoopSignals
from flows.verbs.failure import explain
from flows.watch import watch

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from flows.planned import Planned
    from infra.settings import Settings


@flow(
    name=FLOW_NAME,
    description="Renders a catalog into a store. One run is one job, one task run is one shard.",
    persist_result=False,
    retries=0,
)
async def render_catalog(
    catalog: str,
    store: str,
    job: str | None = None,
    model: str | None = None,
    gang: int | None = None,
    layout: str | None = None,
    budget_gpu_s: float | None = None,
    draft: bool = False,
) -> State:
    """Plans a catalog and renders what is missing.

    Args:
        catalog: URL of a catalog that this machine can read.
        store: URL of the store. Its keys come from the usual AWS places or the settings of this machine, never from
            here.
        job: name of the job; else made from the catalog's name and content.
        model: name, folder or URL of a pipeline.
        gang, layout: ranks that render one take together, and how they share it.
        budget_gpu_s: GPU seconds that the job may use.
        draft: small and in few steps, to choose takes from.
    """
    from flows.verbs.plan import make_plan
    from infra.settings import Settings

    try:
        settings = Settings.load(farm={"gang": gang, "layout": layout})
        planned = await asyncio.to_thread(make_plan, catalog, store, settings, job=job, model=model, draft=draft)
        return await render_here(planned, settings, RenderOptions(budget_gpu_s=budget_gpu_s))
    except Exception as error:
        failure = explain(error)
        if failure is None:
            raise
        return Failed(name="Refused", message=str(failure))


async def render_here(planned: Planned, settings: Settings, options: RenderOptions) -> State:
    """Render a planned job inside of the flow run that calls this, and return its final state."""
    if not planned.takes().pending:
        from flows.render import run_job

        report = await asyncio.to_thread(run_job, planned, settings, options=options)
        return Completed(message=f"nothing to render: {report.takes.committed} of {report.takes.total} takes committed")
    signals = LoopSignals(asyncio.get_running_loop())
    began: Future[LiveJob] = Future()
    ended: Future[JobReport] = Future()

    @contextmanager
    def view() -> Iterator[View]:
        def show(live: LiveJob) -> nullcontext[None]:
            began.set_result(live)
            return nullcontext()

        yield show

    def run() -> None:
        try:
            ended.set_result(Run(planned, settings, options, lambda _: None, signals).run(view))
        except BaseException as error:
            ended.set_exception(error)

    # A thread of its own, and not a pool's: Ray's processes die with the thread that started them.
    thread = Thread(target=run, name="job", daemon=True)
    with signals:
        thread.start()
        waiting: list[asyncio.Future[Any]] = [asyncio.wrap_future(began), asyncio.wrap_future(ended)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        try:
            state = await _watched(began.result(), settings) if began.done() else None
        finally:  # also where the run was suspended: the job gives its lease back first
            report = await waiting[1]
    if state is not None:
        return state
    exit_code = 4 if report.exit is None else report.exit
    words = f"another run rendered this job and ended with {exit_code}"
    return Completed(message=words) if exit_code in (0, 1) else Failed(message=words)


async def _watched(live: LiveJob, settings: Settings) -> State:
    run: Any = get_run_context()
    async with get_client() as client:
        tags = sorted({*run.flow_run.tags, "rushes", job_tag(live.job_id)})
        await client.update_flow_run(run.flow_run.id, name=f"{live.job_id} #{live.run}", tags=tags)
    url = str(get_current_settings().api.url)
    ui_url = get_current_settings().ui_url or url.removesuffix("/").removesuffix("/api")
    api = Api(url, ui_url, "configured")
    return await watch(live, api, progress_s=settings.prefect.progress_s, cancel_poll_s=settings.farm.cancel_poll_s)
