"""Which take of each shot goes on: the one that people chose, else the best by what was measured of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from infra.store.additions import read_takes
from infra.store.commits import read_commits, read_many
from infra.store.decisions import Decision, decided, read_decision
from infra.store.errors import Damaged
from infra.store.jobs import usable_manifest

if TYPE_CHECKING:
    import pyarrow as pa

    from infra.store.store import Store

log = logging.getLogger(__name__)

_THREADS = 16

Shot = tuple[str, str]
"""show, shot_id."""


@dataclass(frozen=True)
class Chosen:
    """The take of a shot that goes on. commit: what stands in the store of it. by: who chose it."""

    show: str
    shot_id: str
    commit: Mapping[str, Any]
    by: Literal["people", "rule"]


@dataclass(frozen=True)
class Missing:
    """A shot of which no take goes on, and why."""

    show: str
    shot_id: str
    why: str


@dataclass(frozen=True)
class Selection:
    """One entry per shot, in one or the other list, each in the catalog's order."""

    chosen: list[Chosen] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)


@dataclass(frozen=True)
class Candidates:
    """The takes of one shot: the keys that count here, and the commits that stand of them."""

    keys: frozenset[str]
    commits: Sequence[Mapping[str, Any]]


def choose(store: Store, *, job_id: str | None = None, show: str | None = None, best: bool = True) -> Selection:
    """One take per shot: the selected one, else, when `best`, the best of those that people did not turn down.

    A rejected take, or one that was asked for again, never counts. Of a job, takes of its own count: one that was
    selected of another revision or model does not, and the rule decides.

    Args:
        job_id: whose shots, in the order of its plan; None takes all shots of the store, sorted, and of each the
            revision that was committed last.
        show: shots of this show only.
        best: whether the rule chooses where people did not.

    Raises:
        NotFound: no such job. StoreError: the store cannot be read; CommitNewer among them.
    """
    shots = dict(_of_store(store) if job_id is None else _of_job(store, job_id))
    wanted = [name for name in shots if show in (None, name[0])]
    people = decided(store)
    decisions = read_decisions(store, [name for name in wanted if name in people])
    found = Selection()
    for name in wanted:
        candidates, decision = shots[name], decisions.get(name, Decision(*name))
        if isinstance(decision, Damaged):  # what people said is not known: nothing may be chosen over their heads
            found.missing.append(Missing(*name, f"its decision cannot be read ({decision})"))
            continue
        settled = choose_of(decision, candidates, best=best, everywhere=job_id is None)
        if isinstance(settled, Chosen):
            found.chosen.append(settled)
        else:
            found.missing.append(settled)
    return found


def read_decisions(store: Store, shots: Iterable[Shot]) -> dict[Shot, Decision | Damaged]:
    """What people decided about these shots, in their order, read by 16 threads.

    What is no decision stands there as the error itself. Raises StoreUnavailable.
    """

    def read(shot: Shot) -> Decision | Damaged:
        try:
            return read_decision(store, *shot)
        except Damaged as error:
            return error

    names = list(shots)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="rushes-decisions") as pool:
        return dict(zip(names, pool.map(read, names), strict=True))


def choose_of(
    decision: Decision, candidates: Candidates, *, best: bool = True, everywhere: bool = False
) -> Chosen | Missing:
    """Of one shot, what people decided and the takes that it has.

    Args:
        everywhere: a selected take counts even where it is not among the candidates' keys.
    """
    name = decision.show, decision.shot_id
    picked = decision.selected
    if picked is not None:
        for commit in candidates.commits:
            if picked.is_of(commit["take"], commit["revision"], commit["spec_key"]):
                return Chosen(*name, commit, "people")
        if everywhere or picked.spec_key is None or picked.spec_key in candidates.keys:
            return Missing(*name, f"take {picked.take} is selected, and it is not in the store")
    left = [commit for commit in candidates.commits if decision.verdict(commit["spec_key"]) in (None, "approved")]
    if not candidates.commits:
        return Missing(*name, "no take of it is finished")
    if not left:
        return Missing(*name, f"people turned down all {len(candidates.commits)} takes of it")
    if not best:
        return Missing(*name, "nobody has chosen a take of it")
    return Chosen(*name, min(left, key=_order), "rule")


