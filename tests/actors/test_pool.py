"""Admitting jobs to the pool. No Ray: jobs that end when they are told to stand for dispatchers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import actors.pool
from actors.job import JobSpec
from actors.pool import JobRefused, Pool
from tests.actors.farm import job, shot


class Lender:
    """Has no gangs."""

    def admit(self, borrower: object) -> None: ...

    def close(self, borrower: object) -> None: ...

    def dismiss(self, borrower: object) -> None: ...

    async def end_all(self, borrower: object) -> None: ...


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """All jobs that a pool has run, in order, and what they stand on replaced."""
    jobs: list[Any] = []

    async def run(self: Pool, job: Any) -> None:
        jobs.append(job)
        told = asyncio.Event()

        async def stop(*_: object) -> None:
            told.set()

        job.dispatcher = SimpleNamespace(stop=SimpleNamespace(remote=stop))
        job.process = "its process"
        await told.wait()
        await asyncio.sleep(0.05)
        job.result = {"state": "stopped"}

    async def gone(processes: object) -> None:
        await asyncio.sleep(0.05)  # as long as it takes until they are confirmed gone

    monkeypatch.setattr(Pool, "_run", run)
    monkeypatch.setattr(Pool, "_watch", lambda self: asyncio.sleep(0))
    monkeypatch.setattr(actors.pool, "Cluster", SimpleNamespace(now=lambda: None))
    monkeypatch.setattr(actors.pool, "shape_for", lambda spec, cluster: ("shape", 1))
    monkeypatch.setattr(actors.pool, "confirm_ended", gone)
    monkeypatch.setattr(actors.pool, "ray", SimpleNamespace(kill=lambda dispatcher: None))
    return jobs


@pytest.mark.parametrize("epochs", [(2, 3), (3, 2), (2, 2)])
def test_of_two_that_take_a_job_over_at_once_one_renders_it(
    epochs: tuple[int, int], ran: list[Any], tmp_path: Path
) -> None:
    def spec(number: int, owner: str) -> JobSpec:
        return job(tmp_path, [shot(0)], epoch=number, owner={"token": owner})

    async def scenario() -> list[Any]:
        pool = Pool()
        pool._lender = Lender()  # type: ignore[assignment]  # as much of one as is asked
        await pool.submit(spec(1, "first"))
        await asyncio.sleep(0.05)
        taking = [pool.submit(spec(epoch, f"owner {number}")) for number, epoch in enumerate(epochs)]
        told = await asyncio.gather(*taking, return_exceptions=True)
        await asyncio.sleep(0.2)
        running = [job for job in ran if job.result is None]
        assert [job.spec.epoch for job in running] == [max(epochs)]
        assert pool._jobs["job"] is running[0], "its owner's heartbeat is not heard, or its silence not noticed"
        return told

    told = asyncio.run(scenario())
    assert [type(answer) for answer in told] == [type(None), type(None) if epochs == (2, 3) else JobRefused]


def test_an_owner_that_was_taken_over_stops_and_closes_nothing_of_the_next(ran: list[Any], tmp_path: Path) -> None:
    first, second = (job(tmp_path, [shot(0)], epoch=n, owner={"token": f"owner {n}"}) for n in (1, 2))
    old, new = ("owner 1", "owner 2")

    async def scenario() -> None:
        pool = Pool()
        pool._lender = Lender()  # type: ignore[assignment]  # as much of one as is asked
        await pool.submit(first)
        await asyncio.sleep(0.05)
        await pool.submit(second)
        await asyncio.sleep(0.05)
        for refused in (
            pool.stop("job", "its lease is lost", 0.0, old), pool.pause("job", "by hand", old),
            pool.resume("job", old), pool.dispatcher("job", old), pool.result("job", old),
        ):  # fmt: skip
            with pytest.raises(JobRefused, match="another owner, of epoch 2"):
                await refused
        await pool.close("job", old)
        assert await pool.heartbeat("job", new) and await pool.result("job", new) is None
        assert pool._jobs["job"].state == "running"
        await pool.close("job", new)
        assert not pool._jobs

    asyncio.run(scenario())
