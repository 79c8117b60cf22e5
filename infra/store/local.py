"""The verbs on a local or network folder (`file://`).

fsspec's LocalFileSystem neither syncs to disk, nor links, nor locks, which the guarantees need, so this stands on `os`.
A file appears under its name complete or not at all: it is written as a hidden temporary in the same folder, synced,
then renamed (overwrite) or hard-linked (create: the link fails where the name is taken). Names are synced too.
Temporaries and the lock file begin with `.rushes-`, and no listing shows them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from infra.store.errors import Changed, ContentMismatch, Exists, NotFound, StoreError, StoreRefused, StoreUnavailable
from infra.store.types import Digest, Leftover, Stat, same

HIDDEN = ".rushes-"
LOCK = HIDDEN + "lock"
_CHUNK = 2**20
_REFUSALS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class LocalBackend:
    """Objects are files below `root`. Tags are SHA-256 of the content."""

    def __init__(self, root: str, *, timeout_s: float = 20.0) -> None:
        self.root = Path(root)
        self._timeout_s = timeout_s  # seconds to wait for the lock

    def read_tagged(self, path: str) -> tuple[bytes, str]:
        with _mapped("read", path):
            data = self._at(path).read_bytes()
        return data, _tag(data)

    def stat(self, path: str) -> Stat | None:
        try:
            with _mapped("stat", path):
                found = self._at(path).stat()
        except NotFound:
            return None
        return None if stat.S_ISDIR(found.st_mode) else _stat(path, found)

    def write(self, path: str, data: bytes) -> str:
        with _mapped("write", path), self._temporary(path) as (temporary, target):
            _fill(temporary, data)
            with self._locked():
                os.replace(temporary, target)
            _sync_folder(target.parent)
        return _tag(data)

    def write_file(self, path: str, local: Path, sha256: str, md5: str | None) -> None:
        with _mapped("write", path), self._temporary(path) as (temporary, target):
            found = hashlib.sha256()
            with local.open("rb") as source, temporary.open("wb") as sink:
                while chunk := source.read(_CHUNK):
                    found.update(chunk)
                    sink.write(chunk)
                sink.flush()
                os.fsync(sink.fileno())
            if found.hexdigest() != sha256:
                raise ContentMismatch(f"write {path}: the local file is not what was hashed (SHA-256 differs)")
            with self._locked():
                os.replace(temporary, target)
            _sync_folder(target.parent)

    def create(self, path: str, data: bytes) -> str:
        with _mapped("create", path), self._temporary(path) as (temporary, target):
            _fill(temporary, data)
            try:
                os.link(temporary, target)
            except FileExistsError:
                if target.is_dir():  # which no reader takes for an object
                    raise StoreRefused(f"create {path}: a folder stands there ({target}): move it away") from None
                raise Exists(f"create {path}: it exists") from None
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
                self._create_without_links(temporary, target)
            _sync_folder(target.parent)
        return _tag(data)

    def _create_without_links(self, temporary: Path, target: Path) -> None:
        """On file systems that know no hard links every creator comes here, so the lock alone decides."""
        with self._locked():
            if target.exists():
                raise Exists(f"create {target.relative_to(self.root)}: it exists")
            os.replace(temporary, target)

    def replace(self, path: str, data: bytes, tag: str) -> str:
        with _mapped("replace", path), self._temporary(path) as (temporary, target):
            _fill(temporary, data)
            with self._locked():
                try:
                    now = _tag(target.read_bytes())
                except FileNotFoundError:
                    raise Changed(f"replace {path}: it is gone") from None
                if now != tag:
                    raise Changed(f"replace {path}: it has changed")
                os.replace(temporary, target)
            _sync_folder(target.parent)
        return _tag(data)

    def list(self, prefix: str) -> Iterator[Stat]:
        folders = [self._at(prefix)]
        while folders:
            for entry in self._entries(folders.pop()):
                if entry.is_dir():
                    folders.append(Path(entry.path))
                    continue
                with contextlib.suppress(FileNotFoundError):  # deleted since the folder was read
                    yield _stat(str(Path(entry.path).relative_to(self.root)), entry.stat())

    def folders(self, prefix: str) -> Iterator[str]:
        return (entry.name for entry in self._entries(self._at(prefix)) if entry.is_dir())

    def delete(self, path: str) -> None:
        with _mapped("delete", path), self._locked():
            self._unlink(self._at(path))

    def delete_unchanged(self, found: Stat) -> bool:
        with _mapped("delete", found.path), self._locked():  # every file gets its name under the lock, but for new ones
            if not same(self.stat(found.path), found):
                return False
            self._unlink(self._at(found.path))
        return True

    def _unlink(self, target: Path) -> None:
        target.unlink(missing_ok=True)
        for folder in target.parents:  # an emptied folder goes too, as it does in an object store
            if folder == self.root or not _remove_empty(folder):
                break

    def fetch(self, path: str, local: Path) -> None:
        with landing(local) as temporary, temporary.open("xb") as sink:
            for chunk in self._chunks("fetch", path):
                sink.write(chunk)  # a disk that is full here is not the store's

    def digest(self, path: str) -> Digest:
        found, size = hashlib.sha256(), 0
        for chunk in self._chunks("read", path):
            found.update(chunk)
            size += len(chunk)
        return Digest(size, found.hexdigest())

    def leftovers(self) -> Iterator[Leftover]:
        folders = [self.root]
        while folders:
            for entry in self._entries(folders.pop(), hidden=True):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif entry.name.startswith(HIDDEN) and entry.name != LOCK:
                    with contextlib.suppress(FileNotFoundError):  # its writer has just finished
                        found = _stat(str(Path(entry.path).relative_to(self.root)), entry.stat())
                        yield Leftover(found.path, found.size, found.modified, "")

    def discard(self, leftover: Leftover) -> bool:
        with _mapped("discard", leftover.path):
            try:
                self._at(leftover.path).unlink()
            except FileNotFoundError:
                return False
        return True

    def now(self) -> datetime:
        return datetime.now(UTC)

    def verifies_checksums(self, path: str) -> bool:
        return True  # write_file hashes what it writes

    def _at(self, path: str) -> Path:
        return self.root / path if path else self.root

    def _chunks(self, verb: str, path: str) -> Iterator[bytes]:
        with _mapped(verb, path), self._at(path).open("rb") as source:
            while chunk := source.read(_CHUNK):
                yield chunk

    def _entries(self, folder: Path, *, hidden: bool = False) -> Sequence[os.DirEntry[str]]:
        with _mapped("list", str(folder)):
            try:
                with os.scandir(folder) as entries:
                    return [entry for entry in entries if hidden or not entry.name.startswith(HIDDEN)]
            except FileNotFoundError:
                return []

    @contextlib.contextmanager
    def _temporary(self, path: str) -> Iterator[tuple[Path, Path]]:
        """A new, empty, hidden file beside the target; what is left of it is removed, however the block ends."""
        target = self._at(path)
        temporary = target.parent / f"{HIDDEN}{uuid.uuid4().hex}.tmp"
        for attempt in range(100):
            _make_folder(target.parent)
            try:
                temporary.touch(exist_ok=False)
                break
            except FileNotFoundError:  # a delete has just removed the empty folder
                if attempt == 99:
                    raise
        try:
            yield temporary, target
        finally:
            temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """The store's one lock, across processes and threads. Held for a compare and a rename, never for a write."""
        _make_folder(self.root)
        deadline = time.monotonic() + self._timeout_s
        with open(self.root / LOCK, "ab") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StoreUnavailable(f"{self.root / LOCK}: held by another process for too long") from None
                    time.sleep(0.002)
            yield


