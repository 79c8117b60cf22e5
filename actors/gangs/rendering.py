"""The seam between ranks and what makes the pictures: the renderer that every rank holds, and how it reports."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from actors.errors import ErrorClass, classify
from actors.job import InputRules, RenderSetup
from catalogs.tasks import INPUTS
from infra.input_errors import InputUnreadable
from infra.inputs import fetch_input
from model.errors import InputError

Order = Mapping[str, Any]
"""A take order: a row of the plan, plus id, attempt, epoch, job_id, precision and low_memory."""

Frames = NDArray[np.uint8] | NDArray[np.uint16]
OnStage = Callable[[str, int, int], None]
"""Called with a stage, steps done and steps of it. Every call counts as a sign of life."""

_TEXT_MOST = 20_000


class Renderer(Protocol):
    """What a rank renders with. One object per rank, all calls from one thread.

    Every rank loads; when all have, rank 0 serves a meeting place and all join there (a gang of one joins nothing).
    ``load`` and ``prepare`` exchange nothing with other ranks, so that a slow load or download times nobody out.
    """

    def __init__(self, setup: RenderSetup) -> None: ...

    def load(self) -> None:
        """Loads the model, as far as this rank needs it."""

    def serve(self, host: str) -> int:
        """Rank 0 opens a meeting place on a free port and returns the port."""

    def join(self, address: tuple[str, int] | None) -> str:
        """Meets the other ranks and tells the layout in which they work, ``single`` for one rank."""

    def prepare(self, order: Order, rules: InputRules, on_stage: OnStage) -> None:
        """Loads what this take needs beyond the model: inputs, another precision."""

    def render(self, order: Order, on_stage: OnStage) -> Frames | None:
        """Renders the take, together with the other ranks.

        Returns the frames (frames, height, width, 3) on rank 0 and None elsewhere.
        """


def frame_bytes(order: Order) -> int:
    """Bytes of a take's frames as the renderer returns them (uint8)."""
    return int(order["render_width"]) * int(order["render_height"]) * int(order["render_frames"]) * 3


def name_of(order: Order) -> str:
    """A take's name for people."""
    return f"{order['show']}/{order['shot_id']} take {order['take']}"


def fetch_planned(order: Order, column: str, rules: InputRules) -> bytes:
    """The bytes of a take's input. InputError when they are not those that the take's key was made from.

    InputUnreadable, where it cannot be had, names the column: a row may have four.
    """
    try:
        data = fetch_input(
            order[column],
            roots=rules.roots,
            max_bytes=rules.max_bytes,
            storage_options=rules.options,
            timeout_s=rules.timeout_s,
        )
    except InputUnreadable as error:
        raise InputUnreadable(f"{column}: {error}") from error
    planned, found = order.get(INPUTS[column]), hashlib.sha256(data).hexdigest()
    if planned is not None and planned != found:
        raise InputError(
            f"{column} has changed since the job was planned: SHA-256 {found[:12]}…, planned {planned[:12]}…; "
            "an edited input is a new plan"
        )
    return data


def make_renderer(path: str, setup: RenderSetup) -> Renderer:
    """The renderer that ``module:Class`` names."""
    module, _, name = path.partition(":")
    made: Renderer = getattr(import_module(module), name)(setup)
    return made


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as data: it crosses processes whatever the exception was made of."""

    error: ErrorClass
    kind: str
    message: str
    traceback: str

    @classmethod
    def of(cls, exception: BaseException) -> Failure:
        text = "".join(traceback.format_exception(exception))
        return cls(classify(exception).error, type(exception).__name__, str(exception)[:2000], text[-_TEXT_MOST:])

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}" if self.message else self.kind


@dataclass(frozen=True, slots=True)
class RankReport:
    """How one rank's part of a take went.

    Attributes:
        seconds: wall time of the call.
        failure: None when it went well.
        shape, bytes: of the frames; zero on ranks that return none.
        stages: seconds by stage.
        log: lines that were logged meanwhile.
    """

    rank: int
    seconds: float
    failure: Failure | None = None
    shape: tuple[int, ...] = ()
    bytes: int = 0
    stages: Mapping[str, float] = field(default_factory=dict)
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a rank is. ``beats`` grows with every sign of life."""

    order: tuple[int, int] | None
    stage: str
    step: int
    steps: int
    beats: int
