"""A submitted job, as the process that owns it holds it: status, events, stop, and the heartbeat that carries it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from actors.dispatcher import running_status
from actors.errors import PlacementImpossible
from actors.job import JobSpec
from actors.pool import JobRefused

if TYPE_CHECKING:
    from actors.client import Connection

log = logging.getLogger(__name__)

CALL_S = 60.0
"""Seconds that the pool or a dispatcher may take to answer."""
_REVIVALS = 3


class FarmGone(Exception):
    """The cluster, or its pool, does not answer any more. The store holds all that was finished."""


class Job:
    """A submitted job. While this object lives and beats, the pool goes on rendering. Threads may share it."""

    def __init__(self, connection: Connection, spec: JobSpec) -> None:
        self.spec = spec
        self._connection = connection
        self._dispatcher: Any = None
        self._last: dict[str, Any] = {"state": "running", "takes": {}, "gpu_s": {}, "shards": [], "running": []}
        self._gone: str | None = None
        self._revived = 0
        self._ended = threading.Event()
        call(connection.pool.submit.remote(spec))
        self._heart = threading.Thread(target=self._beat, name=f"heartbeat-{spec.job_id}", daemon=True)
        self._heart.start()

    def status(self) -> dict[str, Any]:
        """The dispatcher's status; the last one that is known while it is being started again.

        Raises FarmGone when the pool is lost for good.
        """
        found = self._ask("status")
        if found is not None:
            self._last = found
        elif (result := self._result()) is not None:
            self._last = self._last | result
        return dict(self._last)

    def events(self, since: int = 0) -> list[dict[str, Any]]:
        """Events numbered above ``since``, oldest first; none while the dispatcher is being started again."""
        return self._ask("events", since) or []

    def stop(self, reason: str) -> None:
        """Stops the job. Returns when no gang and no finisher of it is left, at the latest after ``farm.stop_s``."""
        try:
            call(self._connection.pool.stop.remote(self.spec.job_id, reason), self.spec.farm.stop_s + 10)
        except JobRefused:  # it has been given up already, and its gangs with it
            log.info("job %s had ended before it was stopped", self.spec.job_id)

    def wait(
        self,
        on_status: Callable[[Mapping[str, Any]], None] | None = None,
        on_events: Callable[[Sequence[Mapping[str, Any]]], None] | None = None,
        *,
        poll_s: float = 0.5,
        stop_requested: Callable[[], str | None] = lambda: None,
    ) -> dict[str, Any]:
        """Follows the job to its end and returns the last status. All callbacks run in the calling thread.

        stop_requested: asked at every poll; a reason stops the job.
        """
        seen, stopped = 0, False
        while True:
            reason = stop_requested()
            if reason and not stopped:
                stopped = True
                self.stop(reason)
            status = self.status()
            news = self.events(seen)
            seen = news[-1]["seq"] if news else seen
            if on_events is not None and news:
                on_events(news)
            if on_status is not None:
                on_status(status)
            if not running_status(status):
                return status
            time.sleep(poll_s)

    def close(self) -> None:
        """Ends the heartbeat and has the pool forget the job; a job that still runs is stopped. May be called twice."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._heart.join(timeout=CALL_S)
        if not ray.is_initialized():
            return
        try:
            call(self._connection.pool.close.remote(self.spec.job_id), self.spec.farm.stop_s + 10)
        except FarmGone as error:
            log.warning("job %s could not be closed: %s", self.spec.job_id, error)

    def _ask(self, verb: str, *args: Any) -> Any:
        """Calls the dispatcher; None while there is none."""
        if self._gone:
            raise FarmGone(self._gone)
        for _ in range(2):
            try:
                if self._dispatcher is None:
                    self._dispatcher = call(self._connection.pool.dispatcher.remote(self.spec.job_id))
                if self._dispatcher is None:
                    return None
                return ray.get(getattr(self._dispatcher, verb).remote(*args), timeout=CALL_S)
            except (RayActorError, GetTimeoutError, JobRefused, FarmGone) as error:
                log.debug("the dispatcher of %s does not answer: %s", self.spec.job_id, error)
                self._dispatcher = None
        return None

    def _result(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] | None = call(self._connection.pool.result.remote(self.spec.job_id))
        except (JobRefused, FarmGone):
            return None  # the heartbeat notices, and submits the job again
        return found

    def _beat(self) -> None:
        farm, token = self.spec.farm, str(self.spec.owner.get("token"))
        while not self._ended.wait(farm.heartbeat_s):
            try:
                pool = self._connection.pool
                known = ray.get(pool.heartbeat.remote(self.spec.job_id, token), timeout=farm.heartbeat_lapse_s)
                if not known and running_status(self._last):
                    self._revive("the pool does not know the job any more")
            except GetTimeoutError:
                log.warning("the pool did not answer the heartbeat of %s", self.spec.job_id)
            except RayActorError:
                self._revive("the pool has died")
            except Exception as error:  # nobody else watches this thread
                self._gone = f"the heartbeat of {self.spec.job_id} failed: {type(error).__name__}: {error}"
                log.exception("heartbeat of %s", self.spec.job_id)
                return

    def _revive(self, why: str) -> None:
        """Submits the job again: the store holds all that was finished, so nothing is rendered twice."""
        self._revived += 1
        if self._revived > _REVIVALS:
            raise FarmGone(f"{why}, {self._revived} times")
        log.warning("%s: submitting %s again", why, self.spec.job_id)
        self._connection.revive()
        call(self._connection.pool.submit.remote(self.spec))


def call(ref: Any, timeout_s: float = CALL_S) -> Any:
    """A reply of the pool, with the pool's own errors as themselves; FarmGone where none comes."""
    try:
        return ray.get(ref, timeout=timeout_s)
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, (PlacementImpossible, JobRefused, ValueError)):
            raise cause from None
        raise
    except (RayActorError, GetTimeoutError) as error:
        raise FarmGone(f"the pool does not answer: {' '.join(str(error).split())[:300]}") from error
