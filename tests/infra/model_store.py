"""A store in memory that loses requests and replies and lets its users crash, one step at a time, as a test decides."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from infra.store import Stat, Store, StoreOptions
from infra.store.commits import Published, publish
from infra.store.errors import Changed, ContentMismatch, Exists, NotFound, OutcomeUnknown, StoreUnavailable
from infra.store.types import Backend, Digest, Leftover, compare_and_delete

T = TypeVar("T")
START = datetime(2026, 1, 1, tzinfo=UTC)


class Outcome(Enum):
    """What becomes of one request."""

    DONE = "it is done, and answered"
    BUSY = "it is not done, and the answer says so (503)"
    UNSENT = "it is not done, and no answer comes"
    LOST = "it is done, and no answer comes"
    CRASH_BEFORE = "its sender dies before it is sent"
    CRASH_AFTER = "it is done, and its sender dies"


class Crash(BaseException):
    """The process is killed right here: nothing of it may run on, so nothing that handles errors may catch it."""


class Memory:
    """Objects in a dict, with a clock of its own. A `Backend` in which nothing ever fails."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, str, datetime]] = {}
        self.clock = START
        self._tags = count(1)

    def read_tagged(self, path: str) -> tuple[bytes, str]:
        if path not in self.objects:
            raise NotFound(path)
        return self.objects[path][:2]

    def stat(self, path: str) -> Stat | None:
        if path not in self.objects:
            return None
        data, tag, modified = self.objects[path]
        return Stat(path, len(data), modified, tag)

    def write(self, path: str, data: bytes) -> str:
        tag = f"tag-{next(self._tags)}"
        self.objects[path] = (data, tag, self.clock)
        return tag

    def write_file(self, path: str, local: Path, sha256: str, md5: str | None) -> None:
        data = local.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ContentMismatch(path)
        self.write(path, data)

    def create(self, path: str, data: bytes) -> str:
        if path in self.objects:
            raise Exists(path)
        return self.write(path, data)

    def replace(self, path: str, data: bytes, tag: str) -> str:
        if path not in self.objects or self.objects[path][1] != tag:
            raise Changed(path)
        return self.write(path, data)

    def list(self, prefix: str) -> Iterator[Stat]:
        found = [self.stat(path) for path in sorted(self.objects) if not prefix or path.startswith(f"{prefix}/")]
        return iter([stat for stat in found if stat is not None])

    def folders(self, prefix: str) -> Iterator[str]:
        rest = [found.path.removeprefix(f"{prefix}/") for found in self.list(prefix)]
        return iter(sorted({path.split("/")[0] for path in rest if "/" in path}))

    def delete(self, path: str) -> None:
        self.objects.pop(path, None)

    def delete_unchanged(self, found: Stat) -> bool:
        return compare_and_delete(self, found)

    def fetch(self, path: str, local: Path) -> None:
        local.write_bytes(self.read_tagged(path)[0])

    def digest(self, path: str) -> Digest:
        data, _ = self.read_tagged(path)
        return Digest(len(data), hashlib.sha256(data).hexdigest())

    def leftovers(self) -> Iterator[Leftover]:
        return iter(())

    def discard(self, leftover: Leftover) -> bool:
        return False

    def now(self) -> datetime:
        return self.clock

    def verifies_checksums(self, path: str) -> bool:
        return True

    def pass_time(self, seconds: float) -> None:
        """The clock goes on."""
        self.clock += timedelta(seconds=seconds)


class ModelStore(Store):
    """A store on a backend that a test has made. One layer of retries is in a real backend; here there is none."""

    def __init__(self, backend: Backend) -> None:
        super().__init__("memory://model", StoreOptions(retry_s=0))
        self._model = backend

    def _connect(self) -> Backend:
        return self._model


class Stepped:
    """The verbs that committing needs, over `Memory`; each waits at a gate for what shall become of it."""

    def __init__(self, memory: Memory, gate: Callable[[str], Outcome]) -> None:
        self._memory, self._gate = memory, gate

    def __getattr__(self, verb: str) -> Any:
        def call(path: str, *arguments: Any) -> Any:
            return self._through(f"{verb} {path}", lambda: getattr(self._memory, verb)(path, *arguments))

        return call

    def _through(self, what: str, call: Callable[[], T]) -> T:
        outcome = self._gate(what)
        if outcome is Outcome.CRASH_BEFORE:
            raise Crash
        if outcome is Outcome.BUSY:
            raise StoreUnavailable(what)
        writes = not what.startswith(("read", "stat", "digest"))
        if outcome is Outcome.UNSENT:
            raise OutcomeUnknown(what) if writes else StoreUnavailable(what)
        try:
            return call()
        finally:  # an answer that says no is lost like any other
            if outcome is Outcome.CRASH_AFTER:
                raise Crash
            if outcome is Outcome.LOST:
                raise OutcomeUnknown(what) if writes else StoreUnavailable(what)


class Committer:
    """One process that publishes one film, as a finisher does: again after every outage.

    It stands still at each request until `step` says how that ends.

    Attributes:
        at: the request that it waits with; None once it has ended.
        result: what `publish` returned; None for one that crashed or gave up.
        error: what ended it and should not have.
    """

    PATIENCE = 6

    def __init__(self, memory: Memory, record: Mapping[str, Any], film: Path) -> None:
        self.record, self.film = record, film
        self.at: str | None = None
        self.result: Published | None = None
        self.error: BaseException | None = None
        self._store = ModelStore(Stepped(memory, self._gate))
        self._outcome = Outcome.DONE
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._run, daemon=True).start()
        self._stopped.acquire()

    @property
    def ended(self) -> bool:
        return self.at is None

    def step(self, outcome: Outcome) -> None:
        """Its request ends so, and it goes on to its next one, or to its end."""
        self._outcome = outcome
        self._go.release()
        self._stopped.acquire()

    def _gate(self, what: str) -> Outcome:
        self.at = what
        self._stopped.release()
        self._go.acquire()
        return self._outcome

    def _run(self) -> None:
        try:
            for _ in range(self.PATIENCE):
                try:
                    self.result = publish(self._store, local=self.film, record=self.record)
                    return
                except StoreUnavailable:
                    continue
        except Crash:
            pass  # killed: it has neither a result nor an error
        except BaseException as error:
            self.error = error
        finally:
            self.at = None
            self._stopped.release()
