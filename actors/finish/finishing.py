"""Finishing: rendered frames become a committed film, beside the gang's next take.

``Finisher`` is an actor on the gang's node, one per job and node, so that frames never cross the network and a job's
secrets stay with the job. ``Admission`` bounds what waits for it: a gang may not run ahead of its films for ever.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.errors import PolicyRefused
from actors.finish.examining import examine
from actors.finish.judging import quality_note
from actors.gangs.pieces import drop_pieces
from actors.gangs.rendering import Failure, Frames, Order
from actors.job import JobSpec
from actors.logs import captured, stamp
from actors.processes import ProcessId
from actors.remote import actor
from infra.names import check_import_names
from infra.scratch import Scratch, film_bytes
from infra.store import Store, open_store
from infra.store.commits import publish
from infra.store.errors import StoreError, StoreUnavailable
from infra.store.layout import poster_path

log = logging.getLogger(__name__)

OUTAGE_S = 600.0
"""Seconds for which a finished film waits for a store that is away, before its take counts as failed by the farm."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How finishing went. Either ``commit`` or ``failure`` is set.

    adopted: another's commit was there first and stands; this render was a duplicate.
    poster: path in the store, or None where the poster could not be put: a film without one is still a film.
    """

    commit: Mapping[str, Any] | None
    adopted: bool = False
    poster: str | None = None
    failure: Failure | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    log: tuple[str, ...] = ()


class Finisher:
    """fit, examine, encode, probe, measure, hash, upload, commit, poster.

    Runs as a Ray actor with a thread per take in work.
    """

    def __init__(self, spec: JobSpec) -> None:
        check_import_names()
        logging.getLogger().setLevel(logging.INFO)
        self._spec = spec
        self._store: Store = open_store(spec.store_url, spec.store_options)
        self._scratch = Scratch(spec.farm.scratch, spec.farm.scratch_bytes)
        self._scratch.clean()  # a finisher that was killed here had no time for it

    @ray.method(concurrency_group="control")
    def identity(self) -> ProcessId:
        """Which process this is, and where."""
        return ProcessId.own(ray.get_runtime_context().get_node_id())

    @ray.method(concurrency_group="finish")
    def finish(self, order: Order, facts: Mapping[str, Any], frames: Frames) -> Finished:
        """Finishes one take. Errors are returned; an exception means that the finisher is lost.

        facts: what the commit holds beyond the order: gang, layout, gpu_s, times.
        """
        stages: dict[str, float] = {}
        with captured() as lines:
            try:
                return self._finish(order, facts, frames, stages, lines)
            except Exception as error:
                failure = Failure.of(error)
                lines.append(f"{stamp()} ERROR {__name__}: finishing: {failure}")
                return Finished(None, failure=failure, stages=stages, log=tuple(lines))

    def _finish(
        self, order: Order, facts: Mapping[str, Any], frames: Frames, stages: dict[str, float], lines: list[str]
    ) -> Finished:
        from infra.media import encode_film, encode_still, expect, fit, of_aspect, poster, probe

        film = self._spec.film
        width, height, count = int(order["width"]), int(order["height"]), int(order["frames"])
        still = order["task"] == "still"
        suffix = ".png" if still else ".mp4"
        clock = _Stopwatch(stages)
        fitted = (of_aspect if order.get("upscaler") else fit)(frames, width, height, count)
        try:
            examine(order, fitted, self._spec)
        except PolicyRefused:
            self._drop_pieces(order, lines)
            raise
        clock.lap("examine")
        made = to_size(order, fitted, self._spec)
        clock.lap("upscale")
        with self._scratch.room("finish", film_bytes(width, height, count)) as folder:
            local = folder / f"take{suffix}"
            if still:
                encode_still(made[0], local)
            else:
                encode_film(
                    made, local, fps=order["fps"], crf=film.crf, preset=film.preset, ffmpeg=film.ffmpeg,
                    timeout_s=film.timeout_s,
                )  # fmt: skip
            clock.lap("encode")
            expect(probe(local), width=width, height=height, frames=count, fps=order["fps"], still=still)
            clock.lap("probe")
            record = commit_record(order, facts, self._spec)
            record["notes"] |= quality_note(order, fitted, lines, spec=self._spec, film=None if still else local)
            clock.lap("measure")
            published = self._publish(local, record, suffix)
            clock.lap("publish")
        self._drop_pieces(order, lines)
        path = self._put_poster(order, poster(made, longest=film.poster_px), lines)
        clock.lap("poster")
        adopted = published.outcome == "adopted"
        return Finished(published.commit, adopted, path, None, stages, tuple(lines))

    def _publish(self, local: Path, record: dict[str, Any], suffix: str) -> Any:
        """Publishes, and outlasts a store that is away: the film is rendered, only its place is missing.

        Meanwhile the queue fills and the gang waits, so an outage costs no GPU seconds.
        """
        gives_up = time.monotonic() + OUTAGE_S
        while True:
            try:
                return publish(self._store, local=local, record=record, suffix=suffix)
            except StoreUnavailable as error:
                if time.monotonic() > gives_up:
                    raise
                log.warning("the store is away, the film waits: %s", error)
                time.sleep(random.uniform(1.0, 5.0))

    def _drop_pieces(self, order: Order, lines: list[str]) -> None:
        """A long clip's pieces were kept for whoever had to go on with it: nobody has, now."""
        if not order.get("long_method"):
            return
        try:
            drop_pieces(self._store, self._spec.job_id, order["spec_key"])
        except StoreError as error:  # the take is committed: `verify` lists what is left over
            lines.append(f"{stamp()} WARNING {__name__}: pieces are left over: {error}")

    def _put_poster(self, order: Order, jpeg: bytes, lines: list[str]) -> str | None:
        path = poster_path(order["spec_key"])
        try:
            self._store.write(path, jpeg)
        except StoreError as error:  # the take is committed: a missing poster must not make it fail
            lines.append(f"{stamp()} WARNING {__name__}: no poster: {error}")
            return None
        return path


