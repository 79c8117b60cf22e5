"""Which takes a job renders now, for people who look at the store: in the note of its lease, while it has an owner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.store.lease import LeaseInfo

AT_WORK = "at_work"
"""Where they stand in the note."""
MOST = 500
"""Takes that a note names: it is written every few seconds. Of a larger farm the rest show as pending."""

TakeKey = tuple[str, str, int]
"""show, shot_id, take."""


def noted(status: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a lease's note that tells of them, from a dispatcher's status."""
    names = sorted({(one["show"], one["shot_id"], int(one["take"])) for one in status.get("running") or ()})
    return {AT_WORK: names[:MOST]}


def at_work(lease: LeaseInfo | None, *, live: bool) -> frozenset[TakeKey]:
    """The takes that are being rendered, as their job's lease tells; none where nobody works on the job.

    A note that another version wrote in another form tells nothing.
    """
    told = lease.note.get(AT_WORK) if lease is not None and live else None
    return frozenset(filter(None, map(_take, told))) if isinstance(told, Sequence) else frozenset()


def _take(entry: Any) -> TakeKey | None:
    match entry:
        case [str(show), str(shot_id), int(take)]:
            return show, shot_id, take
    return None
