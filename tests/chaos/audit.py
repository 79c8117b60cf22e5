"""What must hold after a job that was killed at: looked at in the store itself, on the wire and among the processes."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.media import probe
from infra.store import layout
from infra.store.commits import committed_keys, read_commits
from infra.store.jobs import read_plan
from infra.store.lease import LeaseInfo, read_lease
from infra.store.verify import audit
from tests.chaos.gates import Gates
from tests.chaos.schedule import Kind
from tests.chaos.world import GANG, GANGS, World
from tests.processes import command_line

QUIET_S = 30.0
"""Seconds after a job's end within which its dispatcher, finishers and encoders are gone."""
_ROUNDING_S = 0.002
"""GPU seconds are rounded to a millisecond in a commit."""


@dataclass
class Found:
    """What an audit found. All lists are empty when every promise was kept.

    Attributes:
        takes, commits: planned, and standing.
        lost: takes without a commit, and commits that the server had taken and that are not there any more.
        double: commits that were taken twice, and takes with two commits.
        invalid: commits that are not as they should be, or whose film is not there, whole, with their hash.
        stray: processes that should be gone.
        books: GPU seconds that do not add up.
    """

    takes: int
    commits: int
    gpu_s: dict[str, float]
    lost: list[str] = field(default_factory=list)
    double: list[str] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    books: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.double or self.invalid or self.stray or self.books)


def audit_job(world: World, url: str, job_id: str, gates: Gates, report: Mapping[str, Any]) -> Found:
    """The whole audit of a job that has ended, past the proxy."""
    store = world.store(url)
    planned = set(read_plan(store, job_id)["spec_key"].to_pylist())
    standing = committed_keys(store)
    commits = [read.commit for read in read_commits(store) if read.commit is not None]
    taken = _taken(world, url)
    verdict = audit(store, prober=probe)
    return Found(
        takes=len(planned),
        commits=len(commits),
        gpu_s={name: round(float(spent), 3) for name, spent in report["gpu_s"].items()},
        lost=sorted((planned | set(taken)) - standing),
        double=sorted([*(key for key, times in taken.items() if times > 1), *_twice(commits)]),
        invalid=[f"{fault.kind} {fault.path}: {fault.detail}" for fault in verdict.faults],
        stray=_strays(world),
        books=[
            *_unbooked(commits, report["gpu_s"]),
            *_overbooked(commits, read_lease(store, job_id)),
            *_cheap(commits, gates.renders()),
        ],
    )


def _taken(world: World, url: str) -> Counter[str]:
    """How often the server took each commit, as the proxy saw it."""
    prefix = f"/{world.s3.bucket}/{url.rpartition('/')[2]}/"
    puts = [one.path.removeprefix(prefix) for one in world.proxy.exchanges if one.method == "PUT" and one.status == 200]
    keys = (layout.parse_commit_path(path.partition("?")[0]) for path in puts if path.startswith(layout.COMMITS))
    return Counter(key for key in keys if key is not None)


def _twice(commits: Sequence[Mapping[str, Any]]) -> list[str]:
    names = Counter(f"{commit['show']}/{commit['shot_id']} take {commit['take']}" for commit in commits)
    return [name for name, times in names.items() if times > 1]


def _strays(world: World) -> list[str]:
    """Processes of the job that still run, and ranks beyond those of the gangs that may stay warm."""
    ends = time.monotonic() + QUIET_S
    while (left := _left(world)) and time.monotonic() < ends:
        time.sleep(0.5)
    return left


def _left(world: World) -> list[str]:
    busy = [*world.find(Kind.DISPATCHER), *world.find(Kind.FINISHER)]
    encoders = [process for process in world.find_all() if "ffmpeg" in command_line(process)]
    ranks = world.find(Kind.RANK)
    too_many = ranks if len(ranks) > GANG * GANGS else []
    return [f"{process.pid} {line}" for process in (*busy, *encoders, *too_many) if (line := command_line(process))]


def _unbooked(commits: Sequence[Mapping[str, Any]], booked: Mapping[str, float]) -> list[str]:
    """Every commit's GPU seconds stand in one column of the last run's books, and in one only.

    A run books what it rendered as rendered and what stood there before as cached, also what its own dispatchers before
    the last had rendered. A commit that it adopted is in neither: its own seconds for that take are duplicate.
    """
    spent = sum(float(commit["gpu_s"]) for commit in commits)
    told = float(booked["rendered"]) + float(booked["cached"])
    slack = _ROUNDING_S * len(commits) + 0.01
    if told > spent + slack:
        return [f"{told:.3f} GPU s are booked for commits that took {spent:.3f}"]
    if told < spent - slack and not booked["duplicate"]:
        return [f"commits took {spent:.3f} GPU s, and only {told:.3f} are booked"]
    return []


def _overbooked(commits: Sequence[Mapping[str, Any]], lease: LeaseInfo | None) -> list[str]:
    """The books of all runs and dispatchers, as the lease keeps them, hold no rendered second twice."""
    if lease is None or "gpu_s" not in lease.note:
        return ["the lease holds no books"]
    spent = sum(float(commit["gpu_s"]) for commit in commits)
    told = float(lease.note["gpu_s"]["rendered"])
    if told > spent + _ROUNDING_S * len(commits) + 0.01:
        return [f"the lease says that {told:.3f} GPU s were rendered, commits took {spent:.3f}"]
    return []


def _cheap(commits: Sequence[Mapping[str, Any]], renders: Sequence[Mapping[str, Any]]) -> list[str]:
    """No commit says that it took less than what its ranks measured themselves."""
    measured: dict[tuple[int, int], list[float]] = defaultdict(list)
    for one in renders:
        if one["rank"] == 0:
            measured[one["epoch"], one["attempt"]].append(float(one["seconds"]))
    wrong = []
    for commit in commits:
        least = min(measured.get((commit["epoch"], commit["attempt"]), [0.0]))
        if float(commit["gpu_s"]) < GANG * least - _ROUNDING_S:
            wrong.append(
                f"{commit['spec_key'][:12]}: {commit['gpu_s']} GPU s, its {GANG} ranks took {least:.3f} s each"
            )
    return wrong
