"""A storyboard's two jobs and what lies between them: stills, people's decisions, clips that begin with the chosen.

Everything is read from the catalog and the store, so whoever is killed is gone on for by the same command. While people
decide nothing is held: no gang, no lease, no cluster that was started for it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from flows.planned import Part, Planned
from flows.verbs.failure import Failure
from flows.verbs.plan import make_plan

if TYPE_CHECKING:
    from infra.settings import Settings
    from infra.store import Store
    from infra.store.selection import Chosen, Missing, Shot

_AFTER = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(s|m|h|d)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MOST_NAME = 100


@dataclass(frozen=True)
class Asked:
    """One storyboard, as it was asked for.

    Attributes:
        catalog: path or URL; rows are shots of the task t2v, each with the takes of its clip.
        out: URL of the store.
        stills: takes of each still; as many as its row's by default.
        job: name that both jobs' names begin with; else the catalog's.
        model, allow, enhance, preset: as `make_plan` takes them.
    """

    catalog: str
    out: str
    stills: int | None = None
    job: str | None = None
    model: str | None = None
    allow: tuple[str, ...] = ()
    enhance: str | None = None
    preset: str | None = None


@dataclass(frozen=True)
class Look:
    """What people have decided about the stills so far.

    Attributes:
        approved: the chosen still of each shot.
        waiting: stills that people may still decide about.
        lost: stills of which no take will be there: all are given up.
    """

    approved: list[Chosen] = field(default_factory=list)
    waiting: list[Missing] = field(default_factory=list)
    lost: list[Missing] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """Whether there is nobody to wait for."""
        return not self.waiting

    @property
    def left_out(self) -> list[Missing]:
        """Stills whose shots get no clip, if the clips are made now."""
        return [*self.waiting, *self.lost]


def plan_stills(asked: Asked, settings: Settings) -> Planned:
    """The first job: a still of every shot. Writes nothing; raises as `make_plan`."""
    from catalogs.storyboard import stills

    part = Part("stills", partial(stills, takes=asked.stills), {"storyboard": "stills", "takes": asked.stills})
    name = None if asked.job is None else f"{asked.job[:_MOST_NAME]}-stills"
    return _plan(asked, settings, part, name)


def plan_clips(asked: Asked, settings: Settings, stills: Planned, approved: list[Chosen]) -> Planned:
    """The second job: a clip of every shot whose still is approved. Another choice of stills is another job.

    Writes nothing; raises as `make_plan`.
    """
    from catalogs.storyboard import clips
    from catalogs.uris import given_place

    root = given_place(stills.store.url).uri()
    chosen = {(one.show, one.shot_id): one.commit for one in approved}
    pictures = {shot: f"{root.rstrip('/')}/{commit['media']['path']}" for shot, commit in chosen.items()}
    told = json.dumps(sorted([*shot, commit["spec_key"]] for shot, commit in chosen.items()), separators=(",", ":"))
    digest = hashlib.sha256(told.encode()).hexdigest()
    part = Part(
        "clips",
        partial(clips, pictures=pictures, folder=root),
        {"storyboard": "clips", "stills": stills.job_id, "approved": digest},
        roots=(root,),
    )
    name = None if asked.job is None else f"{asked.job[:_MOST_NAME]}-clips-{digest[:12]}"
    return _plan(asked, settings, part, name)


def look(store: Store, stills_job: str) -> Look:
    """What people have decided about the stills of a job. Raises StoreError."""
    from infra.store.jobs import quarantined
    from infra.store.selection import choose

    found = choose(store, job_id=stills_job, best=False)
    given_up = {(take.show, take.shot_id) for take in quarantined(store, stills_job)}
    standing = _shots_with_takes(store, stills_job, given_up) if given_up else set()
    lost = given_up - standing
    return Look(
        approved=found.chosen,
        waiting=[missing for missing in found.missing if (missing.show, missing.shot_id) not in lost],
        lost=[missing for missing in found.missing if (missing.show, missing.shot_id) in lost],
    )


def mark(store: Store, stills_job: str) -> frozenset[tuple[Any, ...]]:
    """What changes when somebody decides or asks for another take: cheap to ask for, a listing or two."""
    from infra.store import layout

    folders = (layout.DECISIONS, layout.additions_folder(stills_job))
    return frozenset(
        (found.path, found.size, found.modified, found.tag) for folder in folders for found in store.list(folder)
    )


def retakes_of(store: Store, stills_job: str) -> int:
    """How often takes were added to the stills since they were planned."""
    from infra.store.additions import list_additions

    return len(list_additions(store, stills_job))


def deadline(text: str) -> datetime | timedelta:
    """`--approve-by`: a time (ISO 8601; UTC where it names no zone), or how long from the beginning: 90m, 4h, 2d.

    Raises:
        Failure: it is neither.
    """
    if match := _AFTER.fullmatch(text.strip()):
        return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
    try:
        found = datetime.fromisoformat(text.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Failure(
            f"--approve-by {text!r} is no time", hint="Write 2026-11-30T18:00 (UTC), or how long: 90m, 4h, 2d."
        ) from error


def told(stills: Planned, seen: Look, approve_by: datetime | None) -> dict[str, Any]:
    """The storyboard as `--json` shows it, in the key `storyboard`."""

    def named(missing: list[Missing]) -> list[Mapping[str, str]]:
        return [{"show": one.show, "shot_id": one.shot_id, "why": one.why} for one in missing]

    return {
        "stills_job": stills.job_id,
        "approve_by": None if approve_by is None else approve_by.isoformat(),
        "approved": len(seen.approved),
        "waiting": named(seen.waiting),
        "lost": named(seen.lost),
    }


def _plan(asked: Asked, settings: Settings, part: Part, job: str | None) -> Planned:
    return make_plan(
        asked.catalog, asked.out, settings, job=job, model=asked.model, allow=asked.allow, enhance=asked.enhance,
        preset=asked.preset, part=part,
    )  # fmt: skip


def _shots_with_takes(store: Store, job_id: str, shots: Collection[Shot]) -> set[Shot]:
    """Those of these shots of a job of which a take stands."""
    from infra.store.additions import read_takes
    from infra.store.commits import read_many
    from infra.store.selection import job_keys

    takes = read_takes(store, job_id)
    names = zip(takes["show"].to_pylist(), takes["shot_id"].to_pylist(), strict=True)
    keys = zip(names, job_keys(store, job_id, takes), strict=True)
    of_shots = {key: name for name, key in keys if name in shots and key is not None}
    commits = read_many(store, of_shots)  # one that cannot be read is none
    return {of_shots[key] for key, commit in commits.items() if isinstance(commit, dict)}
