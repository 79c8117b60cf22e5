"""Store URLs: what they name, and which are refused."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from infra.store.errors import StoreRefused

_NOT_IN_A_URL = re.compile(r"[%?#\x00-\x1f\x7f]|::")  # of a folder's name: what a URL would read in another way
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


class Location(NamedTuple):
    """A store's address: protocol, the URL as the project writes it, and bucket and prefix, or the folder."""

    protocol: str
    url: str
    bucket: str  # "" unless s3
    root: str  # a prefix in the bucket ("" for all of it), an absolute folder, or what other file systems call the root


def locate(url: str | os.PathLike[str]) -> Location:
    """The location that a URL or a bare path names. StoreRefused for a chained or ambiguous one, or a secret in it.

    A bare path is taken as it stands. In a `file://` URL percent escapes are read, as everywhere; in an `s3://` URL
    they are not, as the keys of a bucket are literal. `Location.url` names the same place again.
    """
    text = os.fspath(url)
    if not text.strip() or "\0" in text:
        raise StoreRefused("the store's URL is empty")
    if "::" in text:
        raise StoreRefused("a chained URL (a::b) cannot be a store")
    if text.startswith("file:") and not text.startswith("file://"):  # as a path it would be a folder of that name here
        raise StoreRefused(f"{text}: a file URL has three slashes, file:///folder")
    if "://" not in text:
        return _folder(text)
    if _CONTROLS.search(text):  # a URL's parser leaves them out without a word, and so names another place
        raise StoreRefused(f"a store's URL has no control characters in it: {text!r}")
    parts = urlsplit(text)
    if "@" in parts.netloc:
        # The URL is not repeated here: it holds a secret.
        raise StoreRefused(f"a {parts.scheme}:// URL with a user or password in it is refused: put keys into settings")
    if parts.query or parts.fragment:
        raise StoreRefused(f"a store's URL has no ? or # in it: {parts.scheme}://{parts.netloc}{parts.path}")
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise StoreRefused(f"{text}: a file URL has three slashes, file:///folder")
        try:
            return _folder(unquote(parts.path, errors="strict"))
        except UnicodeDecodeError as error:
            raise StoreRefused(f"{text}: its percent escapes are not UTF-8") from error
    prefix = parts.path.strip("/")
    if prefix and (".." in prefix.split("/") or "." in prefix.split("/") or "" in prefix.split("/")):
        raise StoreRefused(f"{text}: the path has empty, . or .. parts")
    if parts.scheme in ("s3", "s3a"):
        if not parts.netloc:
            raise StoreRefused(f"{text}: no bucket, as in s3://bucket/prefix")
        return Location("s3", f"s3://{parts.netloc}" + (f"/{prefix}" if prefix else ""), parts.netloc, prefix)
    return Location(parts.scheme, text.rstrip("/"), "", "")


def _folder(path: str) -> Location:
    folder = os.path.abspath(os.path.expanduser(path))
    try:
        folder.encode()
    except UnicodeEncodeError as error:
        raise StoreRefused(f"{folder!r}: the name of a store's folder must be UTF-8") from error
    if "\0" in folder:
        raise StoreRefused(f"{folder!r}: no folder has a zero byte in its name")
    escaped = _NOT_IN_A_URL.sub(lambda found: "".join(f"%{ord(each):02X}" for each in found[0]), folder)
    return Location("file", f"file://{escaped}", "", folder)


def is_path(path: str) -> bool:
    """Whether `checked_path` takes it. A listing also brings what others put into a store."""
    try:
        checked_path(path)
    except ValueError:
        return False
    return True


def checked_path(path: str, *, folder: bool = False) -> str:
    """A path inside a store as it is, or ValueError: relative, no empty, . or .. part, nothing a URL would cut off."""
    if folder:
        path = path.rstrip("/")
        if not path:
            return ""
    parts = path.split("/")
    bad = any(part in ("", ".", "..") for part in parts) or any(c in "\\?#" or ord(c) < 32 for c in path)
    if bad or PurePosixPath(path).is_absolute() or any(part.startswith(".rushes-") for part in parts):
        raise ValueError(f"not a path inside a store: {path[:200]!r}")
    return path
