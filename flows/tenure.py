"""Owning a job: the lease is taken, followed while another has it, and renewed from a thread of its own.

The lease in the store says who may start work; the heartbeat to the pool (in `actors.client`) says whether gangs may
go on. They are kept apart, so that a store that is away for a minute ends no gang.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.store.errors import LeaseLost, StoreError
from infra.store.lease import Lease, LeaseHeld, LeaseInfo, Owner

if TYPE_CHECKING:
    from infra.settings import FarmSettings
    from infra.store import Store
    from infra.store.lease import State

log = logging.getLogger("rushes.tenure")

FOLLOW_POLL_S = 1.0


@dataclass(frozen=True)
class Followed:
    """How the job of another owner ended, as its lease tells."""

    info: LeaseInfo

    @property
    def exit_code(self) -> int:
        """The owner's exit code."""
        return 4 if self.info.exit_code is None else self.info.exit_code


def acquire_or_follow(
    store: Store,
    job_id: str,
    farm: FarmSettings,
    *,
    on_follow: Callable[[LeaseInfo], None],
    stopped: Callable[[], bool],
    cancelled: Callable[[int], bool] = lambda _: False,
    keep: Collection[str] = (),
) -> Lease | Followed | None:
    """Take the lease, or wait while another owner has it: until that one ends the job, or is gone.

    Args:
        on_follow: told about the other's lease at every look.
        stopped: whether somebody asked this process to stop.
        cancelled: whether somebody asked the owner of this epoch to stop. Then nobody who followed it takes over: an
            owner that is killed before it has said so was cancelled all the same.
        keep: names of what stays in the lease's note, whoever owned it before.

    Returns:
        the lease; how the other's run ended; None when `stopped` came first, and the job of the other goes on, or
        when that one is gone and was `cancelled`.

    Raises:
        StoreUnavailable: the store has been away for as long as an operation may take.
    """
    owner = Owner.this_process()
    held: LeaseHeld | None = None
    while True:
        if held is not None and cancelled(held.info.epoch):
            log.warning("%s: its owner is gone and was asked to stop before: nobody takes over", job_id)
            return None
        found = Lease.acquire(store, job_id, owner, lapse_s=farm.lease_lapse_s, keep=keep, held=held)
        if isinstance(found, Lease):
            if held is not None:
                log.warning("%s: its owner is gone, this process takes over (epoch %d)", job_id, found.epoch)
            return found
        if held is None:
            log.info("%s is rendered by %s, process %d: following it", job_id, *_who(found.info))
        held, epoch = found, found.info.epoch
        while not held.owner_is_gone:
            on_follow(held.info)
            if stopped():
                return None
            time.sleep(FOLLOW_POLL_S)
            info = held.refresh()
            if info is None:
                break
            if info.epoch == epoch and info.final:
                return Followed(info)
            if info.epoch != epoch:  # another follower was faster: that one is followed now
                break


def _who(info: LeaseInfo) -> tuple[str, int]:
    return info.owner.host_name, info.owner.pid


class Tenure:
    """Renews a lease from its own thread, looks for requests to stop, and gives the lease back. A context manager."""

    def __init__(
        self,
        lease: Lease,
        farm: FarmSettings,
        *,
        on_lost: Callable[[str], None],
        look: Callable[[], str | None],
        on_stop: Callable[[str], None],
        look_at_pause: Callable[[], None] = lambda: None,
    ) -> None:
        """Args:
        on_lost: told when another owner has taken over.
        look: asked every `farm.cancel_poll_s` whether somebody left a request to stop in the store; its reason.
        on_stop: told that reason.
        look_at_pause: called as often, to look whether the job is to be paused.
        """
        self._lease, self._farm = lease, farm
        self._on_lost, self._look, self._on_stop = on_lost, look, on_stop
        self._look_at_pause = look_at_pause
        self._note: dict[str, Any] = {}
        self._changed = threading.Lock()
        self._urgent = threading.Event()
        self._end = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    @property
    def epoch(self) -> int:
        """The fencing number of this tenure."""
        return self._lease.epoch

    @property
    def owner(self) -> Owner:
        """This process, as the lease names it."""
        return self._lease.info.owner

    @property
    def lost(self) -> bool:
        """Whether another owner has taken over."""
        return self._lost

    def __enter__(self) -> Tenure:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(timeout=self._farm.lease_lapse_s)

    def note(self, facts: Mapping[str, Any]) -> None:
        """Something that followers and `status` may want to know; written with the next renewal.

        Whether the job is paused (`pause`) is written at once: somebody may wait for it.
        """
        with self._changed:
            if "pause" in facts and facts["pause"] != self._note.get("pause"):
                self._urgent.set()
            self._note.update(facts)

    def release(self, state: State, exit_code: int) -> None:
        """Give the lease back with the job's end. Where the store does not let that be done, it lapses by itself: the
        job has ended as it has, and the next run goes by what the store holds.
        """
        self._end.set()
        self._thread.join(timeout=self._farm.lease_lapse_s)
        if self._lost:
            return
        try:
            self._lease.renew(note=self._noted())
            self._lease.release(state, exit_code)
        except LeaseLost as error:
            self._lost = True
            log.warning("%s", error)
        except StoreError as error:
            log.warning("the lease could not be given back, it lapses in %.0f s: %s", self._farm.lease_lapse_s, error)

    def _keep(self) -> None:
        # The first renewal comes soon, so that the note shows early: it holds the address of the run's page.
        renew_at = time.monotonic() + 1.0
        look_at = time.monotonic() + self._farm.cancel_poll_s
        while not self._end.wait(0.25):
            try:
                if time.monotonic() >= renew_at or self._urgent.is_set():
                    self._urgent.clear()
                    renew_at = time.monotonic() + self._farm.lease_renew_s
                    self._try("the lease could not be renewed", lambda: self._lease.renew(note=self._noted()))
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + self._farm.cancel_poll_s
                    self._try("nobody can tell whether the job is to be paused", self._look_at_pause)
                    self._try("nobody can tell whether the job is to be cancelled", self._look_for_stop)
            except LeaseLost as error:
                self._lost = True
                self._on_lost(str(error))
                return

    def _look_for_stop(self) -> None:
        if reason := self._look():
            self._on_stop(reason)

    def _try(self, words: str, call: Callable[[], None]) -> None:
        """One look or renewal. What goes wrong with it, whatever it is, costs it alone: the next may go well.

        The gangs go on: they are held by the heartbeat to the pool, and commits need no lease to be safe. A thread that
        ended here would leave a living owner for dead.
        """
        try:
            call()
        except LeaseLost:
            raise
        except Exception as error:
            log.warning("%s, the job goes on: %s: %s", words, type(error).__name__, error)

    def _noted(self) -> dict[str, Any]:
        with self._changed:
            return dict(self._note)
