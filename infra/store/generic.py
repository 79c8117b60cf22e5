"""The verbs on any other fsspec file system, and the fallback for stores without conditional puts."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.store.errors import (
    DISK_FULL,
    Changed,
    ContentMismatch,
    Exists,
    NotFound,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from infra.store.local import landing
from infra.store.location import Location
from infra.store.options import StoreOptions
from infra.store.retry import retrying
from infra.store.types import Backend, Digest, Leftover, Stat, compare_and_delete

_CHUNK = 2**20
# fsspec's memory:// is one per process and shared by all its instances, so its lock must be too.
_PROCESS = threading.RLock()


class FsspecBackend:
    """Objects on a file system that fsspec knows by its protocol. Tags are SHA-256 of the content.

    A write is as atomic as that file system's own `pipe_file`. `create` is its `mode="create"`; there is no general
    put-if-match, so `replace` works on memory:// alone and everything else needs the fallback below.
    """

    def __init__(self, location: Location, options: StoreOptions) -> None:
        import fsspec

        self._protocol, self._retry_s = location.protocol, options.retry_s
        try:
            kwargs = {"use_listings_cache": False, "skip_instance_cache": True} | options.filesystem_options()
            fs, root = fsspec.core.url_to_fs(location.url, **kwargs)
        except (ImportError, ValueError, TypeError) as error:
            raise StoreRefused(f"{location.url}: {error}") from error
        except Exception as error:  # some protocols connect right here, and have errors of their own
            raise StoreUnavailable(f"{location.url}: {type(error).__name__}: {error}") from error
        self._fs: Any = fs
        self._root = str(root).rstrip("/")

    def read_tagged(self, path: str) -> tuple[bytes, str]:
        data: bytes = self._attempt("read", path, lambda: self._fs.cat_file(self._at(path)))
        return data, _tag(data)

    def stat(self, path: str) -> Stat | None:
        try:
            info = self._attempt("stat", path, lambda: self._fs.info(self._at(path)))
        except NotFound:
            return None
        return None if info["type"] == "directory" else _stat(path, info)

    def write(self, path: str, data: bytes) -> str:
        def put() -> None:
            self._fs.makedirs(self._fs._parent(self._at(path)), exist_ok=True)
            self._fs.pipe_file(self._at(path), data)

        self._attempt("write", path, put)
        return _tag(data)

    def write_file(self, path: str, local: Path, sha256: str, md5: str | None) -> None:
        def put() -> None:
            self._fs.makedirs(self._fs._parent(self._at(path)), exist_ok=True)
            self._fs.put_file(str(local), self._at(path))

        self._attempt("write", path, put)
        if self.digest(path) != Digest(local.stat().st_size, sha256):
            raise ContentMismatch(f"write {path}: other bytes arrived than were hashed")

    def create(self, path: str, data: bytes) -> str:
        def put() -> None:
            self._fs.makedirs(self._fs._parent(self._at(path)), exist_ok=True)
            self._fs.pipe_file(self._at(path), data, mode="create")

        with _PROCESS if self._protocol == "memory" else contextlib.nullcontext():
            self._attempt("create", path, put)
        return _tag(data)

    def replace(self, path: str, data: bytes, tag: str) -> str:
        if self._protocol != "memory":
            raise StoreRefused(f"replace {path}: {self._protocol}:// has no conditional replace")
        with _PROCESS:
            return compare_and_write(self, path, data, tag)

    def list(self, prefix: str) -> Iterator[Stat]:
        def find() -> dict[str, dict[str, Any]]:
            self._fs.invalidate_cache()
            return dict(self._fs.find(self._at(prefix), detail=True))

        try:
            found = self._attempt("list", prefix, find)
        except NotFound:
            return
        for name, info in found.items():
            yield _stat(self._fs._strip_protocol(name)[len(self._root) :].lstrip("/"), info)

    def folders(self, prefix: str) -> Iterator[str]:
        try:
            found = self._attempt("list", prefix, lambda: self._fs.ls(self._at(prefix), detail=True))
        except NotFound:
            return
        for info in found:
            if info["type"] == "directory":
                yield info["name"].rstrip("/").rsplit("/", 1)[-1]

    def delete(self, path: str) -> None:
        with contextlib.suppress(NotFound):  # gone is what was asked for
            self._attempt("delete", path, lambda: self._fs.rm_file(self._at(path)))

    def delete_unchanged(self, found: Stat) -> bool:
        return compare_and_delete(self, found)

    def fetch(self, path: str, local: Path) -> None:
        def get() -> None:
            with landing(local) as temporary:
                self._fs.get_file(self._at(path), str(temporary))

        self._attempt("fetch", path, get)

    def digest(self, path: str) -> Digest:
        def read() -> Digest:
            found, size = hashlib.sha256(), 0
            with self._fs.open(self._at(path), "rb") as source:
                while chunk := source.read(_CHUNK):
                    found.update(chunk)
                    size += len(chunk)
            return Digest(size, found.hexdigest())

        digest: Digest = self._attempt("read", path, read)
        return digest

    def leftovers(self) -> Iterator[Leftover]:
        return iter(())  # nothing is known of what such a file system leaves behind

    def discard(self, leftover: Leftover) -> bool:
        return False

    def now(self) -> datetime:
        return datetime.now(UTC)

    def verifies_checksums(self, path: str) -> bool:
        return False

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _attempt(self, verb: str, path: str, call: Any) -> Any:
        def once() -> Any:
            try:
                return call()
            except StoreError:
                raise
            except FileNotFoundError as error:
                raise NotFound(f"{verb} {path}: there is no such object") from error
            except FileExistsError as error:
                raise Exists(f"{verb} {path}: it exists") from error
            except PermissionError as error:
                raise StoreRefused(f"{verb} {path}: {error}") from error
            except OSError as error:
                if verb == "fetch" and error.errno in DISK_FULL:
                    raise  # this machine's disk, not the store's
                raise StoreUnavailable(f"{verb} {path}: {type(error).__name__}: {error}") from error
            except (NotImplementedError, TypeError, ValueError) as error:  # it has no such verb, or no such option
                raise StoreRefused(f"{verb} {path}: {type(error).__name__}: {error}") from error
            except Exception as error:  # each file system has errors of its own for a server that does not answer
                raise StoreUnavailable(f"{verb} {path}: {type(error).__name__}: {error}") from error

        return retrying(once, self._retry_s)


class ExclusiveWriter:
    """The named fallback `exclusive-writer`: conditions are checked first and the write follows.

    Right as long as one process at a time writes, which the person who chose it has promised.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()

    def create(self, path: str, data: bytes) -> str:
        with self._lock:
            if self._backend.stat(path) is not None:
                raise Exists(f"create {path}: it exists")
            return self._backend.write(path, data)

    def replace(self, path: str, data: bytes, tag: str) -> str:
        with self._lock:
            return compare_and_write(self._backend, path, data, tag)

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._backend, verb)


def compare_and_write(backend: Backend, path: str, data: bytes, tag: str) -> str:
    """Replace by reading, comparing and writing. The caller sees to it that nobody else writes meanwhile."""
    try:
        _, now = backend.read_tagged(path)
    except NotFound:
        raise Changed(f"replace {path}: it is gone") from None
    if now != tag:
        raise Changed(f"replace {path}: it has changed")
    return backend.write(path, data)


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _stat(path: str, info: dict[str, Any]) -> Stat:
    changed = next((info[key] for key in ("LastModified", "mtime", "modified", "created") if info.get(key)), None)
    if isinstance(changed, int | float):
        changed = datetime.fromtimestamp(changed, UTC)
    if not isinstance(changed, datetime):
        changed = datetime.now(UTC)  # of unknown age: never old enough to be collected
    return Stat(path, int(info.get("size") or 0), changed.astimezone(UTC), None)
