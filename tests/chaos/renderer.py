"""Renderers that can be stopped at a phase: one that draws noise at once, and one with the shipped model."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from actors.gangs.renderer import PipelineRenderer
from actors.gangs.rendering import Frames, OnStage, Order
from actors.job import InputRules, RenderSetup
from tests.chaos.gates import Gates

STEPS = 4
SLEEP_S = 0.2


def _nothing() -> None:
    """For a load, which gives no sign of life while it lasts."""


class _Gated:
    """What both renderers do at a gate."""

    setup: RenderSetup
    gates: Gates

    def gated(self, order: Order, on_stage: OnStage) -> OnStage:
        """`on_stage`, with a gate at each phase. Waiting counts as a sign of life."""

        def stage(name: str, step: int, steps: int) -> None:
            on_stage(name, step, steps)
            phase = {"denoise": "denoise", "decode": "decode"}.get(name)
            if phase is not None:
                self.gates.pass_through(phase, lambda: on_stage(name, step, steps))

        return stage

    def admitted(self, order: Order, on_stage: OnStage) -> None:
        """Rank 0 takes a ticket for the take, before anything is rendered."""
        if self.setup.rank == 0:
            self.gates.take_ticket(lambda: on_stage("prepare", 0, 0))

    def noted(self, order: Order, render: Callable[[], Frames | None]) -> Frames | None:
        """Renders, and writes down how long this rank was busy with it."""
        began = time.monotonic()
        frames = render()
        self.gates.note(
            job=order["job_id"],
            id=order["id"],
            attempt=order["attempt"],
            epoch=order["epoch"],
            rank=self.setup.rank,
            seconds=time.monotonic() - began,
        )
        return frames


class ChaosRenderer(_Gated):
    """Draws noise that moves, with as many stages as the real one has and none of its work."""

    def __init__(self, setup: RenderSetup) -> None:
        self.setup = setup
        self.gates = Gates(Path(setup.options["gates"]))

    def load(self) -> None:
        self.gates.pass_through("load", _nothing)

    def serve(self, host: str) -> int:
        return 1

    def join(self, address: tuple[str, int] | None) -> str:
        return self.setup.layout or "single"

    def prepare(self, order: Order, rules: InputRules, on_stage: OnStage) -> None:
        self.admitted(order, on_stage)

    def render(self, order: Order, on_stage: OnStage) -> Frames | None:
        return self.noted(order, lambda: self._draw(order, self.gated(order, on_stage)))

    def _draw(self, order: Order, on_stage: OnStage) -> Frames | None:
        for step in range(STEPS):
            time.sleep(SLEEP_S / STEPS)
            on_stage("denoise", step + 1, STEPS)
        if self.setup.rank != 0:
            return None
        on_stage("decode", 0, 0)
        shape = (order["render_frames"], order["render_height"], order["render_width"], 3)
        return np.random.default_rng(int(order["seed"])).integers(0, 256, shape, np.uint8)


class ChaosPipeline(_Gated, PipelineRenderer):
    """The product's own renderer, with the same gates."""

    def __init__(self, setup: RenderSetup) -> None:
        super().__init__(setup)
        self.setup = setup
        self.gates = Gates(Path(setup.options["gates"]))

    def load(self) -> None:
        self.gates.pass_through("load", _nothing)
        super().load()

    def prepare(self, order: Order, rules: InputRules, on_stage: OnStage) -> None:
        self.admitted(order, on_stage)
        super().prepare(order, rules, on_stage)

    def render(self, order: Order, on_stage: OnStage) -> Frames | None:
        return self.noted(order, lambda: PipelineRenderer.render(self, order, self.gated(order, on_stage)))
