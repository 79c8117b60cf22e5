"""A renderer without torch, for tests of the farm: it does what the prompt of the take says.

The words of a prompt, each at most once: ``sleep=SECONDS`` (in steps), ``raise=TEXT``, ``nan`` (until fp32 is tried),
``always-nan``, ``oom``, ``oom-once=FILE``, ``driver-once=FILE``, ``die``, ``hang-once=FILE``, ``die-once=FILE``,
``fail-once=FILE``, ``refuse`` (an input fault), ``rank=N`` (the rank that does it; 0 by default), ``shows=none``
(black), ``shows=one`` (colour) and ``shows=same`` (frame), until fp32 is tried, and then too with ``for-good``; of the
first takes only with ``until=TAKE``.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from actors.gangs.rendering import Frames, OnStage, Order, fetch_planned
from actors.job import InputRules, RenderSetup
from model.errors import InputError, NonFinite


class FakeRenderer:
    """Draws a light that wanders over a picture whose colour is the seed's."""

    def __init__(self, setup: RenderSetup) -> None:
        self.setup = setup
        self.options = dict(setup.options)

    def load(self) -> None:
        if self.options.get("load_error"):
            raise ValueError(self.options["load_error"])
        if self.options.get("die_at_load"):
            os.kill(os.getpid(), signal.SIGKILL)

    def serve(self, host: str) -> int:
        return 1

    def join(self, address: tuple[str, int] | None) -> str:
        return self.setup.layout or "single"

    def prepare(self, order: Order, rules: InputRules, on_stage: OnStage) -> None:
        words = _words(order)
        if "refuse" in words and self.setup.rank == 0:
            raise InputError("the input cannot be used")
        if order.get("image_uri"):
            fetch_planned(order, "image_uri", rules)

    def render(self, order: Order, on_stage: OnStage) -> Frames | None:
        words = _words(order)
        seconds, steps = float(words.get("sleep", 0.0)), 4
        for step in range(steps):
            if step == 1 and int(words.get("rank", 0)) == self.setup.rank:
                _misbehave(words, order)
            time.sleep(seconds / steps)
            _wait_for(words.get("until-file"))
            on_stage("denoise", step + 1, steps)
        if self.setup.rank != 0:
            return None
        usual = order["precision"] == "float32" and "for-good" not in words
        usual = usual or int(order["take"]) > int(words.get("until", order["take"]))
        return _drawn(order, "" if usual else words.get("shows", ""))


def _wait_for(file: str | None) -> None:
    ends = time.monotonic() + 60.0
    while file is not None and not Path(file).exists() and time.monotonic() < ends:
        time.sleep(0.05)


def _drawn(order: Order, look: str) -> Frames:
    shape = (order["render_frames"], order["render_height"], order["render_width"], 3)
    frames = np.full(shape, 0 if look == "none" else int(order["seed"]) % 192, np.uint8)
    if look in ("none", "one"):
        return frames
    for number, frame in enumerate(frames):
        frame[:, 0 if look == "same" else number % frame.shape[1]] = 255
    return frames


def _misbehave(words: dict[str, str], order: Order) -> None:
    if "raise" in words:
        raise RuntimeError(words["raise"])
    if "always-nan" in words or ("nan" in words and order["precision"] != "float32"):
        raise NonFinite(1, "latents")
    if "oom" in words or _first_time(words.get("oom-once")):
        raise MemoryError("no room for the latents")
    if _first_time(words.get("driver-once")):
        raise RuntimeError("CUDA driver error: unknown error")
    if _first_time(words.get("hang-once")):
        time.sleep(3600)
    if "die" in words or _first_time(words.get("die-once")):
        os.kill(os.getpid(), signal.SIGKILL)
    if _first_time(words.get("fail-once")):
        raise RuntimeError("once only")


def _first_time(file: str | None) -> bool:
    if file is None or Path(file).exists():
        return False
    Path(file).touch()
    return True


def _words(order: Order) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in order["prompt"].split())}