def rank_of(commit: Mapping[str, Any]) -> float | None:
    """How good a take was measured to be, larger is better; None where its commit does not tell."""
    for place in (commit, commit.get("notes") or {}):
        quality = place.get("quality")
        values = (quality.get("rank"), quality.get("score")) if isinstance(quality, Mapping) else (quality,)
        for value in values:
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
    return None


def passed(commit: Mapping[str, Any]) -> bool:
    """Whether a take's measures let it pass; one that nobody measured does."""
    for place in (commit, commit.get("notes") or {}):
        quality = place.get("quality")
        if isinstance(quality, Mapping) and "verdict" in quality:
            return quality["verdict"] == "pass"
    return True


def _order(commit: Mapping[str, Any]) -> tuple[bool, float, int]:
    rank = rank_of(commit)
    return not passed(commit), float("inf") if rank is None else -rank, int(commit["take"])


def _of_job(store: Store, job_id: str) -> Iterator[tuple[Shot, Candidates]]:
    """Shots of a job in the order of its plan."""
    takes = read_takes(store, job_id)
    keys = job_keys(store, job_id, takes)
    commits = read_many(store, {key for key in keys if key is not None})
    shots: dict[Shot, tuple[set[str], list[Mapping[str, Any]]]] = {}
    for name, key in zip(zip(takes["show"].to_pylist(), takes["shot_id"].to_pylist(), strict=True), keys, strict=True):
        own, standing = shots.setdefault(name, (set(), []))
        if key is None or key in own:
            continue
        own.add(key)
        commit = commits.get(key)
        if isinstance(commit, dict):
            standing.append(commit)
        elif commit is not None:  # unreadable: it is not done, and `verify` says so
            log.warning("%s", commit)
    for name, (own, standing) in shots.items():
        yield name, Candidates(frozenset(own), standing)


def job_keys(store: Store, job_id: str, takes: pa.Table) -> list[str | None]:
    """The spec_keys of a job's takes; those that the plan left open come from the manifest, as far as it has them."""
    keys: list[str | None] = takes["spec_key"].to_pylist()
    if None not in keys:
        return keys
    columns = ("show", "shot_id", "revision", "take")
    view = usable_manifest(store, job_id, (*columns, "spec_key"))
    if view is None:
        return keys
    manifest = view.table
    told = zip(*(manifest[name].to_pylist() for name in columns), strict=True)
    later = dict(zip(told, manifest["spec_key"].to_pylist(), strict=True))
    names = zip(*(takes[name].to_pylist() for name in columns), strict=True)
    return [later.get(name) if key is None else key for key, name in zip(keys, names, strict=True)]


def _of_store(store: Store) -> Iterator[tuple[Shot, Candidates]]:
    """All shots of a store, sorted, each with the takes of the revision that was committed last."""
    shots: dict[Shot, list[Mapping[str, Any]]] = {}
    for found in read_commits(store):
        if found.commit is not None:
            shots.setdefault((found.commit["show"], found.commit["shot_id"]), []).append(found.commit)
        elif found.fault is not None:
            log.warning("%s", found.fault)
    named: dict[Shot, list[Mapping[str, Any]]] = {shot: [] for shot in decided(store)}  # its take may be gone
    for name, commits in sorted({**named, **shots}.items()):
        newest = max(commits, key=_committed)["revision"] if commits else None
        chosen = [commit for commit in commits if commit["revision"] == newest]
        yield name, _with_selected(store, name, commits, chosen)


def _with_selected(
    store: Store, name: Shot, commits: Sequence[Mapping[str, Any]], chosen: list[Mapping[str, Any]]
) -> Candidates:
    """The candidates of a shot of the store, and the take that people selected of whichever revision."""
    keys = frozenset(commit["spec_key"] for commit in commits)
    if len(chosen) == len(commits):
        return Candidates(keys, chosen)
    try:
        picked = read_decision(store, *name).selected
    except Damaged:
        return Candidates(keys, chosen)
    others = [c for c in commits if c not in chosen]
    if picked is not None:
        chosen = [*chosen, *(c for c in others if picked.is_of(c["take"], c["revision"], c["spec_key"]))]
    return Candidates(keys, chosen)


def _committed(commit: Mapping[str, Any]) -> str:
    return str((commit.get("times") or {}).get("committed") or "")
