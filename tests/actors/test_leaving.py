"""How a gang leaves a take that failed: what its ranks report decides whether it may have another one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from actors.errors import ErrorClass
from actors.gangs.gang import Gang, LostGang, Rendered, render
from actors.gangs.rendering import Failure, Progress, RankReport
from actors.job import GangShape, InputRules
from actors.processes import ProcessId

SHAPE = GangShape(2, (("CPU", 0.25),), 1, "fake", "{}")
PROCESSES = (ProcessId("node", 1, 0.0), ProcessId("node", 2, 0.0))


class Rank:
    """What a rank answers: its failures by call (None: it went well), ``stuck`` in rendering, or ``mute``.

    ``slow``: the call that takes 2.5 s, longer than the ranks are not looked at. ``dead``: it died after its report.
    """

    def __init__(
        self, number: int, prepare: Failure | None = None, render: Failure | None = None, *, stuck: bool = False,
        mute: bool = False, slow: str = "", dead: bool = False,
    ) -> None:  # fmt: skip
        self._number, self._stuck, self._mute, self._beats = number, stuck, mute, 0
        self._slow, self._dead = slow, dead
        self.prepare = SimpleNamespace(remote=lambda *_: self._answer(self._report(prepare)))
        both = SimpleNamespace(remote=lambda *_: (self._rendered(self._report(render)), None))
        self.render = SimpleNamespace(options=lambda **_: both)
        self.progress = SimpleNamespace(remote=self._progress)

    def _report(self, failure: Failure | None) -> RankReport:
        return RankReport(self._number, 0.1, failure)

    async def _answer(self, value: Any) -> Any:
        await asyncio.sleep(2.5 * (self._slow == "prepare"))
        return value

    async def _rendered(self, report: RankReport) -> RankReport:
        if self._stuck:
            await asyncio.Event().wait()
        await asyncio.sleep(2.5 * (self._slow == "render"))
        return report

    def _progress(self) -> asyncio.Future[Progress]:
        self._beats += not self._mute
        answer: asyncio.Future[Progress] = asyncio.get_running_loop().create_future()
        if self._dead:
            answer.set_exception(ActorDiedError())
        else:
            answer.set_result(Progress(None, "denoise", 1, 4, self._beats))
        return answer


def failed(kind: str) -> Failure:
    return Failure(ErrorClass(kind), "Error", kind, f"traceback of {kind}")


def rendered(*ranks: Rank, silence_s: float = 60.0, collective_s: float = 60.0) -> Rendered:
    gang = Gang("g1", SHAPE, "ulysses=2", None, ranks, PROCESSES)
    return asyncio.run(
        render(
            gang, {}, InputRules(), silence_s=silence_s, collective_s=collective_s, on_progress=lambda _: None,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "told", "spoilt"),
    [
        (None, None, None, False),
        ("nan", "nan", "nan", False),
        ("gang_lost", "nan", "nan", False),  # rank 1 told the others, and all left
        ("nan", None, "nan", False),  # while decoding, after the last exchange
        ("internal", None, "internal", False),
        ("internal", "gang_lost", "internal", True),
        ("gang_lost", "gang_lost", "gang_lost", True),
        ("oom", "gang_lost", "oom", True),
        ("oom", None, "oom", True),
        ("oom", "oom", "oom", True),
        ("node", None, "node", True),  # what a driver did to one take it does to the next
    ],
)
def test_a_gang_goes_on_only_where_its_ranks_left_together(
    first: str | None, second: str | None, told: str | None, spoilt: bool
) -> None:
    done = rendered(*(Rank(n, render=failed(kind) if kind else None) for n, kind in enumerate((first, second))))
    assert (None if done.failure is None else str(done.failure.error), done.spoilt) == (told, spoilt)


@pytest.mark.parametrize(
    ("kind", "spoilt"), [("input", False), ("store", False), ("oom", True), ("node", True), ("gang_lost", True)]
)
def test_what_fails_before_any_exchange_costs_no_gang_but_a_rank_that_is_unfit_does(kind: str, spoilt: bool) -> None:
    done = rendered(Rank(0, prepare=failed(kind)), Rank(1))
    assert done.failure is not None
    assert (str(done.failure.error), done.spoilt, done.frames) == (kind, spoilt, None)


def test_those_who_wait_for_a_rank_that_failed_are_not_waited_for() -> None:
    """The collective's time limit would be a minute; and the reason is the failed rank's own, not the gang's."""
    done = rendered(Rank(0, stuck=True), Rank(1, render=failed("oom")))
    assert done.failure is not None
    assert (str(done.failure.error), done.spoilt, done.seconds < 30.0) == ("oom", True, True)
    assert [report.rank for report in done.reports] == [1]


def test_a_rank_that_died_is_not_waited_for_until_the_others_are_ready() -> None:
    """Its own part was done, so that no call of it fails: only that it answers no more tells of its death."""
    with pytest.raises(LostGang, match="rank 1: ActorDiedError") as caught:
        rendered(Rank(0, slow="prepare"), Rank(1, dead=True))
    assert caught.value.error is ErrorClass.GANG_LOST


def test_a_rank_that_dies_when_its_part_is_rendered_does_not_cost_the_take() -> None:
    done = rendered(Rank(0, slow="render"), Rank(1, dead=True))
    assert (done.failure, done.spoilt) == (None, False)


def test_a_gang_in_which_nobody_takes_a_step_is_lost() -> None:
    with pytest.raises(LostGang, match="no rank took a step for 2 s") as caught:
        rendered(Rank(0, stuck=True, mute=True), Rank(1, stuck=True, mute=True), silence_s=2.0)
    assert caught.value.error is ErrorClass.GANG_LOST
    assert caught.value.seconds >= 2.0
