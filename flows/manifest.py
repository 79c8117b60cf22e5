"""The manifest of a job, made from the store alone.

Plan, commits and quarantine are the truth; a manifest is never read back as one. The one that stands is used as a
memory only (`flows.remembered`), so that of a million commits those that it already names are not read again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows import remembered
from flows.keeping import has_keep
from flows.remembered import LAST, TakeKey
from infra.store import layout
from infra.store.additions import read_takes
from infra.store.commits import read_commits, read_many
from infra.store.errors import CommitUnreadable, Superseded
from infra.store.jobs import list_quarantine, write_manifest
from infra.store.keeping import kept, verdict_of

if TYPE_CHECKING:
    import pyarrow as pa

    from infra.store import Store

log = logging.getLogger("rushes.manifest")

FIRST = ("show", "shot_id", "revision", "take", "seed", "spec_key", "state", "width", "height", "frames", "fps")
PLANNERS_OWN = frozenset(
    {
        "row",
        "picture_key",
        "shard",
        "render_frames",
        "image_sha256",
        "last_image_sha256",
        "video_sha256",
        "mask_sha256",
        "window_frames",
        "tokens",
        "cost_gpu_s",
        "cached",
    }
)
"""Columns of a plan that are neither the catalog's nor of use to a reader of the manifest."""


@dataclass(frozen=True)
class Counts:
    """Takes of a job by state, and what its commits cost together."""

    total: int
    committed: int
    quarantined: int
    running: int
    gpu_s: float
    skipped: int = 0

    @property
    def pending(self) -> int:
        """Takes that are neither settled nor at work."""
        return self.total - self.committed - self.quarantined - self.running - self.skipped


def make_manifest(
    store: Store, job_id: str, running: Collection[TakeKey] = (), resolved: Mapping[TakeKey, str] | None = None
) -> pa.Table:
    """The manifest as plan, commits and the newest round's quarantine make it now, in the plan's order.

    Args:
        running: takes that are being rendered, which only the farm knows.
        resolved: keys that the plan left open and the farm has found since.

    Raises:
        NotFound: the job has no plan.
        StoreError: the store cannot be read.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    plan = read_takes(store, job_id)
    names = _names(plan)
    given_up = quarantine_records(store, job_id)
    keys = _resolved(store, job_id, plan, given_up, resolved or {})
    commits = _commits(store, job_id, keys)
    working = set(running)
    columns: dict[str, list[Any]] = {name: [] for name in ("state", *LAST)}
    skipped = _skipped(store, plan, keys, commits, [name in given_up for name in names])
    for row, (key, name) in enumerate(zip(keys, names, strict=True)):
        commit, record = (commits.get(key) if key else None), given_up.get(name)
        state = "pending"
        values: Mapping[str, Any] = {}
        if commit is not None:
            state, values = "committed", commit
        elif record is not None:
            state, values = "quarantined", {k: record.get(k) for k in ("gpu_s", "attempt", "error_class")}
        elif name in working:
            state = "running"
        elif row in skipped:
            state = "skipped"
        columns["state"].append(state)
        for column in LAST:
            columns[column].append(values.get(column))
    text, number = pa.string(), pa.float64()
    kinds = (text, text, pa.int64(), number, pa.int32(), text, number, text, pa.list_(text), number)
    types = dict(zip(LAST, kinds, strict=True))
    made = {name: pa.array(values, types.get(name, pa.string())) for name, values in columns.items()}
    made["spec_key"] = pa.array(keys, pa.string())
    if "encoded_prompt" in plan.column_names:  # there null stands for the prompt as it is
        made["encoded_prompt"] = pc.coalesce(plan["encoded_prompt"], plan["prompt"])
    own = [name for name in plan.column_names if name not in PLANNERS_OWN and name not in FIRST]
    return pa.table({name: made[name] if name in made else plan[name] for name in (*FIRST, *own, *LAST)})


def put_manifest(
    store: Store,
    job_id: str,
    running: Collection[TakeKey] = (),
    resolved: Mapping[TakeKey, str] | None = None,
    *,
    epoch: int = 0,
) -> pa.Table:
    """Make the manifest and write it with If-Match. Where a later owner has the job, its manifest stays.

    Returns:
        the manifest as made here.
    """
    table = make_manifest(store, job_id, running, resolved)
    try:
        write_manifest(store, job_id, table, epoch=epoch)
    except Superseded as error:
        log.info("the manifest is left to the job's new owner: %s", error)
    return table


def quarantine_records(store: Store, job_id: str) -> dict[TakeKey, dict[str, Any]]:
    """The newest round's quarantine, by take."""
    return {(r["show"], r["shot_id"], int(r["take"])): r for r in list_quarantine(store, job_id)}


