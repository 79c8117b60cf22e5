"""What becomes of a gang's place when whoever it is built for is gone: nothing is started, Ray's side is played."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from actors.gangs import lending
from actors.gangs.lending import Borrower, JobPaused, Lender
from actors.gangs.placement import JobOver
from actors.job import GangShape

SHAPE = GangShape(2, (("CPU", 1.0),), 1, "fake", "{}")


class Cluster:
    """Room for one gang. `placed`, `started`: called when a place was reserved, when a gang has just been built."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reserved: set[str] = set()
        self.begun = 0
        self.placed: Callable[[], object] = lambda: None
        self.started: Callable[[], object] = lambda: None
        for name, verb in {
            "place": self._place,
            "start": self._start,
            "release": self._release,
            "end": self._end,
        }.items():
            monkeypatch.setattr(lending, name, verb)

    async def _place(self, shape: GangShape, *, patience_s: float) -> str:
        if self.reserved:
            raise lending.NoRoom("one gang fits")
        await asyncio.sleep(0.01)
        self.reserved.add("place")
        self.placed()
        return "place"

    async def _start(self, shape: GangShape, placed: str, *, load_s: float) -> Any:
        self.begun += 1
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            await self._release(placed)
            raise
        self.started()
        return SimpleNamespace(id="g1", place=placed)

    async def _release(self, placed: str) -> None:
        self.reserved.discard(placed)

    async def _end(self, gang: Any) -> list[Any]:
        self.reserved.discard(gang.place)
        return []


def borrower(lender: Lender) -> Borrower:
    job = Borrower("job", SHAPE, 60.0)
    lender.admit(job)
    return job


@pytest.mark.parametrize(("verb", "told"), [("close", JobOver), ("pause", JobPaused)])
@pytest.mark.parametrize("later", [False, True])
def test_a_job_that_is_turned_away_before_its_build_begins_leaves_no_place_reserved(
    verb: str, told: type[Exception], later: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`later`: the build is there, and has not taken its first step. Else the place has been reserved just now."""

    async def act() -> None:
        cluster, lender = Cluster(monkeypatch), Lender()
        job = borrower(lender)
        turn_away = partial(getattr(lender, verb), job)
        cluster.placed = (lambda: asyncio.get_running_loop().call_soon(turn_away)) if later else turn_away
        with pytest.raises(told):
            await lender.borrow(job)
        assert (cluster.reserved, cluster.begun) == (set(), 0)
        cluster.placed = lambda: None
        assert (await lender.borrow(borrower(lender))).id == "g1", "the next job has the room"

    asyncio.run(act())


@pytest.mark.parametrize("when", ["placed", "started"])
def test_a_caller_that_dies_leaves_no_place_reserved(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray cancels what a dead caller had asked for: before the build's first step, and when it has just ended."""

    async def act() -> None:
        cluster, lender = Cluster(monkeypatch), Lender()
        call = asyncio.ensure_future(lender.borrow(borrower(lender)))
        setattr(cluster, when, lambda: asyncio.get_running_loop().call_soon(call.cancel))
        with pytest.raises((JobPaused, asyncio.CancelledError)):
            await call
        assert not cluster.reserved
        assert not lender.describe()

    asyncio.run(act())


def test_gangs_that_are_being_built_end_with_those_that_a_job_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act() -> None:
        cluster, lender = Cluster(monkeypatch), Lender()
        job = borrower(lender)
        call = asyncio.ensure_future(lender.borrow(job))
        while not cluster.begun:
            await asyncio.sleep(0.005)
        await lender.end_all(job)
        with pytest.raises(JobPaused):
            await call
        assert not cluster.reserved

    asyncio.run(act())
