"""A job handed to the farm, followed to its end, and what that end means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.artifacts import failures_line
from flows.live import LiveJob, Outcome
from flows.report import ExitCode
from flows.signals import StopSignals
from flows.tenure import Tenure
from flows.verbs.failure import Failure
from infra.store.jobs import current_round

if TYPE_CHECKING:
    from actors.job import JobSpec
    from flows.planned import Planned
    from infra.settings import Settings

POLL_S = 0.5

OnStatus = Callable[[Mapping[str, Any]], None]
OnEvents = Callable[[Sequence[Mapping[str, Any]]], None]


@dataclass(frozen=True)
class RenderOptions:
    """What a caller may choose beyond the settings.

    Attributes:
        budget_gpu_s: GPU seconds that the job may use; then it stops with exit code 3.
        renderer: `module:Class` that every rank renders with in place of the model (`actors.gangs.rendering.Renderer`).
        renderer_options: handed to it.
        prefect_home: folder of Prefect's database; else Prefect's own choice.
    """

    budget_gpu_s: float | None = None
    renderer: str | None = None
    renderer_options: Mapping[str, Any] | None = None
    prefect_home: Path | None = None


def render_on_farm(
    planned: Planned, settings: Settings, options: RenderOptions, signals: StopSignals,
    *, live: LiveJob, tenure: Tenure, on_status: OnStatus, on_events: OnEvents,
) -> Outcome:  # fmt: skip
    """Hands the job to the farm and follows it to its end.

    Args:
        on_status, on_events: told what the dispatcher says, each event once.

    Raises:
        Failure: the farm cannot be reached, or does not take the job.
    """
    from actors.client import FarmGone, connect
    from actors.errors import PlacementImpossible
    from actors.pool import JobRefused

    ray = settings.ray
    submitted = False
    seen = 0

    def events_come(events: Sequence[Mapping[str, Any]]) -> None:
        nonlocal seen
        if events:
            seen = events[-1]["seq"]
            on_events(events)

    try:
        connection = connect(
            ray.address,
            auth=ray.auth,
            num_cpus=ray.num_cpus,
            num_gpus=ray.num_gpus,
            object_store_bytes=ray.object_store_bytes,
        )
        with connection:
            signals.arm()  # Ray has put its own handler there
            if live.stop_requested:
                return _stopped(live, tenure)
            job = connection.submit(_spec(planned, settings, options, tenure))
            submitted = True
            status = job.wait(
                on_status, events_come, poll_s=POLL_S, stop_requested=lambda: live.stop_requested,
                pause_requested=lambda: live.pause_requested,
            )  # fmt: skip
            events_come(job.events(seen))
    except (PlacementImpossible, JobRefused, ValueError) as error:
        if submitted:
            raise
        raise Failure(str(error)) from error
    except FarmGone as error:
        if live.stop_requested:  # a farm too busy to say goodbye: without our heartbeat the pool ends the gangs
            return _stopped(live, tenure)
        if not submitted:
            hint = (
                "Check --address and Ray's token, or leave --address out."
                if ray.address
                else "It was to start here: try again when this machine is less busy, or give --address of a cluster."
            )
            raise Failure(str(error), hint=hint) from error
        return ended(live, ExitCode.FAULT, "failed", str(error))
    state = status["state"]
    if state == "done":
        # From the dispatcher's counts, which it made from the store: events are lost with a dispatcher that dies.
        failed = status.get("takes", {}).get("quarantined") or planned.plan.refused
        return ended(live, *((ExitCode.FAULTS, "finished") if failed else (ExitCode.DONE, "done")))
    if state == "budget":
        return ended(live, ExitCode.BUDGET, "stopped", "the budget of GPU seconds is used up")
    if state == "stopped" and live.stop_requested:
        return _stopped(live, tenure)
    return ended(live, ExitCode.FAULT, "failed", str(status.get("error") or f"the farm ended the job as {state}"))


def _stopped(live: LiveJob, tenure: Tenure) -> Outcome:
    if tenure.lost:
        return ended(live, ExitCode.FAULT, "failed", live.stop_requested)
    return ended(live, ExitCode.CANCELLED, "cancelled", live.stop_requested)


def ended(live: LiveJob, exit_code: ExitCode, state: str, error: str | None = None) -> Outcome:
    """An outcome with a message that names counts and the first failures."""
    view = live.view()
    t = view.takes
    message = f"{t.get('committed', 0)} of {t.get('total', 0)} takes committed, {t.get('quarantined', 0)} quarantined"
    if view.failures:
        message += f": {failures_line(view.failures, view.failures_total)}"
    return Outcome(exit_code, state, message, error)


def _spec(planned: Planned, settings: Settings, options: RenderOptions, tenure: Tenure) -> JobSpec:
    from actors.job import PIPELINE_RENDERER, JobSpec
    from flows.verbs.request import layout_size
    from infra.store.options import for_workers

    store, job_id, farm = planned.store, planned.job_id, settings.farm
    reach = for_workers(store.url, settings.store)
    size = farm.gang or (layout_size(farm.layout) if farm.layout else 1)
    return JobSpec(
        job_id=job_id,
        store_url=store.url,
        store_options=reach,
        model_folder=str(planned.facts["folder"]),
        model_facts=planned.facts,
        epoch=tenure.epoch,
        owner=asdict(tenure.owner),
        round=current_round(store, job_id),
        gang=size,
        layout=farm.layout,
        gangs_max=farm.gangs_max,
        roots=planned.roots,
        limits=farm.model_dump(),
        media=settings.media.model_dump(),
        quality=settings.quality.model_dump(),
        budget_gpu_s=options.budget_gpu_s,
        renderer=options.renderer or PIPELINE_RENDERER,
        renderer_options=options.renderer_options or {},
    )
