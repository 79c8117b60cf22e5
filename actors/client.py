"""What a flow calls: a connection to a Ray cluster, and jobs on its pool.

with connect(settings.ray.address) as farm:
    job = farm.submit(spec)
    while job.status()["state"] == "running": ...
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, Literal

import psutil
import ray
from ray.exceptions import RayError

from actors.handle import FarmGone, Job, call
from actors.heads import HeadWatch
from actors.job import NAMESPACE, JobSpec
from actors.pool import POOL_NAME, PoolActor

log = logging.getLogger(__name__)

_SMALL_STORE = 512 * 2**20
_LARGE_STORE = 8 * 2**30
_LARGE_MACHINE = 32 * 2**30
_REACH_S = 10.0
_STARTS = 3
"""Times that a cluster is started here on a machine that is too busy for it."""
_STARTUP = "timed out during startup"


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
    for left in reversed(range(_STARTS)):
        try:
            thread = _init(options)
            break
        except Exception as error:
            slow = _STARTUP in str(error)  # Ray has no class of its own for it, and waits no longer than 30 s
            if not slow and not isinstance(error, (ConnectionError, RayError, RuntimeError)):
                raise
            if not slow or not left:
                where = "on this machine" if address is None else f"at {address}"
                raise FarmGone(f"no Ray cluster {where}: {error}") from error
            log.warning("this machine is too busy to start a Ray cluster in time; trying again")
            ray.shutdown()
    return Connection(started=True, thread=thread)


def _init(options: Mapping[str, Any]) -> ThreadPoolExecutor | None:
    """`ray.init`, while the caller's signal handlers stay in force; returns what must live as long as the connection.

    Called in the main thread, Ray puts a handler of its own for SIGTERM at the start, in Python, and one more later, in
    C++; either ends the process on the spot, and a start takes seconds. From another thread it leaves out the first;
    the second is undone as soon as it is there. Ray's own servers die with the thread that started them, so that the
    thread has to stay.
    """
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        ray.init(**options)
        return None
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    logging.getLogger("ray._private.worker").addFilter(_without_advice)
    thread = ThreadPoolExecutor(1, thread_name_prefix="ray-init")
    started = thread.submit(ray.init, **options)
    while not started.done():
        wait([started], timeout=0.05)
        for number, handler in before.items():
            if handler is not None:  # None: not set from Python, so not ours to put back
                signal.signal(number, handler)
    try:
        started.result()
    except BaseException:
        thread.shutdown()
        raise
    return thread


def _without_advice(record: logging.LogRecord) -> bool:
    """Drops what Ray says of the handler that it was kept from setting."""
    return "SIGTERM handler is not set" not in record.getMessage()


class Connection:
    """A joined cluster. Leaving it ends only what this process started."""

    def __init__(self, *, started: bool, thread: ThreadPoolExecutor | None = None) -> None:
        self._started, self._thread = started, thread
        self._jobs: list[Job] = []
        self._head = HeadWatch(self.address)
        self.pool = _pool()

    @property
    def address(self) -> str:
        """host:port of the cluster, for others to join."""
        return str(ray.get_runtime_context().gcs_address)

    @property
    def lost(self) -> str | None:
        """Why the cluster counts as gone: its head does not answer any more. None as long as it does."""
        return self._head.lost

    def submit(self, spec: JobSpec) -> Job:
        """Starts a job and its heartbeat. Raises PlacementImpossible, JobRefused, FarmGone, ValueError."""
        job = Job(self, spec)
        self._jobs.append(job)
        return job

    def describe(self) -> dict[str, Any]:
        """Jobs and gangs of the pool, and what the cluster's nodes hold."""
        found: dict[str, Any] = call(self.pool.describe.remote())
        return found | {"resources": ray.cluster_resources()}

    def revive(self) -> None:
        """Makes a new pool where the old one has died."""
        self.pool = _pool()

    def close_jobs(self) -> None:
        """Closes the jobs of this connection; those that still run are stopped."""
        for job in self._jobs:
            job.close()
        self._jobs.clear()

    def close(self) -> None:
        """Closes the jobs of this connection and leaves the cluster; one that was started here ends."""
        self.close_jobs()
        self._head.close()
        if self.lost:  # Ray would wait for its head, now or when Python ends, and then end the process by itself
            atexit.unregister(ray.shutdown)
        elif self._started and ray.is_initialized():
            ray.shutdown()
        if self._thread is not None:
            self._thread.shutdown()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
    call(pool.describe.remote())
    return pool


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
