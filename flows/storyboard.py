"""The storyboard as a Prefect deployment: stills, people's decisions, clips, in one flow run that waits between.

    from flows.storyboard import storyboard
    storyboard.serve("storyboard", parameters={"catalog": "s3://b/shots.parquet", "store": "s3://b/out"})

While people decide, the run stands as Paused (`AwaitingApproval`) on its page and holds nothing on the farm: no gang,
no lease. *Resume* there means that nobody need be waited for any longer: clips of what is approved are made at once.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import get_run_context
from prefect.states import Completed, Failed, Paused, Running

from flows import served
from flows.running import RenderOptions
from flows.storyboarding import Asked, deadline, look, mark, plan_clips, plan_stills, retakes_of
from flows.verbs.failure import explain

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from flows.storyboarding import Look
    from flows.verbs.plan import Planned
    from infra.store.storyboard import Waiting

AWAITING = "AwaitingApproval"
LEFT_OUT = "CompletedWithFailures"


@flow(
    name="rushes-storyboard",
    description="Renders a still of every shot, waits for people's approval, renders clips from the approved stills.",
    persist_result=False,
    retries=0,
)
async def storyboard(
    catalog: str,
    store: str,
    approve_by: str | None = None,
    stills: int | None = None,
    job: str | None = None,
    model: str | None = None,
    gang: int | None = None,
    layout: str | None = None,
    budget_gpu_s: float | None = None,
    look_s: float = 15.0,
) -> State:
    """Renders a storyboard.

    Args:
        catalog: URL of a catalog that this machine can read; rows of the task t2v.
        store: URL of the store.
        approve_by: until when people may decide, as `rushes storyboard --approve-by`.
        stills: takes of each still; as many as its row's by default.
        job: name that both jobs' names begin with.
        model: name, folder or URL of a pipeline.
        gang, layout: ranks that render one take together, and how they share it.
        budget_gpu_s: GPU seconds that each of the two jobs may use.
        look_s: seconds between looks at what was decided.
    """
    from infra.settings import Settings
    from infra.store.storyboard import open_storyboard

    try:
        settings = Settings.load(farm={"gang": gang, "layout": layout})
        asked = Asked(catalog, store, stills, job, model)
        by = None if approve_by is None else deadline(approve_by)
        options = RenderOptions(budget_gpu_s=budget_gpu_s)
        while True:
            planned = await asyncio.to_thread(plan_stills, asked, settings)
            state = await served.render_here(planned, settings, options)
            if not state.is_completed():
                return state
            waiting = await asyncio.to_thread(open_storyboard, planned.store, planned.job_id, by=by)
            retakes = await asyncio.to_thread(retakes_of, planned.store, planned.job_id)
            seen = await _decided(planned, waiting, retakes, look_s)
            if await asyncio.to_thread(retakes_of, planned.store, planned.job_id) == retakes:
                break
        if not seen.approved:
            return Completed(name=LEFT_OUT, message="no still is approved, so there are no clips")
        clips = await asyncio.to_thread(plan_clips, asked, settings, planned, seen.approved)
        state = await served.render_here(clips, settings, options)
        if state.is_completed() and seen.left_out:
            names = ", ".join(f"{one.show}/{one.shot_id}" for one in seen.left_out[:10])
            return Completed(name=LEFT_OUT, message=f"{len(seen.left_out)} stills were not approved: {names}")
        return state
    except Exception as error:
        failure = explain(error)
        if failure is None:
            raise
        return Failed(name="Refused", message=str(failure))


async def _decided(planned: Planned, waiting: Waiting, retakes: int, look_s: float) -> Look:
    """Sleeps until all is decided, the deadline has passed, somebody resumed the run, or asked for another still."""
    from infra.store.errors import StoreUnavailable

    store, job = planned.store, planned.job_id
    seen = await asyncio.to_thread(look, store, job)
    before = await asyncio.to_thread(mark, store, job)
    if seen.settled or waiting.over(datetime.now(UTC)):
        return seen
    run = get_run_context().flow_run.id  # type: ignore[union-attr]  # always set inside a flow
    async with get_client() as client:
        words = f"{len(seen.waiting)} stills of {job} wait for a decision"
        await client.set_flow_run_state(run, Paused(name=AWAITING, message=words), force=True)
        while not seen.settled and not waiting.over(datetime.now(UTC)):
            await asyncio.sleep(look_s)
            state = (await client.read_flow_run(run)).state
            if state is None or not state.is_paused():
                break
            try:
                now = await asyncio.to_thread(mark, store, job)
                if now != before:
                    before, seen = now, await asyncio.to_thread(look, store, job)
                    if await asyncio.to_thread(retakes_of, store, job) != retakes:
                        break
            except StoreUnavailable:  # nothing is held, so there is nothing to give up
                continue
        found = (await client.read_flow_run(run)).state
        if found is not None and not found.is_cancelling() and not found.is_final():
            await client.set_flow_run_state(run, Running(message="decided"), force=True)
    return seen
