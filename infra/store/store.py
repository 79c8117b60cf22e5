"""The store: the verbs that everything else is built from, each with what it promises."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from infra.store.errors import StoreRefused
from infra.store.location import checked_path, locate
from infra.store.options import StoreOptions
from infra.store.types import Backend, Digest, Leftover, Stat, StoreProbe


def open_store(url: str | os.PathLike[str], options: StoreOptions | None = None) -> Store:
    """A store by URL: `file://` (a bare path means that), `s3://bucket/prefix`, or any other fsspec URL.

    Nothing is touched yet. StoreRefused for a URL that cannot be a store or holds a user or password.
    """
    return Store(url, options)


class Store:
    """Objects under paths relative to one URL.

    Cheap to make and to pickle: it holds `url` and `options`, and connects in each process on first use. Threads may
    share it. Errors are those of `infra.store.errors`; a request that fails in passing is tried again for
    `options.retry_s` seconds, so StoreUnavailable means that the store has been away for that long.
    """

    def __init__(self, url: str | os.PathLike[str], options: StoreOptions | None = None) -> None:
        self._location = locate(url)
        self.url = self._location.url
        self.options = options or StoreOptions()
        self._process = -1
        self._lock = threading.Lock()
        self._connected: Backend | None = None

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def __reduce__(self) -> tuple[type[Store], tuple[str, StoreOptions]]:
        return Store, (self.url, self.options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and (self.url, self.options) == (other.url, other.options)

    def __hash__(self) -> int:
        return hash(self.url)

    def read(self, path: str) -> bytes:
        """The whole content of an object, as one moment's write left it. NotFound where there is none."""
        return self._backend.read_tagged(checked_path(path))[0]

    def read_tagged(self, path: str) -> tuple[bytes, str]:
        """Content and tag of one and the same write. The tag is for `replace`. NotFound where there is none."""
        return self._backend.read_tagged(checked_path(path))

    def stat(self, path: str) -> Stat | None:
        """What is there now, never from a cache; None where there is nothing."""
        return self._backend.stat(checked_path(path))

    def write(self, path: str, data: bytes) -> str:
        """Put, overwriting. Readers see the old content or the new, never a mixture. Returns the new tag.

        Of two writers at once either may stay. After OutcomeUnknown the old or the new content may be there.
        """
        return self._backend.write(checked_path(path), data)

    def write_file(
        self, path: str, local: str | os.PathLike[str], *, sha256: str | None = None, md5: str | None = None
    ) -> None:
        """Put a finished local file of any size, overwriting. Nothing is visible under `path` before all of it is.

        `sha256` and `md5` (hex) are what the file is known to hold; ContentMismatch when the file, or what arrived,
        is something else. The server checks what it receives where it can; size and MD5 are compared afterwards.
        """
        source = Path(local)
        known = sha256 or _sha256(source)
        self._backend.write_file(checked_path(path), source, known, md5)

    def create(self, path: str, data: bytes) -> str:
        """Put if absent: of any number of writers at once exactly one succeeds, the others raise Exists. Returns a tag.

        Exists may be raised for our own write, when its reply was lost and the request was sent again; OutcomeUnknown
        says that it may or may not be there. Read back to know: `infra.store.conditional` does.
        """
        return self._backend.create(checked_path(path), data)

    def replace(self, path: str, data: bytes, tag: str) -> str:
        """Put if the object still has this tag: of any number of writers that read the same tag exactly one succeeds.

        The others raise Changed, also when the object is gone. As with `create`, a lost reply can make our own write
        look like another's. Returns the new tag.
        """
        return self._backend.replace(checked_path(path), data, tag)

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Every object below a folder, in no particular order, always fresh; half-written ones are never among them.

        An object that comes or goes while the listing runs may or may not be in it.
        """
        return self._backend.list(checked_path(prefix, folder=True))

    def folders(self, prefix: str = "") -> Iterator[str]:
        """Names of the folders right below a folder. An emptied one may still be named: look for objects in it."""
        return self._backend.folders(checked_path(prefix, folder=True))

    def delete(self, path: str) -> None:
        """Remove an object; no error where there is none."""
        self._backend.delete(checked_path(path))

    def delete_unchanged(self, found: Stat) -> bool:
        """Remove an object that is still what it was when it was listed; False where it is gone or was written again.

        On a folder nothing can be written in between. Elsewhere one request follows the other.
        """
        checked_path(found.path)
        return self._backend.delete_unchanged(found)

    def fetch(self, path: str, local: str | os.PathLike[str]) -> None:
        """Copy an object into a local file, which appears complete or not at all. NotFound where there is none."""
        self._backend.fetch(checked_path(path), Path(local))

    def digest(self, path: str) -> Digest:
        """Size and SHA-256 of an object's content, read in pieces. NotFound where there is none."""
        return self._backend.digest(checked_path(path))

    def leftovers(self) -> Iterator[Leftover]:
        """What killed writers left (temporaries, open multipart uploads), and what living ones are writing now."""
        return self._backend.leftovers()

    def discard(self, leftover: Leftover) -> bool:
        """Remove one of these; False where it has gone by itself."""
        return self._backend.discard(leftover)

    def now(self) -> datetime:
        """The time by the clock that stamps the store's objects, as far as it can be told without a write (UTC)."""
        return self._backend.now()

    def sweep(self, older_than_s: float) -> int:
        """Remove leftovers that are older; returns how many."""
        limit = self.now() - timedelta(seconds=older_than_s)
        return sum(self.discard(found) for found in self.leftovers() if found.modified < limit)

    def probe(self) -> StoreProbe:
        """Try what the guarantees rest on, and make or check `rushes.json`; leaves nothing else behind.

        StoreRefused where the store cannot be used, naming the setting that would allow it. A store with a newer
        format is refused before anything is written.
        """
        from infra.store.probe import probe

        return probe(self, self._backend)

    @property
    def _backend(self) -> Backend:
        if self._process != os.getpid():  # a fork: neither lock nor connections are ours
            self._process, self._lock, self._connected = os.getpid(), threading.Lock(), None
        with self._lock:
            if self._connected is None:
                self._connected = self._connect()
            return self._connected

    def _connect(self) -> Backend:
        backend: Backend
        if self._location.protocol == "file":
            from infra.store.local import LocalBackend

            backend = LocalBackend(self._location.root, timeout_s=self.options.timeout_s)
        elif self._location.protocol == "s3":
            from infra.store.s3 import S3Backend

            backend = S3Backend(self._location, self.options)
        else:
            from infra.store.generic import FsspecBackend

            backend = FsspecBackend(self._location, self.options)
        if self.options.conditional_put == "exclusive-writer":
            if self._location.protocol == "file":
                raise StoreRefused(
                    "store.conditional_put = exclusive-writer is for stores that need it; file:// does not"
                )
            from infra.store.generic import ExclusiveWriter

            return ExclusiveWriter(backend)  # hands the other verbs through
        return backend


def _sha256(source: Path) -> str:
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
