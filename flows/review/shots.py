"""A job's shots and takes as people look at them, from the store alone: kept in memory, and brought up to date cheaply.

Commits never change, so each is read once. Of the rest, one listing each tells what is new.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flows.at_work import at_work
from infra.store import layout
from infra.store.additions import list_additions, read_takes
from infra.store.claims import job_state
from infra.store.commits import committed_keys, read_many
from infra.store.decisions import Decision, TakeName
from infra.store.errors import Damaged
from infra.store.jobs import current_round, quarantined
from infra.store.keeping import has_passed, keep_of
from infra.store.selection import Candidates, Chosen, choose_of, job_keys, passed, rank_of, read_decisions

if TYPE_CHECKING:
    import pyarrow as pa

    from infra.store import Store

log = logging.getLogger("rushes.review")

SHOWN = (
    "show", "shot_id", "take", "revision", "seed", "task", "prompt", "scene", "camera", "sequence", "model", "parent",
)  # fmt: skip


STATES = ("committed", "running", "pending", "quarantined", "skipped")
"""What a take may be, of which `running` is what the job's owner has told last."""


@dataclass(frozen=True)
class TakeView:
    """One take: its row of the plan, the commit where there is one, and what was said of it."""

    row: Mapping[str, Any]
    spec_key: str | None
    state: str
    commit: Mapping[str, Any] | None
    said: Mapping[str, Any] | None

    @property
    def name(self) -> TakeName:
        """What a verdict names it by; only a take with a key has a name."""
        return TakeName(
            self.row["show"], self.row["shot_id"], self.row["take"], self.row["revision"], self.spec_key or ""
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON tells it."""
        shown = {name: self.row.get(name) for name in SHOWN if self.row.get(name) is not None}
        made: dict[str, Any] = {}
        if self.commit is not None:
            media = self.commit["media"]
            made = {name: media[name] for name in ("width", "height", "frames", "fps")}
            made |= {"gpu_s": self.commit["gpu_s"], "rank": rank_of(self.commit), "passed": passed(self.commit)}
            made |= {"media": media["path"], "reasons": reasons_of(self.commit)}
            made |= {"identity_score": score} if (score := identity_of(self.commit)) is not None else {}
        said = {name: self.said.get(name) for name in ("verdict", "note", "who", "when")} if self.said else {}
        tags = dict(self.row.get("tags") or ())
        return {**shown, **made, **said, "tags": tags, "spec_key": self.spec_key, "state": self.state}


@dataclass(frozen=True)
class ShotView:
    """One shot: its takes, what people decided, and which take would go on now."""

    show: str
    shot_id: str
    decision: Decision
    takes: list[TakeView] = field(default_factory=list)

    @property
    def goes_on(self) -> Chosen | None:
        """The take that goes on: people's choice, else the rule's."""
        commits = [take.commit for take in self.takes if take.commit is not None]
        keys = frozenset(take.spec_key for take in self.takes if take.spec_key is not None)
        found = choose_of(self.decision, Candidates(keys, commits))
        return found if isinstance(found, Chosen) else None

    @property
    def state(self) -> str:
        """todo, wip, retake or approved, as far as this job's takes are concerned."""
        if self.decision.selected is None:
            return self.decision.state
        found = self.goes_on
        return "approved" if found is not None and found.by == "people" else "todo"

    def as_dict(self) -> dict[str, Any]:
        """As JSON tells it."""
        found = self.goes_on
        decision = self.decision
        who, when = decision.by
        return {
            "show": self.show,
            "shot_id": self.shot_id,
            "state": self.state,
            "who": who,
            "when": when,
            "seq": decision.seq,
            "selected": found.commit["spec_key"] if found is not None and found.by == "people" else None,
            "best": found.commit["spec_key"] if found is not None and found.by == "rule" else None,
            "retakes": [dict(one) for one in decision.retakes],
            "takes": [take.as_dict() for take in self.takes],
        }


class JobTakes:
    """The takes of one job. Threads may share it."""

    def __init__(self, store: Store, job_id: str) -> None:
        self.store, self.job_id = store, job_id
        self._lock = threading.Lock()
        self._rows: list[dict[str, Any]] = []
        self._keys: list[str | None] = []
        self._seen: tuple[Any, ...] | None = None
        self._commits: dict[str, Mapping[str, Any]] = {}
        self._decisions: dict[tuple[str, str], tuple[Any, Decision]] = {}
        self._shots: list[ShotView] = []

    def refresh(self) -> list[ShotView]:
        """The shots as the store has them now, in the order of the plan.

        Raises:
            NotFound: there is no such job. StoreError.
        """
        with self._lock:
            self._read_rows()
            standing = committed_keys(self.store)
            wanted = [key for key in self._keys if key in standing and key not in self._commits]
            for key, commit in read_many(self.store, [key for key in wanted if key is not None]).items():
                if isinstance(commit, dict):
                    self._commits[key] = commit
                else:
                    log.warning("%s", commit)
            gone = self._commits.keys() - standing
            for key in gone:  # moved aside by a repair, or forgotten
                del self._commits[key]
            self._read_decisions()
            self._shots = list(self._gathered())
            return self._shots

    def told(self, decision: Decision) -> None:
        """A decision that has just been written here, so that the next answer has it without a reading."""
        with self._lock:
            self._decisions[decision.show, decision.shot_id] = (None, decision)

    def media(self, spec_key: str) -> Mapping[str, Any] | None:
        """What the commit of a take of this job says of its film; None for any other key."""
        commit = self._commits.get(spec_key)
        return None if commit is None else commit["media"]

    def _read_rows(self) -> None:
        manifest = self.store.stat(layout.manifest_path(self.job_id))
        open_keys = None in self._keys
        seen = (list_additions(self.store, self.job_id), manifest and (manifest.size, manifest.modified, manifest.tag))
        if self._seen is not None and (self._seen == seen or (self._seen[0] == seen[0] and not open_keys)):
            return
        takes: pa.Table = read_takes(self.store, self.job_id)
        self._keys = job_keys(self.store, self.job_id, takes)
        columns = [name for name in (*SHOWN, "tags", "takes", "keep") if name in takes.column_names]
        self._rows = takes.select(columns).to_pylist()
        self._seen = seen

    def _read_decisions(self) -> None:
        own = {(row["show"], row["shot_id"]) for row in self._rows}
        marks = {}
        for found in self.store.list(layout.DECISIONS):
            shot = layout.parse_decision_path(found.path)
            if shot in own:
                marks[shot] = (found.size, found.modified, found.tag)
        for shot in self._decisions.keys() - marks.keys():
            del self._decisions[shot]
        stale = [shot for shot, mark in marks.items() if self._decisions.get(shot, (None,))[0] != mark]

        for shot, decision in read_decisions(self.store, stale).items():
            if isinstance(decision, Damaged):
                log.warning("%s", decision)
                decision = Decision(*shot)
            self._decisions[shot] = (marks[shot], decision)

    def _gathered(self) -> Iterator[ShotView]:
        owner = job_state(self.store, self.job_id)
        rendering = at_work(owner.lease, live=owner.live)
        given_up = quarantined(self.store, self.job_id, round=current_round(self.store, self.job_id))
        shots: dict[tuple[str, str], ShotView] = {}
        for row, key in zip(self._rows, self._keys, strict=True):
            name = row["show"], row["shot_id"]
            if name not in shots:
                shots[name] = ShotView(*name, self._decisions.get(name, (None, Decision(*name)))[1])
            commit = self._commits.get(key) if key is not None else None
            state = "committed" if commit is not None else "pending"
            if commit is None and layout.Take(*name, row["take"]) in given_up:
                state = "quarantined"
            elif commit is None and (*name, row["take"]) in rendering:
                state = "running"
            said = shots[name].decision.takes.get(key or "")
            shots[name].takes.append(TakeView(row, key, state, commit, said))
        for shot in shots.values():
            shot.takes.sort(key=lambda take: take.row["take"])
            _spare(shot.takes)
            yield shot


def counts(shots: list[ShotView]) -> dict[str, dict[str, int]]:
    """Shots by what was decided, and takes by state and by verdict."""
    takes = [take for shot in shots for take in shot.takes]
    verdicts = [str((take.said or {}).get("verdict")) for take in takes]
    states = [shot.state for shot in shots]
    return {
        "shots": {name: states.count(name) for name in ("todo", "wip", "retake", "approved")},
        "takes": {n: sum(t.state == n for t in takes) for n in STATES},
        "verdicts": {name: verdicts.count(name) for name in ("approved", "rejected", "retake")},
    }


def version_of(answer: Mapping[str, Any]) -> str:
    """A short name for what an answer says: equal answers, equal names."""
    return hashlib.sha256(json.dumps(answer, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _spare(takes: list[TakeView]) -> None:
    """Takes of one shot that will not be rendered, because enough of the others have passed, are skipped."""
    wanted = [keep_of(take.row) for take in takes]
    passes = sum(
        take.commit is not None and has_passed(take.commit) and (take.said or {}).get("verdict") != "rejected"
        for take, keep in zip(takes, wanted, strict=True)
        if keep
    )
    for place, (take, keep) in enumerate(zip(takes, wanted, strict=True)):
        if keep is not None and passes >= keep and take.state == "pending":
            takes[place] = replace(take, state="skipped")


def identity_of(commit: Mapping[str, Any]) -> float | None:
    """How much a take of a scene shows the subject of the scene's picture, 0..1; None where that was not measured."""
    quality = (commit.get("notes") or {}).get("quality")
    measures = quality.get("measures") if isinstance(quality, Mapping) else None
    found = measures.get("identity") if isinstance(measures, Mapping) else None
    return float(found) if isinstance(found, int | float) else None


def reasons_of(commit: Mapping[str, Any]) -> list[str]:
    """Codes of the checks that a take failed, as its commit tells them."""
    for place in (commit, commit.get("notes") or {}):
        quality = place.get("quality")
        if isinstance(quality, Mapping) and isinstance(quality.get("reasons"), list):
            return [str(reason) for reason in quality["reasons"]]
    return []
