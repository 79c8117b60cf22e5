"""What a job came to: GPU seconds and money per second of film, keep rate, retries, estimates against the truth. Pure.

Every figure follows from the commits, the quarantine records and the books of the job, which are handed in as plain
data. `commits.gpu_s` is the sum over the job's commits, and equals `gpu_s.rendered` + `gpu_s.cached`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from flows.trace import RunTrace

UsedBy = Literal["people", "cut", "nobody"]
"""Who says which takes are used: people who selected them, else the cuts that they are in, else nobody."""
MOST_LISTED = 200
MOST_ESTIMATES = 64


@dataclass(frozen=True)
class TakeResult:
    """A committed take of a job.

    Attributes:
        seconds: of its film; 0 of a still. gpu_s: as its commit says. cached: it stood in the store before the job.
        verdict, reasons: of its quality; None, where its commit tells none.
        retries: failed attempts before it, by class.
        keep: how many takes of its shot are wanted; None where all are.
        rejected: people turned it down: it is none of those that are wanted.
    """

    show: str
    shot_id: str
    take: int
    spec_key: str
    seconds: float
    gpu_s: float
    cached: bool = False
    verdict: str | None = None
    reasons: tuple[str, ...] = ()
    retries: Mapping[str, int] = field(default_factory=dict)
    keep: int | None = None
    rejected: bool = False


@dataclass(frozen=True)
class Estimate:
    """Seconds that a run said were left, and that were, `at_s` after it began. truth_s: None if it was cut off."""

    at_s: float
    eta_s: float
    truth_s: float | None


@dataclass(frozen=True)
class Rate:
    """What a price is: `gpu_hour` None: no money is told."""

    gpu_hour: float | None = None
    currency: str = "USD"

    def of(self, gpu_s: float | None) -> float | None:
        """The money of some GPU seconds."""
        return None if self.gpu_hour is None or gpu_s is None else gpu_s * self.gpu_hour / 3600


@dataclass(frozen=True)
class JobCosts:
    """The figures of a job. Shares are 0 to 1; None stands where there is nothing to divide by.

    Attributes:
        delivered_s, used_s: seconds of film that were committed, and that are used.
        rendered, cached: GPU seconds of commits that this job made, and found. failed, duplicate: those beside.
        per_delivered_s, per_used_s: all GPU seconds, cached ones too, by second of film: what it cost, whoever paid.
        keep_rate: used takes of the committed ones. pass_rate: passed takes of those that have a verdict.
        retries: takes whose verdict is retry, by reason. attempts: failed ones at takes that were committed, by class.
        escalated: takes for people to judge. short: shots whose takes are all settled, and too few of them passed.
        wall_s: of all runs together; None where no trace tells. estimates: of the newest run.
    """

    takes: Mapping[str, int]
    delivered_s: float
    used_s: float
    used_takes: int
    used_by: UsedBy
    commits: int
    commits_gpu_s: float
    rendered: float
    failed: float
    duplicate: float
    cached: float
    verdicts: Mapping[str, int]
    retries: Mapping[str, int]
    attempts: Mapping[str, int]
    quarantines: Mapping[str, int]
    escalated: Sequence[Mapping[str, Any]]
    short: Sequence[Mapping[str, Any]]
    wall_s: float | None
    runs: int
    estimates: Sequence[Estimate]
    rate: Rate

    @property
    def spent(self) -> float:
        """GPU seconds that this job used up."""
        return self.rendered + self.failed + self.duplicate

    @property
    def all_in(self) -> float:
        """GPU seconds that its films have cost, here and before."""
        return self.spent + self.cached

    @property
    def per_delivered_s(self) -> float | None:
        return _share(self.all_in, self.delivered_s)

    @property
    def per_used_s(self) -> float | None:
        return _share(self.all_in, self.used_s)

    @property
    def keep_rate(self) -> float | None:
        return None if self.used_by == "nobody" else _share(self.used_takes, self.commits)

    @property
    def pass_rate(self) -> float | None:
        known = sum(number for verdict, number in self.verdicts.items() if verdict != "unknown")
        return _share(self.verdicts.get("pass", 0), known)

    @property
    def cached_share(self) -> float | None:
        return _share(self.takes.get("cached", 0), self.commits)

    @property
    def eta_error(self) -> float | None:
        """By how much the estimates were off, as the mean share of the time that was really left."""
        errors = [
            abs(e.eta_s - e.truth_s) / e.truth_s for e in self.estimates if e.truth_s is not None and e.truth_s > 0
        ]
        return None if not errors else sum(errors) / len(errors)

    def as_dict(self) -> dict[str, Any]:
        """The figures that `rushes report --json` prints."""
        per = {"per_delivered_s": self.per_delivered_s, "per_used_s": self.per_used_s}
        money = {"all": self.all_in, "spent": self.spent, **per}
        return {
            "takes": dict(self.takes),
            "seconds": {"delivered": _round(self.delivered_s), "used": _round(self.used_s)},
            "used": {"by": self.used_by, "takes": self.used_takes},
            "gpu_s": {
                "rendered": _round(self.rendered), "failed": _round(self.failed), "duplicate": _round(self.duplicate),
                "cached": _round(self.cached), "spent": _round(self.spent), "all": _round(self.all_in),
                **{name: _round(value) for name, value in per.items()},
            },
            "money": None if self.rate.gpu_hour is None else {
                "currency": self.rate.currency, "gpu_hour": self.rate.gpu_hour,
                **{name: _round(self.rate.of(value), 6) for name, value in money.items()},
            },
            "commits": {"count": self.commits, "gpu_s": _round(self.commits_gpu_s)},
            "keep_rate": _round(self.keep_rate), "pass_rate": _round(self.pass_rate),
            "cached_share": _round(self.cached_share),
            "verdicts": dict(self.verdicts), "retries": dict(self.retries), "attempts": dict(self.attempts),
            "quarantines": dict(self.quarantines),
            "escalated": list(self.escalated[:MOST_LISTED]), "short": list(self.short[:MOST_LISTED]),
            "wall_s": _round(self.wall_s), "runs": self.runs, "eta_error": _round(self.eta_error),
            "eta": [
                {"at_s": e.at_s, "eta_s": e.eta_s, "truth_s": _round(e.truth_s)} for e in self.estimates
            ],
        }  # fmt: skip


def job_costs(
    takes: Sequence[TakeResult],
    *,
    counts: Mapping[str, int],
    failed: float = 0.0,
    duplicate: float = 0.0,
    quarantines: Iterable[str] = (),
    used: Mapping[str, float] | None = None,
    used_by: UsedBy = "nobody",
    open_shots: frozenset[tuple[str, str]] = frozenset(),
    runs: Sequence[RunTrace] = (),
    rate: Rate | None = None,
) -> JobCosts:
    """Adds a job up.

    Args:
        takes: its committed takes.
        counts: its takes by state, as `status` has them.
        failed, duplicate: GPU seconds beside those of commits, from the job's books.
        quarantines: error classes of takes given up in the newest round.
        used: seconds of film in use, by spec_key; those that are no take of the job do not count.
        open_shots: shots that have takes which are not settled.
        runs: of its trace.
    """
    own = {take.spec_key: take for take in takes}
    in_use = {key: seconds for key, seconds in (used or {}).items() if key in own}
    verdicts = Counter(take.verdict or "unknown" for take in takes)
    reasons = Counter(reason for take in takes if take.verdict == "retry" for reason in take.reasons)
    attempts: Counter[str] = Counter()
    for take in takes:
        attempts.update(take.retries)
    return JobCosts(
        takes=dict(counts),
        delivered_s=sum(take.seconds for take in takes),
        used_s=sum(in_use.values()),
        used_takes=len(in_use),
        used_by=used_by,
        commits=len(takes),
        commits_gpu_s=sum(take.gpu_s for take in takes),
        rendered=sum(take.gpu_s for take in takes if not take.cached),
        cached=sum(take.gpu_s for take in takes if take.cached),
        failed=failed,
        duplicate=duplicate,
        verdicts=_sorted(verdicts),
        retries=_sorted(reasons),
        attempts=_sorted(attempts),
        quarantines=_sorted(Counter(quarantines)),
        escalated=[
            {"show": t.show, "shot_id": t.shot_id, "take": t.take, "reasons": list(t.reasons)}
            for t in takes
            if t.verdict == "escalate"
        ],
        short=_short(takes, open_shots),
        wall_s=sum(run.wall_s for run in runs) if runs else None,
        runs=len(runs),
        estimates=estimates_of(runs[-1]) if runs else [],
        rate=rate or Rate(),
    )


def estimates_of(run: RunTrace) -> list[Estimate]:
    """What a run said was left over time, and what was: of a run that went to its end with nothing left."""
    whole = run.exit in (0, 1)
    said = [
        Estimate(sample.at_s, sample.eta_s, max(0.0, run.wall_s - sample.at_s) if whole else None)
        for sample in run.samples
        if sample.eta_s is not None
    ]
    every = -(-len(said) // MOST_ESTIMATES) if said else 1
    return said[::every]


def _short(takes: Sequence[TakeResult], open_shots: frozenset[tuple[str, str]]) -> list[dict[str, Any]]:
    passed: Counter[tuple[str, str]] = Counter()
    wanted: dict[tuple[str, str], int] = {}
    made: dict[tuple[str, str], int] = defaultdict(int)
    for take in takes:
        if take.keep is not None:
            shot = take.show, take.shot_id
            wanted[shot] = take.keep
            made[shot] += 1
            passed[shot] += take.verdict == "pass" and not take.rejected
    return [
        {"show": shot[0], "shot_id": shot[1], "passed": passed[shot], "keep": keep, "committed": made[shot]}
        for shot, keep in wanted.items()
        if passed[shot] < keep and shot not in open_shots
    ]


def _sorted(counter: Counter[str]) -> dict[str, int]:
    """The most frequent first, equals by name."""
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _round(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits) + 0.0