def count(manifest: pa.Table) -> Counts:
    """Counts of a manifest."""
    import pyarrow.compute as pc

    states = {row["values"]: row["counts"] for row in pc.value_counts(manifest["state"]).to_pylist()}
    committed = manifest.filter(pc.equal(manifest["state"], "committed"))
    return Counts(
        total=manifest.num_rows,
        committed=states.get("committed", 0),
        quarantined=states.get("quarantined", 0),
        running=states.get("running", 0),
        skipped=states.get("skipped", 0),
        gpu_s=float(pc.sum(committed["gpu_s"]).as_py() or 0.0),
    )


def _skipped(
    store: Store, plan: pa.Table, keys: Sequence[str | None], commits: Mapping[str, Mapping[str, Any]],
    given_up: Sequence[bool],
) -> frozenset[int]:  # fmt: skip
    """Numbers of the rows whose takes are not wanted any more; what their commits say is known."""
    if not has_keep(plan):
        return frozenset()
    verdicts = {key: commit["quality_verdict"] for key, commit in commits.items()}
    done = [number for number, key in enumerate(keys) if key in verdicts]
    gone = [number for number, is_gone in enumerate(given_up) if is_gone]
    return kept(store, plan, keys, done=done, given_up=gone, verdicts=verdicts).skipped


def _commits(store: Store, job_id: str, keys: Sequence[str | None]) -> dict[str, dict[str, Any]]:
    """What the manifest says of each committed take of the job, by spec_key. An unreadable commit is not one."""
    standing, known = remembered.commits(store, job_id)
    wanted = [key for key in keys if key is not None and key in standing]
    found = {key: known[key] for key in wanted if key in known}
    for key, commit in read_many(store, [key for key in wanted if key not in found]).items():
        if isinstance(commit, CommitUnreadable):
            log.warning("%s", commit)
            continue
        found[key] = _of_commit(commit)
    return found


def _of_commit(commit: Mapping[str, Any]) -> dict[str, Any]:
    media = commit["media"]
    return {
        "media_path": media["path"],
        "sha256": media["sha256"],
        "bytes": media["bytes"],
        "gpu_s": commit["gpu_s"],
        "attempt": commit["attempt"],
        "error_class": None,
        "quality": _score(commit),
        **{f"quality_{name}": value for name, value in _judged(commit).items()},
    }


def _judged(commit: Mapping[str, Any]) -> dict[str, Any]:
    """Verdict, reasons and rank of a take; None where its commit has none of the kind."""
    quality = (commit.get("notes") or {}).get("quality")
    found = quality if isinstance(quality, dict) else {}
    reasons, rank = found.get("reasons"), found.get("rank")
    return {
        "verdict": verdict_of(commit),
        "reasons": [str(reason) for reason in reasons] if isinstance(reasons, list) else None,
        "rank": float(rank) if isinstance(rank, int | float) else None,
    }


def _score(commit: Mapping[str, Any]) -> float | None:
    """The one figure of a take's quality, 0..1; None where none was measured."""
    quality = (commit.get("notes") or {}).get("quality")
    found = quality.get("score") if isinstance(quality, dict) else None
    return float(found) if isinstance(found, int | float) else None


def _resolved(
    store: Store,
    job_id: str,
    plan: pa.Table,
    given_up: Mapping[TakeKey, Mapping[str, Any]],
    resolved: Mapping[TakeKey, str],
) -> list[str | None]:
    """The plan's keys, with those filled in that it left open because an input could not be read then.

    They are told by the farm (`resolved`), by a former manifest or by a quarantine record. Else they are looked for
    among the store's commits, and a commit counts where this job's log of that very attempt stands beside it.
    """
    keys: list[str | None] = plan["spec_key"].to_pylist()
    if None not in keys:
        return keys
    known = {**remembered.keys(store, job_id), **resolved}
    names = _names(plan)
    still_open: dict[tuple[str, str, int, str], int] = {}
    for number, (key, name, revision) in enumerate(zip(keys, names, plan["revision"].to_pylist(), strict=True)):
        if key is None:
            keys[number] = known.get(name) or given_up.get(name, {}).get("spec_key")
            if keys[number] is None:
                still_open[(*name, revision)] = number
    if not still_open:
        return keys
    for found in read_commits(store):
        commit = found.commit
        if commit is None:
            continue
        place = still_open.get((commit["show"], commit["shot_id"], commit["take"], commit["revision"]))
        if place is not None and _rendered_here(store, job_id, commit):
            keys[place] = commit["spec_key"]
    return keys


def _rendered_here(store: Store, job_id: str, commit: Mapping[str, Any]) -> bool:
    take = (commit["show"], commit["shot_id"], commit["revision"], commit["take"])
    return store.stat(layout.log_path(*take, job_id, commit["epoch"], commit["attempt"])) is not None


def _names(table: pa.Table) -> list[TakeKey]:
    return list(zip(*(table[name].to_pylist() for name in ("show", "shot_id", "take")), strict=True))
