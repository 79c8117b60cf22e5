"""A gang: the ranks that render one take together. It lives and dies as a whole.

This module is the dispatcher's side of it: rendering with a gang that the pool has lent, and noticing when it is lost.
The pool's side, how gangs begin and end, is in ``actors.gangs.placement``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from ray import ObjectRef
from ray.exceptions import ActorDiedError
from ray.util.placement_group import PlacementGroup

from actors.errors import ErrorClass, GangLost, classify
from actors.gangs.rendering import Failure, Order, Progress, RankReport
from actors.job import GangShape, InputRules
from actors.processes import ProcessId

LOOK_S = 1.0
"""Seconds between looks at the ranks' progress."""
_LEAVE_S = 5.0
_AGREED = frozenset({ErrorClass.NAN, ErrorClass.INPUT})
_UNFIT = frozenset({ErrorClass.OOM, ErrorClass.NODE})
"""What leaves a rank in no state for another take, wherever it was in the one before."""

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Gang:
    """Handles of one gang. Pickles, so that the pool can lend it."""

    id: str
    shape: GangShape
    layout: str
    placement: PlacementGroup
    ranks: tuple[Any, ...]
    processes: tuple[ProcessId, ...]

    @property
    def node_id(self) -> str:
        """The node of rank 0, where decoded frames lie and finishing runs."""
        return self.processes[0].node_id


@dataclass(frozen=True)
class Rendered:
    """A take that has left its gang, well or not. The gang lives and is free, unless ``spoilt``.

    seconds: wall time for which every rank was occupied. frames: where rank 0's frames lie, never their content.
    """

    seconds: float
    reports: tuple[RankReport, ...]
    frames: ObjectRef | None
    failure: Failure | None
    spoilt: bool = False


class LostGang(GangLost):
    """The gang ended under its take.

    Attributes:
        error: the class of the loss: gang_lost, oom or node.
        seconds: wall time for which it was occupied.
    """

    def __init__(self, message: str, error: ErrorClass, seconds: float) -> None:
        super().__init__(message, error, seconds)
        self.message, self.error, self.seconds = message, error, seconds

    def __str__(self) -> str:
        return self.message


async def render(
    gang: Gang, order: Order, rules: InputRules, *, silence_s: float, collective_s: float, on_progress: OnProgress
) -> Rendered:
    """Renders one take on all ranks.

    silence_s: how long no rank may show a sign of life. collective_s: how long the others may take to leave once one
    rank has failed. Raises LostGang; the caller must have the gang ended, it cannot be used again.
    """
    began = time.monotonic()
    watch = _Watch(gang, silence_s, collective_s, on_progress)
    try:
        ready = await watch.all_of([rank.prepare.remote(order, rules) for rank in gang.ranks], all_go_on=True)
        failure = _root_failure(ready)
        if failure is not None:  # nothing was exchanged yet: the gang is as good as before, unless a rank is not
            unfit = _any_of(ready, _UNFIT | {ErrorClass.GANG_LOST})
            return Rendered(time.monotonic() - began, ready, None, failure, unfit)
        calls = [rank.render.options(num_returns=2).remote(order) for rank in gang.ranks]
        reports = await watch.all_of([call[0] for call in calls])
    except _LeftAlone as alone:
        return Rendered(time.monotonic() - began, alone.reports, None, _root_failure(alone.reports), spoilt=True)
    except LostGang as lost:
        lost.seconds = time.monotonic() - began
        lost.args = (lost.message, lost.error, lost.seconds)
        raise
    failure = _root_failure(reports)
    frames = None if failure else calls[0][1]
    return Rendered(time.monotonic() - began, reports, frames, failure, _spoilt(reports))


def _root_failure(reports: tuple[RankReport, ...]) -> Failure | None:
    """The failure that the others followed: one of the shot's own kind, if any rank has one."""
    failures = [report.failure for report in reports if report.failure is not None]
    own = [failure for failure in failures if failure.error is not ErrorClass.GANG_LOST]
    return next(iter(own or failures), None)


def _spoilt(reports: tuple[RankReport, ...]) -> bool:
    """Whether the ranks left a take apart from one another, so that their groups cannot be trusted with the next.

    They leave together where ``agree`` takes them out (NaN, input), and where one fails alone after the last exchange,
    as in decoding. Anything else may have stopped some of them in the middle of an exchange. Memory that ran out is
    not trusted either: what is left of it is in pieces, and the next take shall not pay for that. Nor is a rank whose
    machine failed it: what a driver did to one take it does to the next.
    """
    failures = [report.failure for report in reports if report.failure is not None]
    roots = [failure for failure in failures if failure.error is not ErrorClass.GANG_LOST]
    if not failures:
        return False
    if not roots or _any_of(reports, _UNFIT):
        return True
    alone = len(failures) == 1
    return not alone and not all(failure.error in _AGREED for failure in roots)


