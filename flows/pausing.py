"""Pausing a job: the request in its store, and how store, farm and Prefect are kept in step about it.

The store is where it stands: `jobs/<id>/pause.json` says who asked and when; a job is paused as long as it is there.
`rushes pause` puts it from any machine; what is asked for in Prefect is put there by the job's owner.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, State

    from flows.live import LiveJob
    from infra.store import Store

log = logging.getLogger("rushes.pausing")

FORMAT = 1
SUSPENDED = "Suspended"
"""The name of Prefect's other kind of Paused state."""


@dataclass(frozen=True)
class Pause:
    """A request that stands in the store. `when`: ISO 8601, UTC; empty where nobody knows."""

    who: str
    when: str = ""

    @property
    def reason(self) -> str:
        """In words, for logs and pages."""
        return f"paused by {self.who}"


def pause_path(job_id: str) -> str:
    """Where the request stands."""
    from infra.store import layout

    return f"{layout.job_folder(job_id)}/pause.json"


def read_pause(store: Store, job_id: str) -> Pause | None:
    """The request that stands, or None.

    Raises:
        StoreUnavailable: nobody can tell now.
    """
    from infra.store.errors import NotFound
    from infra.store.strict import read_object

    try:
        found = read_object(store.read(pause_path(job_id)))
        return Pause(str(found["who"]), str(found.get("when") or ""))
    except NotFound:
        return None
    except (ValueError, KeyError):
        return Pause("somebody")  # written there by hand, and there is one reason to


def put_pause(store: Store, job_id: str, who: str) -> None:
    """Ask for a pause. Asking again changes nothing but who asked last."""
    pause = Pause(who, datetime.now(UTC).isoformat(timespec="seconds"))
    store.write(pause_path(job_id), json.dumps({"format": FORMAT, **asdict(pause)}, indent=1).encode())


def clear_pause(store: Store, job_id: str) -> Pause | None:
    """Take the request back. Returns what stood there."""
    found = read_pause(store, job_id)
    if found is not None:
        store.delete(pause_path(job_id))
    return found


def pause_state(status: Mapping[str, Any]) -> str | None:
    """pausing or paused, from a dispatcher's status or the lease's note of it; None for a job that is not held."""
    pause = status.get("pause")
    if not pause or not isinstance(pause, Mapping):
        return None
    return "paused" if pause.get("drained") else "pausing"


class StorePause:
    """The owner's look at the store: what stands there holds the job, and what Prefect was asked for is put there."""

    def __init__(self, store: Store, job_id: str, live: LiveJob) -> None:
        self._store, self._job_id, self._live = store, job_id, live

    def look(self) -> None:
        """Call it every few seconds, from one thread. Raises nothing for a store that does not do as it should: the
        thread that calls it renews the lease.
        """
        from infra.store.errors import StoreError

        wish = self._live.pause_wish
        try:
            if wish is not None:
                if wish.paused:
                    put_pause(self._store, self._job_id, wish.who)
                else:
                    clear_pause(self._store, self._job_id)
                self._live.granted(wish)
            found = read_pause(self._store, self._job_id)
        except StoreError as error:
            log.info("nobody can tell whether the job is to be paused: %s", error)
            return
        self._live.hold(None if found is None else found.reason)


def ends_process(run: FlowRun) -> bool:
    """Whether a run is suspended in a way that asks for its process to end: Prefect starts another on *Resume*.

    Only so for runs of a deployment, and only where the state says `pause_reschedule`, as that of the dashboard's
    button does. Of any other Suspended run, such as an automation's, *Resume* makes a Running one and starts nothing:
    its process must wait, so that is a pause like any other.
    """
    state = run.state
    if state is None or not state.is_paused() or state.name != SUSPENDED:
        return False
    return bool(state.state_details.pause_reschedule and run.deployment_id is not None)


class PrefectPause:
    """The flow's look at its own run's state: a change there is a wish, a change here is shown there."""

    def __init__(self, client: PrefectClient, flow_run_id: UUID, live: LiveJob) -> None:
        self._client, self._run, self._live = client, flow_run_id, live
        self.shown = False  # whether the run was paused at the last look

    async def look(self, state: State) -> None:
        """Call it with the run's state, as it was read just now."""
        from prefect.states import Paused, Running

        if state.is_scheduled():  # resumed before its process was ended: another need not be started, this one is there
            await self._client.set_flow_run_state(self._run, Running(message="resumed"), force=True)
        paused = state.is_paused()
        if paused != self.shown:
            self.shown = paused
            self._live.wish_pause(paused, "Prefect")
            return
        reason = self._live.pause_requested
        if (reason is not None) != paused and self._live.pause_wish is None:
            wanted: State = Running(message="resumed") if reason is None else Paused(message=reason)
            await self._client.set_flow_run_state(self._run, wanted, force=True)
            self.shown = reason is not None
