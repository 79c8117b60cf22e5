"""Gathers what a job came to from its store: for `rushes report`, and for the picture on the job's page."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flows.costs import JobCosts, Rate, TakeResult, UsedBy, job_costs
from flows.job_view import Price, Result
from flows.markdown import duration
from flows.trace import RunTrace, read_trace

if TYPE_CHECKING:
    import pyarrow as pa

    from flows.report import GpuSeconds
    from infra.store import Store

log = logging.getLogger("rushes.results")


def results(
    store: Store,
    job_id: str,
    manifest: pa.Table,
    *,
    counts: Mapping[str, int],
    failed: float,
    duplicate: float,
    quarantines: list[str],
    rate: Rate | None = None,
    runs: list[RunTrace] | None = None,
) -> JobCosts:
    """The figures of a job.

    Args:
        manifest: as `flows.manifest.make_manifest` makes it now.
        counts: takes by state, as `status` has them. failed, duplicate: GPU seconds from the job's books.
        quarantines: error classes of the takes given up in the newest round.
        runs: of the job's trace; else as it stands in the store.

    Raises:
        StoreError: the store cannot be read.
    """
    from infra.store.additions import read_takes
    from infra.store.keeping import keep_of, rejected_keys

    # A job that runs may be added to between the two readings; new takes stand behind those of the manifest.
    cached = read_takes(store, job_id)["cached"].to_pylist()[: manifest.num_rows]
    names = [
        "show", "shot_id", "take", "spec_key", "state", "task", "frames", "fps", "gpu_s", "attempt", "quality_verdict",
        "quality_reasons", *(name for name in ("takes", "keep") if name in manifest.column_names),
    ]  # fmt: skip
    rows = manifest.select(names).to_pylist()
    retries = _retries(store, [row["spec_key"] for row in rows if row["state"] == "committed" and row["attempt"] > 1])
    rejected = rejected_keys(store, ((row["show"], row["shot_id"]) for row in rows if keep_of(row) is not None))
    takes = [
        TakeResult(
            row["show"],
            row["shot_id"],
            row["take"],
            row["spec_key"],
            seconds=0.0 if row["task"] == "still" or not row["fps"] else row["frames"] / row["fps"],
            gpu_s=float(row["gpu_s"]),
            cached=bool(was_there),
            verdict=row["quality_verdict"],
            reasons=tuple(row["quality_reasons"] or ()),
            retries=retries.get(row["spec_key"], {}),
            keep=keep_of(row),
            rejected=row["spec_key"] in rejected,
        )
        for row, was_there in zip(rows, cached, strict=True)
        if row["state"] == "committed"
    ]
    open_shots = frozenset((row["show"], row["shot_id"]) for row in rows if row["state"] in ("pending", "running"))
    used_by, used = used_of(store, job_id, {take.spec_key: take.seconds for take in takes})
    return job_costs(
        takes, counts=counts, failed=failed, duplicate=duplicate, quarantines=quarantines, used=used, used_by=used_by,
        open_shots=open_shots, runs=read_trace(store, job_id) if runs is None else runs, rate=rate,
    )  # fmt: skip


def used_of(store: Store, job_id: str, seconds: Mapping[str, float]) -> tuple[UsedBy, dict[str, float]]:
    """Which takes of a job are used, by whose word, and for how many seconds of film each.

    People's word goes first: takes that they selected count whole. Where they selected none, what the cuts of the store
    take of this job's films.

    Args:
        seconds: of each committed take's film, by spec_key.
    """
    from infra.store.selection import choose

    chosen = [one.commit["spec_key"] for one in choose(store, job_id=job_id, best=False).chosen if one.by == "people"]
    if selected := {key: seconds[key] for key in chosen if key in seconds}:
        return "people", selected
    cut: dict[str, float] = defaultdict(float)
    for part in _parts(store):
        key, rate = part.get("spec_key"), part.get("fps")
        if key in seconds and rate:
            cut[str(key)] += max(0.0, float(part["source_out"]) - float(part["source_in"])) / float(rate)
    return ("cut", dict(cut)) if cut else ("nobody", {})


def _parts(store: Store) -> list[Mapping[str, Any]]:
    """The parts of all cuts in the store; a record that cannot be read counts for nothing, and `verify` names it."""
    from infra.store import layout
    from infra.store.errors import NotFound
    from infra.store.strict import read_object

    parts: list[Mapping[str, Any]] = []
    for name in store.folders(layout.CUTS):
        path = f"{layout.CUTS}/{name}/cut.json"
        try:
            found = read_object(store.read(path))["parts"]
            parts += [
                part for part in found if isinstance(part, Mapping) and {"source_in", "source_out"} <= part.keys()
            ]
        except NotFound:
            continue
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s is no cut: %s", path, error)
    return parts


def _retries(store: Store, keys: list[str]) -> dict[str, dict[str, int]]:
    """Failed attempts by class, of takes that needed more than one."""
    from infra.store.commits import read_many
    from infra.store.strict import is_count

    found = {}
    for key, commit in read_many(store, keys).items():
        told = (commit.get("notes") or {}).get("retries") if isinstance(commit, dict) else None
        if isinstance(told, dict):
            found[key] = {name: number for name, number in told.items() if is_count(number)}
        elif isinstance(commit, dict):
            found[key] = {"unknown": int(commit["attempt"]) - 1}
    return found


def outcome_of(
    store: Store, job_id: str, manifest: pa.Table, counts: Mapping[str, int], books: GpuSeconds, price: Price
) -> Result | None:
    """What a job that has ended came to, for its page; None, with a warning, where that cannot be told.

    Args:
        manifest: of its end. counts: its takes by state. books: of all its runs.
    """
    from flows.manifest import quarantine_records

    try:
        given_up = [str(record.get("error_class")) for record in quarantine_records(store, job_id).values()]
        rate = Rate(price.gpu_hour, price.currency)
        return page_result(
            results(
                store,
                job_id,
                manifest,
                counts=counts,
                failed=books.failed,
                duplicate=books.duplicate,
                quarantines=given_up,
                rate=rate,
            )
        )
    except Exception:  # the job is done: a figure that cannot be had costs the page alone
        log.warning("what %s came to is not shown on its page", job_id, exc_info=True)
        return None


def page_result(costs: JobCosts) -> Result:
    """The figures for the job's page."""
    from flows.result_picture import result_png

    price = Price(costs.rate.gpu_hour, costs.rate.currency)

    def per(value: float | None) -> str:
        money = f", {price.of(value)}" if value is not None and price.gpu_hour is not None else ""
        return "–" if value is None else f"{value:,.2f} GPU s{money}"

    def share(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.0f} %"

    def counted(counts: Mapping[str, int]) -> str:
        return ", ".join(f"{number:,} {name}" for name, number in counts.items()) or "none"

    who = {"people": "selected by people", "cut": "in a cut", "nobody": "nobody has selected takes, none is in a cut"}
    figures = [
        ("delivered", f"{costs.delivered_s:,.1f} s in {costs.commits:,} takes"),
        ("used", f"{costs.used_s:,.1f} s in {costs.used_takes:,} takes: {who[costs.used_by]}"),
        ("per delivered second", per(costs.per_delivered_s)),
        ("per used second", per(costs.per_used_s)),
        ("keep rate", share(costs.keep_rate)),
        ("verdicts", counted(costs.verdicts)),
        ("retry, by reason", counted(costs.retries)),
        ("attempts again, by class", counted(costs.attempts)),
        ("given up, by class", counted(costs.quarantines)),
        ("wall time", "–" if costs.wall_s is None else f"{duration(costs.wall_s)} in {costs.runs:,} runs"),
        ("estimates off by", share(costs.eta_error)),
    ]
    look_at = [
        f"{shot['show']}/{shot['shot_id']}: {shot['passed']} of {shot['keep']} wanted takes passed"
        for shot in costs.short
    ]
    look_at += [
        f"{take['show']}/{take['shot_id']} take {take['take']}: {', '.join(take['reasons'])}"
        for take in costs.escalated
    ]
    return Result(figures, result_png(costs), look_at)
