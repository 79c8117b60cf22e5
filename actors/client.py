"""What a flow calls: a connection to a Ray cluster, and jobs on its pool.

with connect(settings.ray.address) as farm:
    job = farm.submit(spec)
    while job.status()["state"] == "running": ...
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

import psutil
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from actors.dispatcher import running_status
from actors.errors import PlacementImpossible
from actors.job import NAMESPACE, JobSpec
from actors.pool import POOL_NAME, JobRefused, PoolActor

log = logging.getLogger(__name__)

_SMALL_STORE = 512 * 2**20
_LARGE_STORE = 8 * 2**30
_LARGE_MACHINE = 32 * 2**30
_CALL_S = 60.0
_REVIVALS = 3
_REACH_S = 10.0


class FarmGone(Exception):
    """The cluster, or its pool, does not answer any more. The store holds all that was finished."""


def connect(
    address: str | None = None,
    *,
    auth: Literal["token", "disabled"] = "token",
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    object_store_bytes: int | None = None,
) -> Connection:
    """Joins the cluster at ``address`` ("auto" or host:port), or starts one here that ends with this process.

    Ray's token authentication is on unless RAY_AUTH_MODE or ``auth`` says otherwise; the token is found by Ray itself
    (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token). Where this process has joined a cluster already, that one
    is used and stays. Raises FarmGone, ValueError for a ``ray://`` address.
    """
    if address is not None and address.startswith("ray://"):
        raise ValueError(
            "ray:// is Ray Client, far too slow for films: run on a node of the cluster, or give host:port"
        )
    if ray.is_initialized():
        return Connection(started=False)
    os.environ.setdefault("RAY_AUTH_MODE", auth)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": logging.WARNING}
    if address is None:
        options |= {
            "address": "local",
            "include_dashboard": False,
            "num_cpus": num_cpus,
            "num_gpus": num_gpus,
            "object_store_memory": object_store_bytes or _store_size(),
        }
    else:
        _check_reachable(address)
        options["address"] = address
    try:
        ray.init(**options)
    except (ConnectionError, RayError, RuntimeError) as error:
        where = "on this machine" if address is None else f"at {address}"
        raise FarmGone(f"no Ray cluster {where}: {error}") from error
    return Connection(started=True)


class Connection:
    """A joined cluster. Leaving it ends only what this process started."""

    def __init__(self, *, started: bool) -> None:
        self._started = started
        self._jobs: list[Job] = []
        self.pool = _pool()

    @property
    def address(self) -> str:
        """host:port of the cluster, for others to join."""
        return str(ray.get_runtime_context().gcs_address)

    def submit(self, spec: JobSpec) -> Job:
        """Starts a job and its heartbeat. Raises PlacementImpossible, JobRefused, FarmGone, ValueError."""
        job = Job(self, spec)
        self._jobs.append(job)
        return job

    def describe(self) -> dict[str, Any]:
        """Jobs and gangs of the pool, and what the cluster's nodes hold."""
        found: dict[str, Any] = _get(self.pool.describe.remote())
        return found | {"resources": ray.cluster_resources()}

    def revive(self) -> None:
        """Makes a new pool where the old one has died."""
        self.pool = _pool()

    def close(self) -> None:
        """Closes the jobs of this connection and leaves the cluster; one that was started here ends."""
        for job in self._jobs:
            job.close()
        self._jobs.clear()
        if self._started and ray.is_initialized():
            ray.shutdown()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
        _get(connection.pool.submit.remote(spec))
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
            _get(self._connection.pool.stop.remote(self.spec.job_id, reason), self.spec.farm.stop_s + 10)
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
        self._heart.join(timeout=_CALL_S)
        if not ray.is_initialized():
            return
        try:
            _get(self._connection.pool.close.remote(self.spec.job_id), self.spec.farm.stop_s + 10)
        except FarmGone as error:
            log.warning("job %s could not be closed: %s", self.spec.job_id, error)

    def _ask(self, verb: str, *args: Any) -> Any:
        """Calls the dispatcher; None while there is none."""
        if self._gone:
            raise FarmGone(self._gone)
        for _ in range(2):
            try:
                if self._dispatcher is None:
                    self._dispatcher = _get(self._connection.pool.dispatcher.remote(self.spec.job_id))
                if self._dispatcher is None:
                    return None
                return ray.get(getattr(self._dispatcher, verb).remote(*args), timeout=_CALL_S)
            except (RayActorError, GetTimeoutError, JobRefused, FarmGone) as error:
                log.debug("the dispatcher of %s does not answer: %s", self.spec.job_id, error)
                self._dispatcher = None
        return None

    def _result(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] | None = _get(self._connection.pool.result.remote(self.spec.job_id))
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
        _get(self._connection.pool.submit.remote(self.spec))


def render_job(
    connection: Connection,
    spec: JobSpec,
    on_status: Callable[[Mapping[str, Any]], None] | None = None,
    on_events: Callable[[Sequence[Mapping[str, Any]]], None] | None = None,
    *,
    poll_s: float = 0.5,
    stop_requested: Callable[[], str | None] = lambda: None,
) -> dict[str, Any]:
    """Submits a job, follows it to its end, closes it, and returns its last status."""
    job = connection.submit(spec)
    try:
        return job.wait(on_status, on_events, poll_s=poll_s, stop_requested=stop_requested)
    finally:
        job.close()


def _pool() -> Any:
    pool = PoolActor.options(name=POOL_NAME, namespace=NAMESPACE, lifetime="detached", get_if_exists=True).remote()
    _get(pool.describe.remote())
    return pool


def _get(ref: Any, timeout_s: float = _CALL_S) -> Any:
    """A reply of the pool, with the pool's own errors as themselves."""
    try:
        return ray.get(ref, timeout=timeout_s)
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, (PlacementImpossible, JobRefused, ValueError)):
            raise cause from None
        raise
    except (RayActorError, GetTimeoutError) as error:
        raise FarmGone(f"the pool does not answer: {' '.join(str(error).split())[:300]}") from error


def _check_reachable(address: str) -> None:
    """Raises FarmGone at once where nothing listens: Ray itself would go on trying for minutes."""
    host, separator, port = address.rpartition(":")
    if not separator:
        if address in ("auto", "local"):
            return
        raise ValueError(f'address {address!r}: must be "auto" or host:port')
    if not port.isdigit():
        raise ValueError(f"address {address!r}: the port must be a number")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
    except OSError as error:
        raise FarmGone(f"no Ray cluster at {address}: {error.strerror or error}") from error


def _store_size() -> int:
    """Bytes of the object store: frames wait there for at most a few takes."""
    memory = psutil.virtual_memory().total
    return _SMALL_STORE if memory < _LARGE_MACHINE else min(_LARGE_STORE, memory // 10)
