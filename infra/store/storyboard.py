"""What a storyboard waits for: `jobs/<job_id>/storyboard.json` beside the plan of its stills.

It says when the storyboard began and until when people may decide, so that whoever goes on with it, after a kill or on
another machine, keeps to the same deadline.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

from infra.store import layout
from infra.store.conditional import create_or_read, replace_or_read
from infra.store.errors import Changed, Damaged, StoreUnavailable
from infra.store.store import Store
from infra.store.strict import read_object

FORMAT = 1
_MOST_TRIES = 50


@dataclass(frozen=True)
class Waiting:
    """Since when and until when. Times are UTC; `approve_by` is None where there is no deadline."""

    began: datetime
    approve_by: datetime | None = None

    def over(self, now: datetime) -> bool:
        """Whether the deadline has passed."""
        return self.approve_by is not None and now >= self.approve_by


def open_storyboard(
    store: Store, job_id: str, *, by: datetime | timedelta | None = None, now: datetime | None = None
) -> Waiting:
    """Begins to wait, or goes on with what was begun, and returns what stands.

    Args:
        by: the deadline, or how long after the beginning it is; None leaves the one that stands.
        now: for tests.

    Raises:
        Damaged: what stands there is no storyboard. StoreUnavailable.
    """
    began = now or datetime.now(UTC)
    first = _with(Waiting(began), by)
    settled = create_or_read(store, layout.storyboard_path(job_id), _bytes(first))
    if settled.ours:
        return first
    path = layout.storyboard_path(job_id)
    for _ in range(_MOST_TRIES):
        standing = _parse(settled.data, path)
        wanted = _with(standing, by)
        if wanted == standing:
            return standing
        try:
            settled = replace_or_read(store, path, _bytes(wanted), settled.tag)
        except Changed:  # it has been deleted
            settled = create_or_read(store, path, _bytes(wanted))
        if settled.ours:
            return wanted
    raise StoreUnavailable(f"{path}: others keep writing it")


def _with(waiting: Waiting, by: datetime | timedelta | None) -> Waiting:
    if by is None:
        return waiting
    return replace(waiting, approve_by=waiting.began + by if isinstance(by, timedelta) else by)


def _bytes(waiting: Waiting) -> bytes:
    told = {name: None if value is None else value.isoformat() for name, value in asdict(waiting).items()}
    return json.dumps({"format": FORMAT, **told}, indent=1).encode()


def _parse(data: bytes, path: str) -> Waiting:
    try:
        found = read_object(data)
        began, by = datetime.fromisoformat(found["began"]), found.get("approve_by")
        return Waiting(began, None if by is None else datetime.fromisoformat(by))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"{path} is no storyboard: {error}") from error
