"""A job's heartbeat when its pool does not answer, or dies: what Ray says is played, nothing is started."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError

from actors import handle
from actors.handle import FarmGone, Job
from actors.heads import HeadWatch
from actors.job import JobSpec
from tests.actors.farm import eventually


@dataclass
class Remote:
    """Stands for a method of an actor; the reference is what the call answers, an error to be raised."""

    answer: Callable[[], Any]

    def remote(self, *args: object) -> Any:
        return self.answer()


@dataclass
class Pool:
    """Answers heartbeats as it is told, then with True."""

    beats: deque[Any] = field(default_factory=deque)
    heard: int = 0
    submitted: int = 0

    @property
    def heartbeat(self) -> Remote:
        return Remote(self._beat)

    @property
    def submit(self) -> Remote:
        return Remote(self._submit)

    @property
    def dispatcher(self) -> Remote:
        return Remote(lambda: None)

    @property
    def result(self) -> Remote:
        return Remote(lambda: None)

    @property
    def close(self) -> Remote:
        return Remote(lambda: None)

    def _beat(self) -> Any:
        self.heard += 1
        return self.beats.popleft() if self.beats else True

    def _submit(self) -> None:
        self.submitted += 1


@dataclass
class Connection:
    """Makes a new pool, after as many failures as it is told."""

    pool: Pool
    failures: int = 0
    revived: int = 0
    lost: str | None = None

    def revive(self) -> None:
        self.revived += 1
        if self.failures:
            self.failures -= 1
            raise FarmGone("the pool does not answer")


def unavailable() -> ActorUnavailableError:
    return ActorUnavailableError("failed to connect", b"0" * 16)


@pytest.fixture
def submit(monkeypatch: pytest.MonkeyPatch) -> Callable[[Connection], Job]:
    def get(reference: Any, timeout: float) -> Any:
        if isinstance(reference, Exception):
            raise reference
        return reference

    monkeypatch.setattr(handle.ray, "get", get)
    spec = JobSpec("job", "/nowhere", "/nowhere", {}, 1, {"token": "t"}, limits={"heartbeat_s": 0.01})
    return lambda connection: Job(connection, spec)


def test_a_pool_that_ray_cannot_reach_now_is_asked_again(submit: Callable[[Connection], Job]) -> None:
    connection = Connection(Pool(deque([unavailable(), GetTimeoutError(), unavailable()])))
    job = submit(connection)
    eventually(lambda: connection.pool.heard > 6)
    assert (connection.revived, connection.pool.submitted) == (0, 1)
    assert job.status()["state"] == "running"
    job.close()


def test_a_pool_that_died_with_its_node_is_made_again_as_soon_as_it_can_be(
    submit: Callable[[Connection], Job],
) -> None:
    connection = Connection(Pool(deque([ActorDiedError()] * 5)), failures=4)
    job = submit(connection)
    eventually(lambda: connection.pool.heard > 8)
    assert (connection.revived, connection.pool.submitted) == (5, 2), "only the one that came up counts as a revival"
    assert job.status()["state"] == "running"
    job.close()


def test_a_pool_that_dies_again_and_again_is_given_up_and_said_to_be(submit: Callable[[Connection], Job]) -> None:
    connection = Connection(Pool(deque([ActorDiedError()] * 9)))
    job = submit(connection)
    eventually(lambda: connection.pool.heard > 3)

    def gone() -> bool:
        try:
            job.status()
        except FarmGone as error:
            return "4 times" in str(error)
        return False

    eventually(gone)
    assert connection.pool.submitted == 4
    job.close()


def test_a_job_whose_clusters_head_has_gone_is_given_up_at_once(submit: Callable[[Connection], Job]) -> None:
    connection = Connection(Pool())
    job = submit(connection)
    assert job.status()["state"] == "running"
    connection.lost = "the head does not answer"
    with pytest.raises(FarmGone, match="the head does not answer"):
        job.wait(poll_s=0.01)
    began = time.monotonic()
    job.close()
    assert time.monotonic() - began < 5.0, "nobody is waited for who would never answer"


def test_a_head_counts_as_lost_when_it_has_been_silent_for_long_enough() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        watch = HeadWatch(f"127.0.0.1:{server.getsockname()[1]}", patience_s=0.5, look_s=0.05)
        time.sleep(1.0)
        assert watch.lost is None
    assert "has not answered for" in str(eventually(lambda: watch.lost))
    watch.close()
