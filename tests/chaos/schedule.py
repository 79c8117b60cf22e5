"""What is killed, at which phase, in which order: made from a seed alone, so that a run can be repeated."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Kinds of processes. A gang has no supervisor of its own: the pool starts and ends all of them."""

    RANK = "rank"
    POOL = "pool"
    DISPATCHER = "dispatcher"
    FINISHER = "finisher"
    RAYLET = "raylet"
    FLOW = "flow"
    PREFECT = "prefect"
    S3 = "s3"


class Phase(StrEnum):
    """Where a take, or its job, stands still while the process is killed."""

    PLANNING = "planning"
    LOADING = "loading"
    DENOISING = "denoising"
    DECODING = "decoding"
    ENCODING = "encoding"
    UPLOAD = "mid-upload"
    BEFORE_COMMIT = "before commit"
    AFTER_COMMIT = "after commit"
    MANIFEST = "manifest"


class Network(StrEnum):
    """What the proxy does to the request that stood still, or to one soon after."""

    GOES_ON = "goes on"
    RESET = "reset"
    REPLY_LOST = "reply lost"
    CUT = "cut"


PER_JOB = {Kind.RANK: 3, Kind.FINISHER: 3, Kind.S3: 2}
"""Kills of a kind in one job, where they are more than one."""
_TAKES = (
    Phase.DENOISING,
    Phase.DECODING,
    Phase.ENCODING,
    Phase.UPLOAD,
    Phase.BEFORE_COMMIT,
    Phase.AFTER_COMMIT,
    Phase.MANIFEST,
)
_GANG_IS_BUILT_AFTER = (None, Kind.RANK, Kind.POOL, Kind.DISPATCHER, Kind.RAYLET, Kind.FLOW)
_PLAN_IS_PUT_AFTER = (None, Kind.FLOW)
_THERE_BEFORE_A_PLAN = (Kind.FLOW, Kind.PREFECT, Kind.S3, Kind.RAYLET, Kind.POOL)
_PLAN_IS_READ_AFTER = (None, Kind.FLOW, Kind.POOL)


@dataclass(frozen=True)
class Strike:
    """One kill."""

    number: int
    job: int
    kind: Kind
    phase: Phase
    network: Network


def possible(kind: Kind, before: Kind | None, *, first_job: bool = False) -> tuple[Phase, ...]:
    """Phases at which a process of a kind can be killed, when the kill before it in the job was that of `before`.

    Loading and planning come only when something has been lost (or the job is new). No rank and no finisher is there
    while a plan is put; a finisher is made with the first take that is finished; the pool with the first job.
    """
    phases = list(_TAKES)
    if before in _GANG_IS_BUILT_AFTER and kind is not Kind.FINISHER:
        phases.append(Phase.LOADING)
    if kind is Kind.DISPATCHER and before in _PLAN_IS_READ_AFTER:
        phases.append(Phase.PLANNING)
    no_pool_yet = kind is Kind.POOL and first_job and before is None
    if kind in _THERE_BEFORE_A_PLAN and before in _PLAN_IS_PUT_AFTER and not no_pool_yet:
        phases.append(Phase.PLANNING)
    return tuple(phases)


def schedule(seed: int, kills: int, kinds: Sequence[Kind] = tuple(Kind)) -> list[list[Strike]]:
    """The kills, job by job: in each job every kind, in random order, each at the phase that it has had least.

    Most kinds once, because a job outlives three deaths of its pool or dispatcher and then says that it failed.
    """
    rng = random.Random(seed)
    had: Counter[tuple[Kind, Phase]] = Counter()
    jobs: list[list[Strike]] = []
    number = 0
    while number < kills:
        order = [kind for kind in kinds for _ in range(PER_JOB.get(kind, 1))]
        rng.shuffle(order)
        strikes: list[Strike] = []
        before: Kind | None = None
        for kind in order[: kills - number]:
            phases = possible(kind, before, first_job=not jobs)
            least = min(had[kind, phase] for phase in phases)
            phase = rng.choice([phase for phase in phases if had[kind, phase] == least])
            had[kind, phase] += 1
            strikes.append(Strike(number, len(jobs), kind, phase, rng.choice(list(Network))))
            number, before = number + 1, kind
        jobs.append(strikes)
    return jobs


def model_slice(job: int, number: int) -> list[Strike]:
    """A few kills with the shipped model: ranks in the middle of their exchanges, and what is made of their frames."""
    wanted = (
        (Kind.RANK, Phase.LOADING, Network.GOES_ON),
        (Kind.RANK, Phase.DENOISING, Network.GOES_ON),
        (Kind.FINISHER, Phase.BEFORE_COMMIT, Network.RESET),
        (Kind.RANK, Phase.DECODING, Network.GOES_ON),
    )
    return [Strike(number + place, job, *what) for place, what in enumerate(wanted)]
