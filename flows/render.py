"""Renders a planned job: the way in for the command line, notebooks and Prefect deployments.

Three things run side by side, and none waits for another: the farm's client (the calling thread), the lease and the
views in the store (threads), and the Prefect flow (a thread with an event loop of its own). They meet in a `LiveJob`.
So a Prefect that is slow or gone holds up no take, and a store that is away ends no gang.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from typing import TYPE_CHECKING

from flows.accounts import price_of, report
from flows.farm import OnStatus, RenderOptions
from flows.report import STATES, ExitCode, GpuSeconds, JobReport, Takes
from flows.running import Run, View
from flows.server import ServerError, prefect_api
from flows.signals import StopSignals
from flows.verbs.failure import Failure
from flows.view import FlowView

if TYPE_CHECKING:
    from flows.manifest import Counts
    from flows.planned import Planned
    from infra.settings import Settings
    from infra.store import Store

__all__ = ["RenderOptions", "run_job"]


def run_job(
    planned: Planned,
    settings: Settings,
    *,
    budget_gpu_s: float | None = None,
    on_status: OnStatus | None = None,
    options: RenderOptions | None = None,
) -> JobReport:
    """Renders what is missing of a planned job, and returns when it has ended, one way or another.

    Call it from the main thread: it takes SIGINT, SIGTERM and SIGHUP as the wish to stop, and gives them back at the
    end.

    Args:
        planned: from `flows.verbs.plan.make_plan`.
        budget_gpu_s: GPU seconds that the job may use; goes before that of `options`.
        on_status: told the dispatcher's status (`actors.dispatch.dispatcher`) twice a second, in this thread, with
            `run_page` added; while another process renders the job, its counts once a second, with `following` set to
            its name.
        options: what tests and notebooks choose.

    Returns:
        the report with its exit code: 0, 1, 3, 4 or 130, or that of the process that was followed.

    Raises:
        Failure, StoreRefused, StoreUnavailable, PlanDiffers: nothing was started (exit code 2). A Failure with exit
            code 4: the store went away for good while the job ran.
    """
    chosen = options or RenderOptions()
    if budget_gpu_s is not None:
        chosen = RenderOptions(**{**vars(chosen), "budget_gpu_s": budget_gpu_s})
    if not planned.takes().pending:
        found = _nothing_to_render(planned, settings)
        if isinstance(found, JobReport):
            return found
        planned = found
    # Ray and Prefect both import it when they first need it, each in its own thread here, and two first imports at the
    # same time leave one of them with half a module.
    import_module("pydantic.v1")

    @contextmanager
    def view() -> Iterator[View]:
        try:
            opened = prefect_api(chosen.prefect_home, settings.prefect.api_url, settings.prefect.ui_url)
            with opened as resolve:
                yield lambda live: FlowView(live, resolve, settings.prefect, cancel_poll_s=settings.farm.cancel_poll_s)
        except ServerError as error:
            raise Failure(str(error)) from error

    # Ray prints what its raylet complains of to standard output, which is for results.
    with StopSignals() as signals, redirect_stdout(sys.stderr):
        return Run(planned, settings, chosen, on_status or (lambda _: None), signals).run(view)


def _nothing_to_render(planned: Planned, settings: Settings) -> JobReport | Planned:
    """No Prefect, no Ray: the plan is put if absent, and views that are missing or old are made.

    Making them reads the commits that no manifest vouches for. Where some cannot be read, their takes are to be
    rendered after all, and the plan comes back without them.
    """
    from flows.manifest import count
    from flows.outputs import Outputs
    from flows.remembered import committed_in, trusted
    from infra.store import layout

    takes, store = planned.takes(), planned.store
    exit_code = ExitCode.FAULTS if takes.quarantined or planned.plan.refused else ExitCode.DONE
    store.probe()
    planned.put()
    board = store.stat(layout.board_path(planned.job_id))
    manifest = None if board is None else trusted(store, planned.job_id)
    if manifest is None or _older_than(takes, count(manifest)):
        outputs = Outputs(
            store,
            planned.job_id,
            epoch=_epoch(store, planned.job_id),
            price=price_of(settings),
            refused=planned.plan.refused,
        )
        manifest, _ = outputs.refresh(STATES[exit_code])
    left = planned.only_cached(committed_in(manifest))
    if left.takes().pending:
        return left
    return report(planned, takes, GpuSeconds(cached=count(manifest).gpu_s), exit_code)


def _older_than(takes: Takes, shown: Counts) -> bool:
    """Whether a manifest was made before the last takes were settled: its owner was killed when they had been."""
    return (shown.committed, shown.quarantined) != (takes.committed, takes.quarantined)


def _epoch(store: Store, job_id: str) -> int:
    from infra.store.lease import read_lease

    found = read_lease(store, job_id)
    return 0 if found is None else found.epoch
