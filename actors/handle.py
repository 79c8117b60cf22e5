"""A submitted job, as the process that owns it holds it: status, events, stop, and the heartbeat that carries it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RayTaskError

from actors.dispatch.dispatcher import running_status
from actors.errors import PlacementImpossible
from actors.job import JobSpec
from actors.pool import JobRefused

log = logging.getLogger(__name__)

CALL_S = 60.0
"""Seconds that the pool or a dispatcher may take to answer."""
_REVIVALS = 3
_ALONE_S = 120.0
"""Seconds for which a job may be without a pool before the farm counts as gone."""


class FarmGone(Exception):
    """The cluster, or its pool, does not answer any more. The store holds all that was finished."""


class JoinedCluster(Protocol):
    """What a job needs of the cluster that it was submitted to (`client.Connection`)."""

    pool: Any
    """The handle of the pool's actor; another one once it was made anew."""

    @property
    def lost(self) -> str | None:
        """Why the cluster counts as gone; None as long as its head answers."""

    def revive(self) -> None:
        """Makes a new pool where the old one has died."""


class Job:
    """A submitted job. While this object lives and beats, the pool goes on rendering. Threads may share it."""

    def __init__(self, cluster: JoinedCluster, spec: JobSpec) -> None:
        self.spec = spec
        self._cluster = cluster
        self._dispatcher: Any = None
        self._last: dict[str, Any] = {"state": "running", "takes": {}, "gpu_s": {}, "shards": [], "running": []}
        self._gone: str | None = None
        self._revived = 0
        self._alone_since: float | None = None
        self._paused: str | None = None
        self._ended = threading.Event()
        self._token: str | None = spec.owner.get("token")  # what is asked for is meant for this owner's run alone
        call(cluster.pool.submit.remote(spec))
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

    def pause(self, reason: str) -> None:
        """Has nothing more handed out, takes at work rendered (``farm.drain_s`` at most) and the gangs ended.

        Returns at once; ``status()["pause"]["drained"]`` tells when it is so. Holds also for a pool that is made anew.
        """
        self._paused = reason
        self._tell("pause", reason)

    def resume(self) -> None:
        """Goes on with a job that was paused."""
        self._paused = None
        self._tell("resume")

    def stop(self, reason: str) -> None:
        """Stops the job: takes at work have ``farm.grace_s`` to be rendered, where they can.

        Returns when no gang and no finisher of it is left, at the latest after ``farm.stop_s``.
        """
        farm = self.spec.farm
        patience = farm.grace_s + farm.stop_s + 10
        try:
            call(self._cluster.pool.stop.remote(self.spec.job_id, reason, farm.grace_s, self._token), patience)
        except JobRefused:  # it was given up already, and its gangs with it, or another owner has it by now
            log.info("job %s had ended before it was stopped", self.spec.job_id)

    def wait(
        self,
        on_status: Callable[[Mapping[str, Any]], None] | None = None,
        on_events: Callable[[Sequence[Mapping[str, Any]]], None] | None = None,
        *,
        poll_s: float = 0.5,
        stop_requested: Callable[[], str | None] = lambda: None,
        pause_requested: Callable[[], str | None] = lambda: None,
    ) -> dict[str, Any]:
        """Follows the job to its end and returns the last status. All callbacks run in the calling thread.

        stop_requested: asked at every poll; a reason stops the job. pause_requested: as long as it gives a reason, the
        job is paused.
        """
        seen, stopped = 0, False
        while True:
            reason = stop_requested()
            if reason and not stopped:
                stopped = True
                self.stop(reason)
            pause = pause_requested()
            if not stopped and (pause is None) != (self._paused is None):
                self.resume() if pause is None else self.pause(pause)
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
        if self._cluster.lost:  # the heart may hang in a call to it, and so would this
            return
        self._heart.join(timeout=CALL_S)
        if not ray.is_initialized():
            return
        try:
            call(self._cluster.pool.close.remote(self.spec.job_id, self._token), self.spec.farm.stop_s + 10)
        except FarmGone as error:
            log.warning("job %s could not be closed: %s", self.spec.job_id, error)

    def _tell(self, verb: str, *args: Any) -> None:
        try:
            call(getattr(self._cluster.pool, verb).remote(self.spec.job_id, *args, self._token))
        except (JobRefused, FarmGone) as error:  # the heartbeat submits it again, and says this then
            log.info("the pool was not told to %s %s: %s", verb, self.spec.job_id, error)

    def _ask(self, verb: str, *args: Any) -> Any:
        """Calls the dispatcher; None while there is none."""
        if why := self._gone or self._cluster.lost:
            raise FarmGone(why)
        for _ in range(2):
            try:
                if self._dispatcher is None:
                    self._dispatcher = call(self._cluster.pool.dispatcher.remote(self.spec.job_id, self._token))
                if self._dispatcher is None:
                    return None
                return ray.get(getattr(self._dispatcher, verb).remote(*args), timeout=CALL_S)
            except (RayActorError, GetTimeoutError, JobRefused, FarmGone) as error:
                log.debug("the dispatcher of %s does not answer: %s", self.spec.job_id, error)
                self._dispatcher = None
        return None

    def _result(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] | None = call(self._cluster.pool.result.remote(self.spec.job_id, self._token))
        except (JobRefused, FarmGone):
            return None  # the heartbeat notices, and submits the job again
        return found

    def _beat(self) -> None:
        while not self._ended.wait(self.spec.farm.heartbeat_s):
            try:
                if why := self._why_lost():
                    self._revive(why)
            except Exception as error:  # nobody else watches this thread
                self._gone = f"the heartbeat of {self.spec.job_id} failed: {type(error).__name__}: {error}"
                log.exception("heartbeat of %s", self.spec.job_id)
                return

    def _why_lost(self) -> str | None:
        """Tells the pool that the owner lives. Why the job has to be submitted again, if it has to."""
        farm = self.spec.farm
        try:
            pool = self._cluster.pool
            known = ray.get(pool.heartbeat.remote(self.spec.job_id, str(self._token)), timeout=farm.heartbeat_lapse_s)
        except (GetTimeoutError, ActorUnavailableError):  # Ray does not know yet whether it lives
            log.warning("the pool did not answer the heartbeat of %s", self.spec.job_id)
            return None
        except RayActorError:
            return "the pool has died"
        return None if known or not running_status(self._last) else "the pool does not know the job any more"

    def _revive(self, why: str) -> None:
        """Submits the job again: the store holds all that was finished, so nothing is rendered twice."""
        if self._revived >= _REVIVALS:
            raise FarmGone(f"{why}, {self._revived + 1} times")
        log.warning("%s: submitting %s again", why, self.spec.job_id)
        try:
            self._cluster.revive()
            call(self._cluster.pool.submit.remote(self.spec))
        except FarmGone as error:  # with its node: Ray takes a while to say which actors went down with it
            now = time.monotonic()
            self._alone_since = self._alone_since or now
            if now - self._alone_since > _ALONE_S:
                raise
            log.warning("%s could not be submitted again yet: %s", self.spec.job_id, error)
            return
        self._alone_since = None
        self._revived += 1
        if self._paused is not None:
            self._tell("pause", self._paused)


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