def _any_of(reports: tuple[RankReport, ...], kinds: Collection[ErrorClass]) -> bool:
    return any(report.failure is not None and report.failure.error in kinds for report in reports)


class _LeftAlone(Exception):
    """A rank failed in the middle of an exchange, and the others still wait for it. ``reports``: of those who left."""

    def __init__(self, reports: tuple[RankReport, ...]) -> None:
        super().__init__(reports)
        self.reports = reports


class _Watch:
    """Waits for all ranks of a gang and looks at their progress meanwhile."""

    def __init__(self, gang: Gang, silence_s: float, collective_s: float, on_progress: OnProgress) -> None:
        self._gang, self._silence_s, self._leave_s = gang, silence_s, collective_s + _LEAVE_S
        self._on_progress = on_progress
        self._beats: dict[int, int] = {}
        self._heard = time.monotonic()
        self._asked: dict[int, asyncio.Task[Progress]] = {}
        self._all_go_on = False

    async def all_of(self, refs: list[ObjectRef], *, all_go_on: bool = False) -> tuple[RankReport, ...]:
        """Every rank's report, in order; raises LostGang and _LeftAlone.

        all_go_on: those that have reported are needed afterwards, so that the gang is lost when one of them dies while
        it waits for the others. Where they are not, as in decoding, such a death does not cost the take.
        """
        self._all_go_on = all_go_on
        calls = [asyncio.ensure_future(_value(ref)) for ref in refs]
        self._heard = time.monotonic()
        first_failure: float | None = None
        try:
            while waiting := [call for call in calls if not call.done()]:
                await asyncio.wait(waiting, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                reports = [_finished(rank, call) for rank, call in enumerate(calls) if call.done()]
                if first_failure is None and any(report.failure for report in reports):
                    first_failure = time.monotonic()
                if len(reports) < len(calls):
                    self._look()
                    self._judge(tuple(reports), first_failure)
            return tuple(_finished(rank, call) for rank, call in enumerate(calls))
        finally:
            for call in (*calls, *self._asked.values()):
                call.cancel()
            self._asked.clear()

    def _look(self) -> None:
        for number, rank in enumerate(self._gang.ranks):
            asked = self._asked.get(number)
            if asked is not None and asked.done():
                self._hear(number, asked)
                asked = None
            if asked is None:
                self._asked[number] = asyncio.ensure_future(_value(rank.progress.remote()))

    def _hear(self, number: int, asked: asyncio.Task[Progress]) -> None:
        if asked.cancelled():
            return
        if (error := asked.exception()) is not None:
            if self._all_go_on and isinstance(error, ActorDiedError):
                raise _lost_by(number, error) from error
            return  # a rank that cannot answer: its render call ends with the reason, or it stays silent
        progress = asked.result()
        if self._beats.get(number) != progress.beats:
            self._beats[number] = progress.beats
            self._heard = time.monotonic()
        if number == 0:
            self._on_progress(progress)

    def _judge(self, reports: tuple[RankReport, ...], first_failure: float | None) -> None:
        now = time.monotonic()
        root = _root_failure(reports)
        if root is not None and root.error is not ErrorClass.GANG_LOST and root.error not in _AGREED:
            # It did not leave through `agree`: whoever is still there waits in an exchange that nobody will end.
            if first_failure is not None and now - first_failure > _LEAVE_S:
                raise _LeftAlone(reports)
        elif first_failure is not None and now - first_failure > self._leave_s:
            raise LostGang(
                f"gang {self._gang.id}: ranks did not leave {self._leave_s:.0f} s after one had failed",
                ErrorClass.GANG_LOST, 0.0,
            )  # fmt: skip
        if now - self._heard > self._silence_s:
            raise LostGang(
                f"gang {self._gang.id}: no rank took a step for {self._silence_s:.0f} s", ErrorClass.GANG_LOST, 0.0
            )


async def _value(ref: ObjectRef) -> Any:
    return await ref


def _finished(rank: int, call: asyncio.Task[RankReport]) -> RankReport:
    error = call.exception()
    if error is None:
        return call.result()
    raise _lost_by(rank, error) from error


def _lost_by(rank: int, error: BaseException) -> LostGang:
    kind = classify(error).error
    # Whatever a call to a rank raises, the rank cannot be trusted any more: errors of takes come back as reports.
    kind = kind if kind in (ErrorClass.OOM, ErrorClass.NODE) else ErrorClass.GANG_LOST
    text = str(error).strip().splitlines()
    return LostGang(f"rank {rank}: {type(error).__name__}: {' '.join(text[:4])[:600]}", kind, 0.0)
