"""The storyboard as a Prefect deployment: stills, people's decisions, clips, in one flow run that waits between.

    from flows.storyboard import storyboard
    storyboard.serve("storyboard", parameters={"catalog": "s3://b/shots.parquet", "store": "s3://b/out"})

While people decide, the run stands as Paused (`AwaitingApproval`) on its page and holds nothing on the farm: no gang,
no lease. *Resume* there means that nobody need be waited for any longer: clips of what is approved are made at once.
*Cancel* there ends it: no clip is made.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import get_run_context
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Completed, Failed, Paused, Running

from flows import served
from flows.farm import RenderOptions
from flows.storyboarding import Asked, Look, deadline, look, mark, plan_clips, plan_stills, retakes_of
from flows.verbs.failure import explain
from flows.watch import hiccups_logged

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import State

    from flows.planned import Planned
    from infra.store.storyboard import Waiting

log = logging.getLogger("rushes.storyboard")

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
            if not isinstance(seen, Look):
                return seen
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


async def _decided(planned: Planned, waiting: Waiting, retakes: int, look_s: float) -> Look | State:
    """Sleeps until all is decided, the deadline has passed, somebody resumed the run, or asked for another still.

    Nothing is held, so there is nothing to give up: an outage of the store or of Prefect is waited out, however long.
    Returns a final state where somebody ended the run meanwhile: then there is nothing to go on with.
    """
    from infra.store.errors import StoreUnavailable

    store, job = planned.store, planned.job_id
    run = get_run_context().flow_run.id  # type: ignore[union-attr]  # always set inside a flow
    seen: Look | None = None
    before: object = None
    told = decided = False
    async with get_client() as client:
        while True:
            state = await _state_of(client, run)
            if state is not None and state.is_final():
                return state
            told = told or (state is not None and state.is_paused())  # also where the reply to ours was lost
            decided = decided or (told and state is not None and not state.is_paused())  # it was resumed
            try:
                now = await asyncio.to_thread(mark, store, job)
                if now != before:
                    before, seen = now, await asyncio.to_thread(look, store, job)
                    decided = decided or await asyncio.to_thread(retakes_of, store, job) != retakes
            except StoreUnavailable as error:
                log.warning("the decisions about %s could not be read: %r", job, error)
            if seen is not None and (decided or seen.settled or waiting.over(datetime.now(UTC))):
                # Before Prefect has answered nobody knows whether the run was cancelled.
                if state is not None and (not told or await _told(client, run, Running(message="decided"))):
                    return seen
            elif seen is not None and not told and state is not None:
                words = f"{len(seen.waiting)} stills of {job} wait for a decision"
                told = await _told(client, run, Paused(name=AWAITING, message=words))
            await asyncio.sleep(look_s)


async def _state_of(client: PrefectClient, run: UUID) -> State | None:
    """The run's state, Cancelled where it is to be; None while Prefect does not answer."""
    with hiccups_logged("Prefect did not say whether the storyboard goes on"):
        try:
            state = (await client.read_flow_run(run)).state
        except ObjectNotFound:
            return Cancelled(message="the flow run was deleted in Prefect")
        if state is not None and (state.is_cancelling() or state.is_cancelled()):
            return Cancelled(message="cancelled in Prefect while stills waited for a decision")
        return state
    return None


async def _told(client: PrefectClient, run: UUID, state: State) -> bool:
    """Set the run's state; False where Prefect did not take it."""
    with hiccups_logged(f"Prefect was not told that the storyboard is {state.name}"):
        await client.set_flow_run_state(run, state, force=True)
        return True
    return False
