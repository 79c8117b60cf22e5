"""Finds a catalog and tells its format: a file of this machine, or any fsspec URL, which is copied here first.

Parquet is read in small pieces from many places of the file; over a network each would be a request, and a catalog
changed in between would be read half old and half new. One copy avoids both.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from catalogs.errors import CatalogError
from catalogs.refusal import shown_url

Format = Literal["parquet", "csv", "jsonl"]

SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_MAGIC = b"PAR1"
_FORMATS = "Parquet (.parquet), CSV (.csv) or JSON lines (.jsonl)"


@dataclass
class Source:
    """A catalog's file on this machine.

    Attributes:
        shown: the URL as people may see it, without a password or a signature.
        path: the file; a copy for any URL that is not of this machine.
        format: how it is to be read.
    """

    shown: str
    path: Path
    format: Format
    _copy: tempfile.TemporaryDirectory[str] | None = None

    def lent(self) -> Source:
        """The same file for a reader that closes what it has read, which leaves the copy to us."""
        return Source(self.shown, self.path, self.format)

    def close(self) -> None:
        """Removes the copy, where there is one."""
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None


def open_source(url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> Source:
    """The catalog at a path or fsspec URL.

    Raises:
        CatalogError: not there, a folder, unreadable, empty, or of no format that is read.
    """
    text = os.fspath(url)
    shown = shown_url(text)
    if "::" in text:
        raise CatalogError(f"{shown} is a chain of URLs; give the catalog's own URL")
    copy = None
    if "://" in text and not text.startswith("file://"):
        path, copy = _fetch(text, shown, dict(storage_options or {}))
    else:
        path = _local(text)
    try:
        return Source(shown, path, _format(path, shown, Path(text).suffix.lower()), copy)
    except CatalogError:
        if copy is not None:
            copy.cleanup()
        raise


def _local(text: str) -> Path:
    """The path of a bare path, or of a file: URL, whose percent escapes are read as those of a row's URI are."""
    if not text.startswith("file://"):
        return Path(text)
    literal = Path(text.removeprefix("file://"))
    return literal if literal.exists() else Path(unquote(str(literal)))


def _fetch(url: str, shown: str, options: dict[str, Any]) -> tuple[Path, tempfile.TemporaryDirectory[str]]:
    import fsspec  # here: opening a local catalog does not need it

    copy = tempfile.TemporaryDirectory(prefix="rushes-catalog-")
    path = Path(copy.name) / "catalog"
    try:
        fs, place = fsspec.core.url_to_fs(url, **options)
        if fs.isdir(place) and not fs.isfile(place):
            raise CatalogError(f"{shown} is a folder; name the catalog's file in it")
        with fs.open(place, "rb") as remote, path.open("wb") as local:
            shutil.copyfileobj(remote, local, 1 << 20)
    except BaseException as error:
        copy.cleanup()
        if isinstance(error, CatalogError) or not isinstance(error, Exception):
            raise
        # Each of fsspec's file systems raises its own kinds of errors; all of them mean that there is no catalog.
        if isinstance(error, FileNotFoundError):
            raise CatalogError(f"there is no catalog at {shown}") from error
        found = f"{type(error).__name__}: {_without(url, str(error))}"
        raise CatalogError(
            f"the catalog {shown} cannot be read: {found}. Check the URL and the store's settings"
        ) from error
    return path, copy


def _without(url: str, message: str) -> str:
    """A library's message without what `shown_url` leaves out of the URL, which it may repeat in pieces."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    secrets = [url, f"{user}@" if at else "", parts.query if parts.scheme in ("http", "https") else ""]
    for secret in filter(None, secrets):
        message = message.replace(secret, shown_url(url) if secret == url else "***")
    return message


def _format(path: Path, shown: str, suffix: str) -> Format:
    try:
        if path.is_dir():
            raise CatalogError(f"{shown} is a folder; name the catalog's file in it")
        if path.exists() and not path.is_file():
            raise CatalogError(f"{shown} is not a plain file; a catalog is read more than once")
        with path.open("rb") as file:
            head = file.read(4096)
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - len(_MAGIC), 0))
            tail = file.read()
    except FileNotFoundError as error:
        raise CatalogError(f"there is no catalog at {shown}") from error
    except (OSError, ValueError) as error:
        raise CatalogError(f"the catalog {shown} cannot be read: {error}") from error
    if not head:
        raise CatalogError(f"the catalog {shown} is empty (0 bytes); write it again")
    if head.startswith(_MAGIC):
        if tail != _MAGIC or size < 12:
            raise CatalogError(
                f"the catalog {shown} is a truncated Parquet file: it starts as one, and its end is missing"
                f" ({size:,} bytes are there). Copy or write it again"
            )
        return "parquet"
    if head.startswith(b"PK\x03\x04"):
        raise CatalogError(
            f"the catalog {shown} is a zip archive, as spreadsheets are. Save it as text; give {_FORMATS}"
        )
    wanted = SUFFIXES.get(suffix)
    if wanted == "parquet":
        raise CatalogError(f"the catalog {shown} is not Parquet: it starts with {head[:16]!r}. Give {_FORMATS}")
    if wanted is not None:
        return wanted
    if b"\0" in head:
        raise CatalogError(f"the catalog {shown} is of no known format: it starts with {head[:16]!r}. Give {_FORMATS}")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"["):
        raise CatalogError(f"the catalog {shown} looks like one JSON array; write one JSON object a line (.jsonl)")
    return "jsonl" if start.startswith(b"{") else "csv"
