"""Results as people's scripts read them: exit codes, and the objects that `--json` prints.

Nothing here imports more than the standard library, so that any part of the farm can build or read a result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any

FORMAT = 1
"""Version of the result objects. Raised when a key changes its meaning or goes; a new key does not raise it."""


class ExitCode(IntEnum):
    """What a command ends with."""

    DONE = 0
    FAULTS = 1
    """Finished, but takes were quarantined or rows refused; of `verify`: faults."""
    REFUSED = 2
    """Nothing started: usage, catalog or store."""
    BUDGET = 3
    FAULT = 4
    """Stopped by a fault: store gone, breaker, internal error."""
    CANCELLED = 130


STATES = {
    ExitCode.DONE: "done",
    ExitCode.FAULTS: "finished",
    ExitCode.REFUSED: "refused",
    ExitCode.BUDGET: "stopped",
    ExitCode.FAULT: "failed",
    ExitCode.CANCELLED: "cancelled",
}
"""The state that goes with each exit code. Before the end: planned, pending, running, pausing, paused, interrupted."""


@dataclass(frozen=True)
class Takes:
    """Counts of a job's takes. `committed` = `rendered` + `cached`; `pending` is what is left of `total`.

    `skipped` are not to be rendered, because enough others of their shots have passed (the column `keep`).
    """

    total: int = 0
    committed: int = 0
    rendered: int = 0
    cached: int = 0
    quarantined: int = 0
    skipped: int = 0
    pending: int = 0

    @classmethod
    def of(cls, *, total: int, committed: int, cached: int = 0, quarantined: int = 0, skipped: int = 0) -> Takes:
        """Fills in what follows from the other counts."""
        return cls(
            total=total,
            committed=committed,
            rendered=max(0, committed - cached),
            cached=min(cached, committed),
            quarantined=quarantined,
            skipped=skipped,
            pending=max(0, total - committed - quarantined - skipped),
        )

    def as_dict(self) -> dict[str, int]:
        """The object that `--json` prints. `skipped` is there only where takes were."""
        return {name: number for name, number in asdict(self).items() if number or name != "skipped"}


@dataclass(frozen=True)
class Rows:
    """The catalog's rows: how many it has, and the refused ones with the rule that each broke."""

    total: int = 0
    refused: Sequence[Any] = ()


@dataclass(frozen=True)
class GpuSeconds:
    """One rank occupied for one second, also on a CPU, booked once."""

    rendered: float = 0.0
    failed: float = 0.0
    duplicate: float = 0.0
    cached: float = 0.0

    @classmethod
    def told(cls, books: object) -> GpuSeconds:
        """From a note that anybody may have written: what is no number there counts as nothing."""
        if not isinstance(books, Mapping):
            return cls()
        numbers = {name: books.get(name) for name in cls.__dataclass_fields__}
        good = {name: float(n) for name, n in numbers.items() if isinstance(n, int | float) and math.isfinite(n)}
        return cls(**good)

    @property
    def spent(self) -> float:
        """What this job has used up; `cached` was spent by an earlier one."""
        return self.rendered + self.failed + self.duplicate


@dataclass(frozen=True)
class JobReport:
    """The result of `render`, `plan` and `status`.

    Attributes:
        store: the store's URL.
        state: planned, pending, running, pausing, paused, interrupted, or one of `STATES`.
        exit: the exit code, or None while the job runs.
        board: URL of the board, or None where there is none yet.
        error: what stopped the job, in words.
    """

    job_id: str | None
    store: str | None
    state: str
    exit: int | None
    board: str | None = None
    takes: Takes = field(default_factory=Takes)
    rows: Rows = field(default_factory=Rows)
    gpu_s: GpuSeconds = field(default_factory=GpuSeconds)
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The object that `--json` prints. `error` is there only when there is one."""
        result: dict[str, Any] = {
            "format": FORMAT,
            "job_id": self.job_id,
            "store": self.store,
            "state": self.state,
            "exit": None if self.exit is None else int(self.exit),
            "board": self.board,
            "takes": self.takes.as_dict(),
            "rows": {"total": self.rows.total, "refused": [refusal_dict(row) for row in self.rows.refused]},
            "gpu_s": {key: round(value, 3) for key, value in asdict(self.gpu_s).items()},
        }
        if self.error is not None:
            result["error"] = self.error
        return result


def refusal_dict(refusal: Any) -> dict[str, Any]:
    """One refused row, from a `catalogs.Refusal` or a mapping with the same names."""
    if isinstance(refusal, Mapping):
        return {key: refusal[key] for key in ("row", "column", "value", "legal")}
    return {"row": refusal.row, "column": refusal.column, "value": refusal.value, "legal": refusal.legal}


def failure_dict(
    exit_code: int, error: str, refused: Sequence[Any] = (), rows_total: int = 0, *, verb: str | None = None
) -> dict[str, Any]:
    """The object for a command that ended before it had a result: usage, catalog or store refused, an internal error.

    It has the keys of a job's result, so that a script reads `rows.refused` and `exit` in one place; that of `verify`
    has those of an audit too.
    """
    code = ExitCode(exit_code)
    report = JobReport(
        job_id=None, store=None, state=STATES[code], exit=code, rows=Rows(rows_total, refused), error=error
    )
    audit = {"commits": 0, "faults": [], "orphans": []} if verb == "verify" else {}
    return audit | report.as_dict()


def verify_dict(audit: Any) -> dict[str, Any]:
    """The result of `verify`, from an `infra.store.verify.Audit`. `foreign` is there only when there is any."""
    result = {
        "commits": audit.commits,
        "faults": [{"kind": str(f.kind), "path": f.path, "spec_key": f.spec_key} for f in audit.faults],
        "orphans": list(audit.orphans),
    }
    return result | ({"foreign": list(audit.foreign)} if audit.foreign else {})
