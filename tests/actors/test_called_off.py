"""Takes that leave their gangs on purpose, without a farm."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from actors.dispatch.fencing import newer_epoch
from actors.dispatch.leaving import CalledOff, Leaving, Pace
from actors.gangs.draining import standing_on
from actors.gangs.gang import Gang, LostGang
from actors.gangs.rendering import Progress
from actors.job import JobSpec
from infra.store import Store
from infra.store.lease import Lease, Owner


def gang(name: str, *nodes: str) -> Gang:
    return cast(Gang, SimpleNamespace(id=name, processes=[SimpleNamespace(node_id=node) for node in nodes]))


def step(number: int, of: int = 10, stage: str = "denoise") -> Progress:
    return Progress(None, stage, number, of, number)


async def never() -> Any:
    await asyncio.sleep(3600)


async def soon(value: str) -> Any:
    await asyncio.sleep(0.05)
    return value


def test_a_pace_tells_how_long_a_render_will_take() -> None:
    pace = Pace()
    assert pace.remaining(0.0) is None
    pace.seen(step(0, stage="prepare"), 0.0)
    pace.seen(step(2), 10.0)
    assert pace.remaining(10.0) is None, "one look tells no pace"
    pace.seen(step(4), 14.0)
    assert pace.remaining(14.0) == 12.0
    pace.seen(step(4), 17.0)
    assert pace.remaining(17.0) == 9.0
    assert pace.remaining(99.0) == 0.0
    pace.seen(step(1), 20.0)  # another piece of a long take
    assert pace.remaining(20.0) is None
    pace.seen(step(3), 30.0)
    pace.seen(step(0, stage="decode"), 31.0)
    assert pace.remaining(31.0) is None


def test_a_render_gives_what_it_gives_unless_it_is_called_off() -> None:
    async def act() -> None:
        leaving = Leaving()
        given: Any = await leaving.unless_called_off(gang("a"), (1, 1), soon("frames"))
        assert given == "frames"

        async def fails() -> Any:
            raise ValueError("of the render")

        with pytest.raises(ValueError, match="of the render"):
            await leaving.unless_called_off(gang("a"), (1, 1), fails())
        one = asyncio.ensure_future(leaving.unless_called_off(gang("a"), (1, 1), never()))
        two = asyncio.ensure_future(leaving.unless_called_off(gang("b"), (2, 1), soon("frames")))
        await asyncio.sleep(0)
        leaving.call_off("another was faster", lambda _, name: name == (1, 1))
        with pytest.raises(CalledOff, match="another was faster") as lost:
            await one
        assert isinstance(lost.value, LostGang)
        given = await two
        assert given == "frames"
        leaving.call_off("nobody is there any more", lambda gang, name: True)

    asyncio.run(act())


def test_draining_waits_for_those_that_can_be_ready_and_for_no_other() -> None:
    async def act() -> None:
        leaving = Leaving()
        ready, slow = gang("ready"), gang("slow")
        calls = [
            asyncio.ensure_future(leaving.unless_called_off(ready, (1, 1), soon("frames"))),
            asyncio.ensure_future(leaving.unless_called_off(slow, (2, 1), never())),
        ]
        await asyncio.sleep(0)
        leaving.moved(slow, step(1, of=100_000))
        await asyncio.sleep(0.02)
        leaving.moved(slow, step(2, of=100_000))
        leaving.moved(gang("of nobody"), step(2))
        began = time.monotonic()
        await leaving.drain(60.0, "paused")
        assert time.monotonic() - began < 30.0, "it would have needed half an hour: it was not waited for"
        first, second = cast(list[Any], await asyncio.gather(*calls, return_exceptions=True))
        assert first == "frames"
        assert isinstance(second, CalledOff)
        assert leaving.closed == "paused"
        leaving.open()
        assert leaving.closed is None

    asyncio.run(act())


def test_draining_ends_what_nobody_can_judge_when_the_time_is_over() -> None:
    async def act() -> None:
        leaving = Leaving()
        call = asyncio.ensure_future(leaving.unless_called_off(gang("a"), (1, 1), never()))
        await asyncio.sleep(0)
        await leaving.drain(0.3, "SIGTERM")
        with pytest.raises(CalledOff, match="SIGTERM"):
            await call

    asyncio.run(act())


def test_draining_stops_when_the_job_goes_on() -> None:
    async def act() -> None:
        leaving = Leaving()
        call = asyncio.ensure_future(leaving.unless_called_off(gang("a"), (1, 1), never()))
        await asyncio.sleep(0)
        draining = asyncio.ensure_future(leaving.drain(60.0, "paused"))
        await asyncio.sleep(0)
        leaving.open()
        await draining
        assert not call.done()
        call.cancel()

    asyncio.run(act())


def test_a_gang_stands_where_any_of_its_ranks_does() -> None:
    gangs = [gang("a", "n1", "n1"), gang("b", "n1", "n2"), gang("c", "n3")]
    assert [found.id for found in standing_on(gangs, {"n2": 0.0})] == ["b"]
    assert standing_on(gangs, {}) == []


def test_a_dispatcher_sees_that_another_owner_has_the_job(tmp_path: Any) -> None:
    from infra.store import open_store

    def spec(epoch: int) -> JobSpec:
        return JobSpec("job", store.url, "/nowhere", {}, epoch, {})

    store: Store = open_store(tmp_path)
    assert newer_epoch(store, spec(1)) is None, "no lease at all: a job without a flow"
    lease = Lease.acquire(store, "job", Owner.this_process())
    assert isinstance(lease, Lease)
    assert newer_epoch(store, spec(1)) is None
    lease.release("failed", 4)
    again = Lease.acquire(store, "job", Owner.this_process())
    assert isinstance(again, Lease)
    assert newer_epoch(store, spec(1)) == 2
    assert newer_epoch(store, spec(2)) is None
    store.write("jobs/job/lease.json", b"not a lease")
    assert newer_epoch(store, spec(1)) is None, "nobody can tell: the commits are safe all the same"