@contextlib.contextmanager
def landing(local: Path) -> Iterator[Path]:
    """A new name beside `local` to fill; it takes the name `local` when the block ends well, else it is removed."""
    temporary = local.parent / f"{HIDDEN}{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
        os.replace(temporary, local)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _mapped(verb: str, path: str) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except FileNotFoundError as error:
        raise NotFound(f"{verb} {path}: there is no such object") from error
    except IsADirectoryError as error:
        if verb not in ("read", "fetch"):
            raise StoreRefused(f"{verb} {path}: a folder stands there ({error.filename}): move it away") from error
        raise NotFound(f"{verb} {path}: there is no such object, but a folder of that name") from error
    except OSError as error:
        kind = StoreRefused if error.errno in _REFUSALS else StoreUnavailable
        raise kind(f"{verb} {path}: {error.strerror or error} ({error.filename or 'no file'})") from error


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _stat(path: str, found: os.stat_result) -> Stat:
    return Stat(path, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC), None)


def _remove_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:  # not empty, or gone already
        return False
    return True


def _fill(temporary: Path, data: bytes) -> None:
    with temporary.open("wb") as sink:
        sink.write(data)
        sink.flush()
        os.fsync(sink.fileno())


def _make_folder(folder: Path) -> None:
    """mkdir -p, with the new names synced: a file in a folder that a power cut forgets would be lost too."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):  # another process made it just now
        folder.mkdir()
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
