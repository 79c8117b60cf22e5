"""What people do with takes: approve, reject, ask for another. For the page and for the command line."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from flows.retakes import check_retake, queue_retakes
from flows.verbs.failure import Failure
from infra.store.additions import addition_ids, read_takes
from infra.store.decisions import Decision, Said, TakeName, decided, give_verdict
from infra.store.errors import Damaged
from infra.store.selection import read_decisions

if TYPE_CHECKING:
    from infra.store import Store

Facts = Callable[[], Mapping[str, Any]]
"""Tells of the job's model, when it is asked; raises Failure where it has changed since."""
MOST_NOTE = 4000
MOST_WHO = 128


class Done(NamedTuple):
    """What stands now, and the numbers of the takes that were queued."""

    decision: Decision
    queued: list[int]


def decide(
    store: Store,
    job_id: str,
    take: TakeName,
    verdict: Said | None,
    *,
    who: str,
    note: str = "",
    count: int = 1,
    seen: int | None = None,
    facts: Facts,
) -> Done:
    """Gives a take a verdict; a retake also queues new takes in the job.

    The verdict is written first: who comes too late queues nothing. What was killed between the two is mended by
    `queue_forgotten`.

    Raises:
        Conflict: somebody else was first. Failure: no take can be added to this job, and nothing was written;
        note or name are too long, or there is no name. StoreError.
    """
    if len(note) > MOST_NOTE:
        raise Failure(f"the note has {len(note):,} characters; it may have at most {MOST_NOTE}")
    if not who.strip() or len(who) > MOST_WHO:
        raise Failure(f"whose verdict is it? A name has 1 to {MOST_WHO} characters")
    if verdict != "retake":
        return Done(give_verdict(store, take, verdict, who=who, note=note, seen=seen), [])
    model = facts()
    check_retake(store, job_id, take, model, count)
    request = f"{job_id}:{uuid.uuid4().hex}"
    decision = give_verdict(store, take, "retake", who=who, note=note, count=count, retake_id=request, seen=seen)
    return Done(decision, queue_retakes(store, job_id, take, model, count=count, id=request))


def queue_forgotten(store: Store, job_id: str, facts: Facts) -> list[str]:
    """Queues retakes that were asked for in this job and whose asker was killed before they were queued.

    Returns:
        their shots, as show/shot_id.

    Raises:
        Failure: as `decide`. StoreError.
    """
    mended = []
    known = addition_ids(store, job_id)
    takes = read_takes(store, job_id)
    own = set(zip(takes["show"].to_pylist(), takes["shot_id"].to_pylist(), strict=True))
    for (show, shot_id), decision in read_decisions(store, sorted(decided(store) & own)).items():
        if isinstance(decision, Damaged):
            continue
        for asked in decision.retakes:
            request, of = str(asked.get("id") or ""), decision.takes.get(str(asked.get("of")))
            if not request.startswith(f"{job_id}:") or request in known or of is None or "revision" not in of:
                continue
            take = TakeName(show, shot_id, int(of["take"]), str(of["revision"]), str(asked["of"]))
            queue_retakes(store, job_id, take, facts(), count=int(asked.get("count") or 1), id=request)
            mended.append(f"{show}/{shot_id}")
    return mended
