"""One run of one job, from the lease to the last word. `flows.render` is the way in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from flows.accounts import BOOKS, Books, books_of, gpu_seconds, price_of, report, takes_of_run
from flows.at_work import noted
from flows.farm import OnStatus, RenderOptions, render_on_farm
from flows.live import LiveJob, Outcome
from flows.manifest import quarantine_records
from flows.outputs import Outputs, PosterFeed, Refresher, board_url
from flows.pausing import StorePause, clear_pause
from flows.remembered import TakeKey
from flows.report import ExitCode, GpuSeconds, JobReport, Takes
from flows.results import outcome_of
from flows.shards import shards_of
from flows.signals import StopSignals
from flows.tenure import Followed, Tenure, acquire_or_follow
from flows.trace import Trace, read_trace
from flows.verbs.failure import Failure
from flows.wording import failure_of, refused_row, take_name
from infra.store.errors import StoreError, StoreUnavailable
from infra.store.lease import Lease, LeaseInfo, State

if TYPE_CHECKING:
    from flows.planned import Planned
    from infra.settings import Settings

log = logging.getLogger("rushes.render")

View = Callable[[LiveJob], AbstractContextManager[object]]
"""Shows a live job to people, for as long as the context is open."""

LEASE_STATES: Mapping[ExitCode, State] = {
    ExitCode.DONE: "done",
    ExitCode.FAULTS: "done",
    ExitCode.BUDGET: "stopped",
    ExitCode.CANCELLED: "cancelled",
}


class Run:
    """Renders what is missing of a planned job. Use it once, and from one thread."""

    def __init__(
        self, planned: Planned, settings: Settings, options: RenderOptions, on_status: OnStatus, signals: StopSignals
    ) -> None:
        self.planned, self.settings, self.options = planned, settings, options
        self.store, self.job_id = planned.store, planned.job_id
        self._on_status, self._signals = on_status, signals
        self._live: LiveJob | None = None
        self._feed: PosterFeed | None = None
        self._tenure: Tenure | None = None
        self._books = Books()
        self._open: set[TakeKey] = set()
        self._resolved: dict[TakeKey, str] = {}
        self._trace: Trace | None = None
        self._began = time.monotonic()

    def run(self, view: Callable[[], AbstractContextManager[View]]) -> JobReport:
        """The whole of it.

        Args:
            view: opens what the job is shown with, once this process owns the job; it may raise `Failure`.
        """
        self.store.probe()
        plan = self.planned.put()
        farm = self.settings.farm
        if (pause := clear_pause(self.store, self.job_id)) is not None:
            log.warning("%s was %s (%s); it was asked to render, so it goes on", self.job_id, pause.reason, pause.when)
        found = acquire_or_follow(
            self.store, self.job_id, farm, on_follow=self._tell_of_other, stopped=lambda: bool(self._signals.reason),
            cancelled=lambda epoch: _cancel_requested(self.store, self.job_id, epoch) is not None, keep=[BOOKS],
        )  # fmt: skip
        if found is None:
            words = "stopped following the job's owner"
            return report(self.planned, self.planned.takes(), GpuSeconds(), ExitCode.CANCELLED, words)
        if isinstance(found, Followed):
            return self._report_of_other(found)
        _clear_stale_request(self.store, self.job_id, found.epoch)
        self._books = Books(books_of(found.info))  # as they stood in the very lease that was replaced
        with _released_on_error(found), view() as show:
            return self._own(found, plan, show)

    # As the owner

    def _own(self, lease: Lease, plan: pa.Table, show: View) -> JobReport:
        live = self._live = self._live_job(lease, plan)
        outputs = Outputs(
            self.store,
            self.job_id,
            epoch=lease.epoch,
            price=price_of(self.settings),
            refused=self.planned.plan.refused,
        )
        self._trace, self._began = Trace(lease.epoch, read_trace(self.store, self.job_id)), time.monotonic()
        outputs.trace = self._trace.encode
        self._signals.tell(live.request_stop)
        tenure = self._tenure = Tenure(
            lease,
            self.settings.farm,
            on_lost=live.request_stop,
            look=lambda: _cancel_requested(self.store, self.job_id, lease.epoch),
            on_stop=live.request_stop,
            look_at_pause=StorePause(self.store, self.job_id, live).look,
        )
        self._feed = PosterFeed(self.store, live.add_picture)
        with show(live):
            try:
                with tenure:
                    with Refresher(outputs, self._facts):
                        outcome = render_on_farm(
                            self.planned, self.settings, self.options, self._signals,
                            live=live, tenure=tenure, on_status=self._on_farm_status, on_events=self._on_events,
                        )  # fmt: skip
                    self._feed.close()
                    outcome, sheet = self._last_views(outputs, outcome)
                    page = live.run_page if live.page_lasts else None
                    tenure.note({BOOKS: asdict(self._books.total), "run_page": page})
                    tenure.release(LEASE_STATES.get(outcome.exit, "failed"), int(outcome.exit))
                live.finish(outcome, sheet)
            except BaseException as error:
                live.finish(
                    Outcome(ExitCode.FAULT, "failed", "stopped by an error", f"{type(error).__name__}: {error}")
                )
                raise
        return report(self.planned, takes_of_run(live), gpu_seconds(live.status), outcome.exit, outcome.error)

    def _live_job(self, lease: Lease, plan: pa.Table) -> LiveJob:
        names = list(zip(*(plan[name].to_pylist() for name in ("show", "shot_id", "take")), strict=True))
        self._open = {name for name, key in zip(names, plan["spec_key"].to_pylist(), strict=True) if key is None}
        mine = self.planned.plan.takes
        done = mine.filter(mine["cached"])
        cached = pc.is_in(plan["spec_key"], value_set=done["spec_key"].combine_chunks().drop_null())
        if done["spec_key"].null_count:  # found by what they start from
            linked = done.filter(done["spec_key"].is_null())
            found = set(zip(*(linked[name].to_pylist() for name in ("show", "shot_id", "take")), strict=True))
            cached = pc.or_(cached, pa.array([name in found for name in names]))
        now = plan.set_column(plan.schema.get_field_index("cached"), "cached", cached)
        given_up = quarantine_records(self.store, self.job_id)
        earlier = [failure_of(record) for record in given_up.values()]
        return LiveJob(
            self.job_id,
            self.store.url,
            run=lease.epoch,
            shards=shards_of(now, frozenset(given_up), self.planned.skipped),
            takes=asdict(self.planned.takes()),
            failures=[*earlier, *(refused_row(row) for row in self.planned.plan.refused)],
            price=price_of(self.settings),
            board=board_url(self.store, self.job_id),
        )

    # Told by the farm

    def _on_farm_status(self, status: Mapping[str, Any]) -> None:
        assert self._live is not None and self._tenure is not None
        self._live.update(status)
        self._books.hear(status)
        if self._trace is not None:
            self._trace.hear(time.monotonic() - self._began, status)
        note: dict[str, Any] = {"takes": dict(self._live.status.get("takes", {})), BOOKS: asdict(self._books.total)}
        note |= {"pause": status.get("pause"), **noted(status)}
        if self._live.run_page:
            note |= {"run_page": self._live.run_page, "flow_run_id": str(self._live.flow_run_id)}
        self._tenure.note(note)
        self._on_status({**status, "run_page": self._live.run_page})

    def _on_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        assert self._live is not None and self._feed is not None
        self._live.add_events(events)
        for event in events:
            if event["kind"] != "committed":
                continue
            name = (event["show"], event["shot_id"], event["take"])
            if name in self._open and event.get("spec_key"):
                self._resolved[name] = event["spec_key"]
            if event.get("poster"):
                self._feed.want(take_name(event), event["poster"])

    def _facts(self) -> tuple[str, float, list[TakeKey], Mapping[TakeKey, str]]:
        """What the views need beyond the store: state, GPU seconds, takes at work, keys found since."""
        assert self._live is not None
        status = self._live.status
        running = [(r["show"], r["shot_id"], r["take"]) for r in status.get("running", ())]
        return self._live.view().state, self._books.total.spent, running, dict(self._resolved)

    def _last_views(self, outputs: Outputs, outcome: Outcome) -> tuple[Outcome, bytes | None]:
        """Manifest, board and contact sheet of the end. A store that is gone then makes the end a fault."""
        if self._trace is not None:
            self._trace.end(time.monotonic() - self._began, int(outcome.exit))
        try:
            manifest, sheet = outputs.refresh(
                outcome.state, self._books.total.spent, resolved=self._resolved, last=True
            )
            if self._live is not None:
                counts = takes_of_run(self._live).as_dict()
                books, price = self._books.total, price_of(self.settings)
                self._live.came_to(outcome_of(self.store, self.job_id, manifest, counts, books, price))
            return outcome, sheet
        except Exception as error:
            # Whatever it was: the lease is given back, Prefect is told, and the next run makes the views.
            log.error("manifest and board could not be written", exc_info=not isinstance(error, StoreError))
            if outcome.exit in (ExitCode.DONE, ExitCode.FAULTS):
                words = f"all takes are settled, but the manifest could not be written: {error}"
                return Outcome(ExitCode.FAULT, "failed", outcome.message, words), None
            return outcome, None

    # While another owns it

    def _tell_of_other(self, info: LeaseInfo) -> None:
        who = f"{info.owner.host_name}, process {info.owner.pid}"
        takes = info.note.get("takes") or {}
        # As the farm tells them: committed and cached apart.
        counts = {**takes, "committed": takes.get("rendered", 0)}
        told = {name: info.note.get(name) for name in ("run_page", "pause")}
        self._on_status({"state": "running", "takes": counts, "following": who, **told})

    def _report_of_other(self, followed: Followed) -> JobReport:
        from flows.manifest import count, make_manifest

        counts = count(make_manifest(self.store, self.job_id))
        note = followed.info.note.get("takes") or {}
        takes = Takes.of(
            total=counts.total,
            committed=counts.committed,
            cached=int(note.get("cached", 0)),
            quarantined=counts.quarantined,
            skipped=counts.skipped,
        )
        return report(self.planned, takes, books_of(followed.info), ExitCode(followed.exit_code), None)


@contextmanager
def _released_on_error(lease: Lease) -> Iterator[None]:
    """Give the lease back when a run ends before, or without, doing so itself."""
    try:
        yield
    except BaseException as error:
        exit_code = error.exit_code if isinstance(error, Failure) else ExitCode.FAULT
        try:
            if not lease.info.final:
                lease.release("failed", int(exit_code))
        except StoreError as problem:
            log.warning("the lease was not given back, it lapses by itself: %s", problem)
        if isinstance(error, StoreUnavailable):
            hint = "Run the same command again when the store answers: it goes on with what is missing."
            raise Failure(str(error), exit_code=ExitCode.FAULT, hint=hint) from error
        raise


def _cancel_requested(store: Any, job_id: str, epoch: int) -> str | None:
    from flows.verbs.cancel import cancel_requested

    try:
        return "rushes cancel" if cancel_requested(store, job_id, epoch) else None
    except StoreUnavailable as error:
        log.debug("nobody can tell whether the job is to be cancelled: %s", error)
        return None


def _clear_stale_request(store: Any, job_id: str, epoch: int) -> None:
    from flows.verbs.cancel import clear_stale_request

    try:
        if clear_stale_request(store, job_id, epoch):
            log.warning("%s: a request to stop stood there from before this run: removed", job_id)
    except StoreError as error:
        log.warning("%s: nobody can tell whether an old request to stop stands there: %s", job_id, error)