def finisher_on(spec: JobSpec, node_id: str, at_once: int) -> Any:
    """Starts a finisher on a node. It reserves nothing: encoding uses the cores that denoising leaves."""
    made = actor(Finisher, groups={"finish": at_once, "control": 2}, num_cpus=0)
    return made.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote(spec)


class Admission:
    """How much rendered work may wait: a number of takes and a number of bytes. For one event loop.

    A take larger than all the bytes is let in when nothing else waits, or it could never be rendered.
    """

    def __init__(self, takes: int, size: int) -> None:
        self.takes, self.bytes = takes, size
        self.waiting_takes = self.waiting_bytes = 0
        self.most_takes = self.most_bytes = 0
        self._room = asyncio.Condition()

    def fits(self, size: int) -> bool:
        """Whether a take of so many bytes may be rendered now."""
        if self.waiting_takes == 0:
            return True
        return self.waiting_takes < self.takes and self.waiting_bytes + size <= self.bytes

    async def admit(self, size: int, *, unless: Callable[[], bool] = bool) -> bool:
        """Waits for room and takes it. False when ``unless`` came true first (looked at when room is given back)."""
        async with self._room:
            await self._room.wait_for(lambda: unless() or self.fits(size))
            if unless():
                return False
            self.waiting_takes += 1
            self.waiting_bytes += size
            self.most_takes = max(self.most_takes, self.waiting_takes)
            self.most_bytes = max(self.most_bytes, self.waiting_bytes)
            return True

    async def give_back(self, size: int) -> None:
        """The take is finished, or was never rendered."""
        async with self._room:
            self.waiting_takes -= 1
            self.waiting_bytes -= size
            self._room.notify_all()

    async def wake(self) -> None:
        """Makes waiting takes look at ``unless`` again."""
        async with self._room:
            self._room.notify_all()


class _Stopwatch:
    def __init__(self, stages: dict[str, float]) -> None:
        self._stages, self._began = stages, time.monotonic()

    def lap(self, stage: str) -> None:
        now = time.monotonic()
        self._stages[stage] = round(now - self._began, 3)
        self._began = now


def to_size(order: Order, frames: Frames, spec: JobSpec) -> Frames:
    """The frames as they are encoded: upscaled to the film's size where the plan names an upscaler, else as they are.

    Raises:
        UpscalerFailed: it failed, or the settings here name another one than the plan, whose keys it is part of.
    """
    from infra.media import UpscalerFailed, upscale

    planned = order.get("upscaler")
    if planned is None:
        return frames
    if planned != spec.film.upscale:
        raise UpscalerFailed(f"the take is planned with the upscaler {planned}; media.upscale is {spec.film.upscale}")
    return upscale(frames, int(order["width"]), int(order["height"]), planned)


def commit_record(order: Order, facts: Mapping[str, Any], spec: JobSpec) -> dict[str, Any]:
    """What the commit says of this render; ``publish`` adds the media's path, hash and size, and the owner's token."""
    names = ("spec_key", "picture_key", "show", "shot_id", "revision", "take", "seed", "attempt")
    media = {name: order[name] for name in ("width", "height", "frames", "fps")}
    notes: dict[str, Any] = {"job_id": spec.job_id}
    if order.get("precision"):
        notes["retried_in"] = order["precision"]
    if order.get("retried"):
        notes["retries"] = dict(order["retried"])
    notes |= {name: order[name] for name in ("draft", "draft_of", "upscaler") if order.get(name) is not None}
    if order.get("upscaler"):
        notes["rendered"] = {side: order[f"render_{side}"] for side in ("width", "height")}
    return {name: order[name] for name in names} | {"epoch": spec.epoch, "media": media, "notes": notes, **facts}
