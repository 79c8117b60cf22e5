"""What the verbs of a store return, and what a backend must be able to do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from infra.store.options import ConditionalPut


class Stat(NamedTuple):
    """One object: path relative to the store, size in bytes, time of its last change (UTC).

    `tag` changes with the content and is what `replace` compares. It is None where the store cannot tell it without
    reading the content (`file://`): `read_tagged` always knows it.
    """

    path: str
    size: int
    modified: datetime
    tag: str | None


class Leftover(NamedTuple):
    """What a killed writer left and no listing shows: a hidden temporary, or an upload that was never completed.

    `path` is the temporary's own, or where the upload would have led. `size` is 0 where the store does not tell it.
    """

    path: str
    size: int
    modified: datetime
    token: str  # tells several uploads to one path apart


class Digest(NamedTuple):
    """Size in bytes and SHA-256 (hex) of an object's content."""

    size: int
    sha256: str


class StoreProbe(NamedTuple):
    """What a store was found able to do."""

    url: str
    format: int
    conditional_put: ConditionalPut
    checksums_verified: bool  # the server refuses a body whose checksum is wrong; else size and MD5 are compared
    seconds: float


class Backend(Protocol):
    """The verbs on one kind of file system. Paths are relative and already checked; errors are `StoreError`s.

    `create`, `replace`, `write` and `write_file` let other readers see the old content or the new, never a part.
    """

    def read_tagged(self, path: str) -> tuple[bytes, str]: ...
    def stat(self, path: str) -> Stat | None: ...
    def write(self, path: str, data: bytes) -> str: ...
    def write_file(self, path: str, local: Path, sha256: str, md5: str | None) -> None: ...
    def create(self, path: str, data: bytes) -> str: ...
    def replace(self, path: str, data: bytes, tag: str) -> str: ...
    def list(self, prefix: str) -> Iterator[Stat]: ...
    def folders(self, prefix: str) -> Iterator[str]: ...
    def delete(self, path: str) -> None: ...
    def delete_unchanged(self, found: Stat) -> bool: ...
    def fetch(self, path: str, local: Path) -> None: ...
    def digest(self, path: str) -> Digest: ...
    def leftovers(self) -> Iterator[Leftover]: ...
    def discard(self, leftover: Leftover) -> bool: ...
    def now(self) -> datetime: ...
    def verifies_checksums(self, path: str) -> bool: ...


def same(now: Stat | None, found: Stat) -> bool:
    """Whether an object is what it was when it was found: neither gone nor written again, also not with equal bytes."""
    return now is not None and (now.modified, now.size) == (found.modified, found.size)


def compare_and_delete(backend: Backend, found: Stat) -> bool:
    """`delete_unchanged` where the store has no such thing: what is written between the two requests goes as well."""
    if not same(backend.stat(found.path), found):
        return False
    backend.delete(found.path)
    return True
