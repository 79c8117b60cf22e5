"""Writes a running job's views into the store: manifest, board and contact sheet, at the end and now and then
before.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows.job_view import Price
from flows.manifest import count, put_manifest
from flows.views import board_takes, put_contact_sheet
from infra.store import layout
from infra.store.errors import StoreError
from infra.store.jobs import compact_quarantine

if TYPE_CHECKING:
    import pyarrow as pa

    from flows.remembered import TakeKey
    from infra.store import Store

log = logging.getLogger("rushes.outputs")

REFRESH_S = 30.0
MOST_WAITING = 24
SHARE = 20.0
"""Views that take long to make (a million takes), twice in a row, are made at most every `SHARE` times as long.

One that was slow alone may have waited for a store that was away, and says nothing of how long the next one takes.
"""


def board_url(store: Store, job_id: str) -> str:
    """Where the board of a job stands."""
    return f"{store.url.rstrip('/')}/{layout.board_path(job_id)}"


class Outputs:
    """The views of one job. `refresh` may be called from any thread, one at a time."""

    def __init__(
        self, store: Store, job_id: str, *, epoch: int = 0, price: Price | None = None, refused: Sequence[Any] = ()
    ) -> None:
        """Args:
        epoch: of the lease; a manifest of a higher one is left alone.
        refused: rows of the catalog that were refused.
        """
        self._store, self._job_id, self._epoch = store, job_id, epoch
        self._price, self._refused = price or Price(), refused
        self.trace: Callable[[], bytes] | None = None
        """Gives how the job has gone so far, to be written with the views."""
        self._one = threading.Lock()
        self._next = time.monotonic() + REFRESH_S
        self._took = 0.0

    def refresh(
        self,
        state: str,
        gpu_s: float | None = None,
        *,
        running: Collection[TakeKey] = (),
        resolved: Mapping[TakeKey, str] | None = None,
        last: bool = False,
    ) -> tuple[pa.Table, bytes | None]:
        """Manifest, contact sheet and board anew.

        Args:
            state: of the job, in a word, for the board.
            gpu_s: GPU seconds that the job has spent; of its commits if None.
            running, resolved: as `flows.manifest.make_manifest` takes them.
            last: also bring all quarantine records together in one table.

        Returns:
            the manifest, and the contact sheet as PNG or None.

        Raises:
            StoreError: the store does not answer.
        """
        with self._one:
            began = time.monotonic()
            manifest = put_manifest(self._store, self._job_id, running, resolved, epoch=self._epoch)
            if self.trace is not None:
                self._store.write(layout.trace_path(self._job_id), self.trace())
            sheet = self._sheet(manifest)
            self._put_board(manifest, state, gpu_s, sheet is not None)
            if last and count(manifest).quarantined:
                compact_quarantine(self._store, self._job_id)
            now = time.monotonic()
            before, self._took = self._took, now - began
            self._next = now + max(REFRESH_S, SHARE * min(before, self._took))
            return manifest, sheet

    @property
    def due(self) -> bool:
        """Whether the views are old enough to be made again while the job runs."""
        return time.monotonic() >= self._next

    def _sheet(self, manifest: pa.Table) -> bytes | None:
        try:
            return put_contact_sheet(self._store, self._job_id, manifest)
        except StoreError:
            raise
        except Exception:  # a poster that cannot be drawn costs the sheet, and nothing more
            log.warning("no contact sheet", exc_info=True)
            return None

    def _put_board(self, manifest: pa.Table, state: str, gpu_s: float | None, sheet: bool) -> None:
        from flows.board import board_html
        from flows.report import refusal_dict

        links = [("Contact sheet", "contact-sheet.png")] if sheet else []
        page = board_html(
            self._job_id,
            board_takes(self._store, self._job_id, manifest),
            state=state,
            gpu_s=gpu_s,
            money=self._price.of if self._price.gpu_hour is not None else None,
            refused=[refusal_dict(row) for row in self._refused],
            links=links,
        )
        self._store.write(layout.board_path(self._job_id), page.encode())


class Refresher:
    """Keeps the views of a running job fresh, from its own thread. A context manager."""

    def __init__(self, outputs: Outputs, facts: Any) -> None:
        """Args:
        facts: called for (state, gpu_s, running, resolved) as `Outputs.refresh` takes them.
        """
        self._outputs, self._facts = outputs, facts
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="views", daemon=True)

    def __enter__(self) -> Refresher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(timeout=60.0)

    def _keep(self) -> None:
        while not self._end.wait(1.0):
            if not self._outputs.due:
                continue
            state, gpu_s, running, resolved = self._facts()
            try:
                self._outputs.refresh(state, gpu_s, running=running, resolved=resolved)
            except StoreError as error:
                log.warning("manifest and board were not refreshed: %s", error)
            except Exception:  # nobody else watches this thread, and the views of the end are made anew
                log.warning("manifest and board were not refreshed", exc_info=True)


class PosterFeed:
    """Fetches the posters of new takes for the run's page, from its own thread: the newest count, none is waited
    for.
    """

    def __init__(self, store: Store, show: Callable[[str, bytes], None]) -> None:
        """Args:
        show: told a take's name and its poster (JPEG).
        """
        self._store, self._show = store, show
        self._wanted: queue.Queue[tuple[str, str] | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._fetch, name="posters", daemon=True)
        self._thread.start()

    def want(self, label: str, path: str) -> None:
        """Fetch one, unless too many wait: a picture on the page is worth no queue."""
        with contextlib.suppress(queue.Full):  # the picture is left out
            self._wanted.put_nowait((label, path))

    def close(self, timeout_s: float = 5.0) -> None:
        """Fetch what waits, within the time."""
        with contextlib.suppress(queue.Full):  # the thread is a daemon, and the join below has its own end
            self._wanted.put(None, timeout=timeout_s)
        self._thread.join(timeout=timeout_s)

    def _fetch(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            label, path = wanted
            try:
                self._show(label, self._store.read(path))
            except StoreError as error:
                log.debug("no poster of %s: %s", label, error)
