"""How a job went over time, in `jobs/<job_id>/trace.json`: what it said was left, and how far it was. One entry a run.

It is a view for `rushes report`: nothing depends on it, and one that cannot be read is begun anew.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.store import Store

log = logging.getLogger("rushes.trace")

FORMAT = 1
MOST_SAMPLES = 128
"""Samples of a run. When there are more, every second one goes and from then on half as many are taken."""
MOST_RUNS = 50
FIRST_EVERY_S = 1.0


@dataclass(frozen=True)
class Sample:
    """One look at a running job.

    Attributes:
        at_s: seconds since the run began.
        settled, total: takes.
        eta_s: seconds that were thought to be left; None while nobody could say.
        spent_gpu_s: GPU seconds used by then in this run.
    """

    at_s: float
    settled: int
    total: int
    eta_s: float | None
    spent_gpu_s: float


@dataclass
class RunTrace:
    """One run of a job.

    Attributes:
        epoch: of its lease. started: in ISO 8601. wall_s: how long it has run so far. exit: None while it runs, or
            if it was killed.
    """

    epoch: int
    started: str
    wall_s: float = 0.0
    exit: int | None = None
    samples: list[Sample] = field(default_factory=list)


class Trace:
    """The trace of a job with the run that goes on now. Clocks are handed in: seconds since this run began."""

    def __init__(self, epoch: int, before: Sequence[RunTrace] = (), *, started: datetime | None = None) -> None:
        began = (started or datetime.now(UTC)).isoformat(timespec="milliseconds")
        self._before = [run for run in before if run.epoch < epoch][-MOST_RUNS + 1 :]
        self._run = RunTrace(epoch, began)
        self._every_s, self._next_s = FIRST_EVERY_S, 0.0

    def hear(self, at_s: float, status: Mapping[str, Any]) -> None:
        """A dispatcher's status. Most are not written down."""
        self._run.wall_s = max(self._run.wall_s, round(at_s, 3))
        takes = status.get("takes") or {}
        if at_s < self._next_s or not takes.get("total"):
            return
        self._next_s = at_s + self._every_s
        settled = sum(int(takes.get(name, 0)) for name in ("committed", "cached", "quarantined", "skipped"))
        gpu_s = status.get("gpu_s") or {}
        spent = sum(float(gpu_s.get(name, 0.0)) for name in ("rendered", "failed", "duplicate"))
        eta = status.get("eta_s")
        self._run.samples.append(
            Sample(round(at_s, 2), settled, int(takes["total"]), None if eta is None else float(eta), round(spent, 3))
        )
        if len(self._run.samples) > MOST_SAMPLES:
            self._run.samples = self._run.samples[::2]
            self._every_s *= 2

    def end(self, at_s: float, exit_code: int) -> None:
        """The run is over."""
        self._run.wall_s, self._run.exit = round(at_s, 3), exit_code

    def encode(self) -> bytes:
        """As it stands in the store."""
        runs = [asdict(run) for run in (*self._before, self._run)]
        return json.dumps({"format": FORMAT, "runs": runs}).encode()


def read_trace(store: Store, job_id: str) -> list[RunTrace]:
    """The runs of a job, oldest first; none where it has no trace that can be read. Raises StoreUnavailable."""
    from infra.store import layout
    from infra.store.errors import NotFound

    path = layout.trace_path(job_id)
    try:
        return decode(store.read(path))
    except NotFound:
        return []
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("%s is no trace: %s", path, error)
        return []


def decode(data: bytes) -> list[RunTrace]:
    """What `Trace.encode` made. ValueError, TypeError, KeyError or AttributeError for anything else."""
    from infra.store.strict import read_object

    found = read_object(data)
    if found["format"] != FORMAT:
        raise ValueError(f"format {found['format']}")
    runs = []
    for run in found["runs"]:
        samples = [Sample(**sample) for sample in run.pop("samples")]
        made = RunTrace(**run, samples=samples)
        numbers = [made.wall_s, *(sample.at_s for sample in samples)]
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
            raise ValueError("a time that is none")
        runs.append(made)
    return runs
