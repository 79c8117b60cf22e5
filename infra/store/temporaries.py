"""Hidden files in a folder store: what a writer that was killed left, or what one that lives is writing at this moment.

Their names tell the folder, not the object, and nothing else tells the two apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import PurePosixPath

from infra.store import layout
from infra.store.claims import JobState, planned_takes
from infra.store.errors import Damaged, NotFound
from infra.store.local import HIDDEN
from infra.store.store import Store

LEAST_S = 900.0
"""Seconds since its last byte for which a hidden file may be somebody's, whatever age was asked for: none is written
for so long without a byte more, however slow the disk syncs."""


def is_temporary(path: str) -> bool:
    """Whether it is a hidden file, by its name."""
    return PurePosixPath(path).name.startswith(HIDDEN)


class Temporaries:
    """Which hidden files are garbage."""

    def __init__(self, store: Store, jobs: Iterable[JobState]) -> None:
        self._store = store
        self._live = {job.job_id for job in jobs if job.live}

    def after(self, path: str, least_s: float) -> float | None:
        """How old a hidden file must be to be garbage; None while it lies where a running job writes."""
        return None if self._may_be_written(PurePosixPath(path).parts) else max(least_s, LEAST_S)

    def _may_be_written(self, parts: tuple[str, ...]) -> bool:
        match parts:
            case (layout.COMMITS, *_):  # of any job
                return bool(self._live)
            case (layout.JOBS, job_id, *_):
                return job_id in self._live
            case (layout.MEDIA, show, shot_id, *_):
                return bool(self._live) and (self._shots is None or (show, shot_id) in self._shots)
        return False

    @cached_property
    def _shots(self) -> set[tuple[str, str]] | None:
        """Shots that running jobs have takes of. None while the plan of one cannot be read."""
        found: set[tuple[str, str]] = set()
        for job_id in self._live:
            try:
                found |= {(take.show, take.shot_id) for take in planned_takes(self._store, job_id)}
            except NotFound:
                continue
            except Damaged:
                return None
        return found
