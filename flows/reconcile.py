"""Closes runs that nobody closed: a process that is killed leaves its flow run and its task runs Running for ever."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import TaskRun

log = logging.getLogger("rushes.reconcile")

PAGE = 200
"""Rows that Prefect gives per request, at most."""


async def close_former_runs(client: PrefectClient, job_id: str, store: str, flow_run_id: UUID) -> int:
    """Mark former runs of a job as Crashed, with their task runs, where Prefect still takes them for running.

    Only the owner of the job's lease may call this: there is one owner at a time, so whatever else claims to run it
    is dead or superseded. The zombie automation does the same for a job that nobody starts again, but leaves its task
    runs.

    Args:
        store: the store's URL: jobs of other stores may have the same name.
        flow_run_id: the run that is alive.

    Returns:
        how many flow runs were closed.
    """
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
        FlowRunFilterTags,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.states import Crashed

    going_on = [StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING]
    found = await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            tags=FlowRunFilterTags(all_=[job_tag(job_id)]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=going_on)),
        ),
        sort=FlowRunSort.START_TIME_DESC,  # the server refuses a request without
        limit=PAGE,
    )
    closed = 0
    for run in found:
        if run.id == flow_run_id or run.parameters.get("store") != store:
            continue
        message = "Its process is gone: a later run of the job took over."
        await client.set_flow_run_state(run.id, Crashed(message=message), force=True)
        await _close_task_runs(client, run.id)
        log.info("closed the former run %s", run.name)
        closed += 1
    return closed


async def _close_task_runs(client: PrefectClient, flow_run_id: UUID) -> None:
    from prefect.states import Crashed

    while True:
        found = await open_task_runs(client, flow_run_id)
        for run in found:
            await client.set_task_run_state(run.id, Crashed(message="Its flow run's process is gone."), force=True)
        if len(found) < PAGE:
            return


async def open_task_runs(client: PrefectClient, flow_run_id: UUID) -> list[TaskRun]:
    """Task runs of a flow run that Prefect takes for pending or running, at most `PAGE`."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterId,
        TaskRunFilter,
        TaskRunFilterState,
        TaskRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import TaskRunSort

    going_on = TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING]))
    return await client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])),
        task_run_filter=TaskRunFilter(state=going_on),
        sort=TaskRunSort.NAME_ASC,
        limit=PAGE,
    )


def job_tag(job_id: str) -> str:
    """The tag of all runs of a job."""
    return f"job:{job_id}"
