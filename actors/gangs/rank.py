"""A rank: one process of a gang, which holds a renderer and does its share of each take."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import ray

from actors.gangs.rendering import Failure, Frames, Order, Progress, RankReport, Renderer, make_renderer
from actors.job import InputRules, RenderSetup
from actors.logs import captured, stamp
from actors.processes import ProcessId
from actors.remote import actor
from infra.names import check_import_names

log = logging.getLogger(__name__)


class Rank:
    """Runs as a Ray actor (``RankActor``). Rendering has a thread of its own; the control calls answer beside it.

    Errors of a take are returned, not raised: an exception that comes out of a call means that the rank is lost.
    """

    def __init__(self, renderer: str, setup: RenderSetup) -> None:
        check_import_names()
        logging.getLogger().setLevel(logging.INFO)
        self._setup = setup
        self._path = renderer
        self._renderer: Renderer | None = None
        self._progress = Progress(None, "idle", 0, 0, 0)
        self._stages: dict[str, float] = {}
        self._stage_began = time.monotonic()

    @ray.method(concurrency_group="control")
    def identity(self) -> ProcessId:
        """Which process this is, and where."""
        return ProcessId.own(ray.get_runtime_context().get_node_id())

    @ray.method(concurrency_group="control")
    def progress(self) -> Progress:
        """Where the take stands; also the answer to "are you there?"."""
        return self._progress

    @ray.method(concurrency_group="render")
    def load(self) -> None:
        """Makes the renderer and loads the model. Its errors are raised: without a model there is no rank."""
        self._renderer = make_renderer(self._path, self._setup)
        self._renderer.load()
        self._beat("idle", 0, 0)

    @ray.method(concurrency_group="render")
    def serve(self, one_node: bool) -> tuple[str, int]:
        """Opens the gang's meeting place on a free port of rank 0 and says where it is."""
        host = "127.0.0.1" if one_node else ray.util.get_node_ip_address()
        return host, self._made().serve(host)

    @ray.method(concurrency_group="render")
    def join(self, address: tuple[str, int] | None) -> str:
        """Meets the other ranks and tells the layout."""
        if address is not None and address[0] == "127.0.0.1":
            os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # gloo would look up the host's name otherwise
        return self._made().join(address)

    @ray.method(concurrency_group="render")
    def prepare(self, order: Order, rules: InputRules) -> RankReport:
        """Gets what the take needs, without the other ranks."""
        self._begin(order)
        return self._timed(lambda: self._made().prepare(order, rules, self._beat))[0]

    @ray.method(concurrency_group="render")
    def render(self, order: Order) -> tuple[RankReport, Frames | None]:
        """Renders the take with the other ranks. The second value stays in this node's shared memory."""
        report, frames = self._timed(lambda: self._made().render(order, self._beat))
        self._progress = Progress(None, "idle", 0, 0, self._progress.beats + 1)
        return report, frames

    def _made(self) -> Renderer:
        if self._renderer is None:
            raise RuntimeError("this rank has not loaded its renderer")
        return self._renderer

    def _begin(self, order: Order) -> None:
        self._stages = {}
        self._progress = Progress((order["id"], order["attempt"]), "prepare", 0, 0, self._progress.beats + 1)
        self._stage_began = time.monotonic()

    def _beat(self, stage: str, step: int, steps: int) -> None:
        now, before = time.monotonic(), self._progress
        self._stages[before.stage] = self._stages.get(before.stage, 0.0) + now - self._stage_began
        self._stage_began = now
        self._progress = Progress(before.order, stage, step, steps, before.beats + 1)

    def _timed(self, call: Any) -> tuple[RankReport, Frames | None]:
        began = time.monotonic()
        frames: Frames | None = None
        failure: Failure | None = None
        with captured() as lines:
            try:
                frames = call()
            except Exception as error:
                failure = Failure.of(error)
                lines.append(f"{stamp()} ERROR {__name__}: rank {self._setup.rank}: {failure}")
        current = self._progress
        self._beat(current.stage, current.step, current.steps)
        report = RankReport(
            rank=self._setup.rank,
            seconds=time.monotonic() - began,
            failure=failure,
            shape=() if frames is None else frames.shape,
            bytes=0 if frames is None else frames.nbytes,
            stages={stage: round(seconds, 3) for stage, seconds in self._stages.items()},
            log=tuple(lines),
        )
        return report, frames


RankActor = actor(Rank, groups={"render": 1, "control": 4})
