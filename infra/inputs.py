"""Pictures and clips that shots refer to: read from allowed places only, judged anew each time they are read.

The catalog checks what a URI says; this checks what it leads to. A link or a redirect may leave the allowed folder, and
a host name may stand for an address inside the network, so every hop is looked at when it is taken.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat as stat_module
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from infra.input_errors import InputUnreadable, shown
from infra.store.errors import NotFound, StoreError, StoreRefused, StoreUnavailable
from infra.store.options import StoreOptions
from infra.store.store import open_store

MAX_BYTES = 512 * 2**20
_CHUNK = 2**20
_IPV6_HOST = re.compile(r"^https?://\[[0-9a-fA-F:.]+\]")
_FARM_FAULTS = {
    errno.EIO, errno.ESTALE, errno.ENFILE, errno.EMFILE, errno.ENOMEM, errno.ETIMEDOUT, errno.ENOTCONN, errno.EREMOTEIO,
    errno.EHOSTDOWN,
}  # fmt: skip


def fetch_input(
    uri: str,
    *,
    roots: Sequence[str],
    max_bytes: int = MAX_BYTES,
    storage_options: StoreOptions | Mapping[str, Any] | None = None,
    timeout_s: float = 30.0,
) -> bytes:
    """The bytes of an input. See `read_input` for what is allowed and raised."""
    data = bytearray()
    for chunk in read_input(
        uri, roots=roots, max_bytes=max_bytes, storage_options=storage_options, timeout_s=timeout_s
    ):
        data += chunk
    return bytes(data)


def digest_input(
    uri: str,
    *,
    roots: Sequence[str],
    max_bytes: int = MAX_BYTES,
    storage_options: StoreOptions | Mapping[str, Any] | None = None,
    timeout_s: float = 30.0,
) -> str:
    """SHA-256 (hex) of an input's bytes, read in pieces. See `read_input` for what is allowed and raised."""
    found = hashlib.sha256()
    for chunk in read_input(
        uri, roots=roots, max_bytes=max_bytes, storage_options=storage_options, timeout_s=timeout_s
    ):
        found.update(chunk)
    return found.hexdigest()


def read_input(
    uri: str,
    *,
    roots: Sequence[str],
    max_bytes: int,
    storage_options: StoreOptions | Mapping[str, Any] | None = None,
    timeout_s: float = 30.0,
) -> Iterator[bytes]:
    """The bytes of an input in pieces: a path, file://, http(s):// or s3:// URI below one of `roots`.

    Roots are folders and URL prefixes; they match at a slash only, so `s3://b/in` does not allow `s3://b/inner`.
    Files: the real path must lie below a root's real path, and it must be a regular file. HTTP: no redirect to
    another host, never to link-local or metadata addresses; user and password in a URI are refused. S3: the same
    credentials as the store's. Raises InputUnreadable where the shot is to blame, StoreUnavailable where waiting may
    help (server away, 5xx, disk trouble).
    """
    scheme = _scheme(uri)
    if scheme == "file":
        yield from _read_file(_local_path(uri), [_local_path(root) for root in roots if _is_local(root)], max_bytes)
        return
    checked = _below_a_root(uri, roots)
    if scheme in ("http", "https"):
        from infra.http_inputs import read_http

        yield from read_http(checked, lambda hop: _below_a_root(hop, roots), max_bytes=max_bytes, timeout_s=timeout_s)
        return
    yield from _read_object(checked, max_bytes, _options(storage_options))


def _scheme(uri: str) -> str:
    if not uri or any(ord(c) < 32 or ord(c) == 127 for c in uri) or "\\" in uri:
        raise InputUnreadable(f"not a URI or path: {shown(uri)!r}")
    if "::" in _IPV6_HOST.sub("", uri):
        raise InputUnreadable(f"{shown(uri)}: chained URLs are not allowed")
    if "://" not in uri:
        if uri.startswith(("data:", "http:", "https:", "s3:", "file:")):
            raise InputUnreadable(f"{shown(uri)}: not a URI or path that is allowed")
        return "file"
    return uri.split("://", 1)[0].lower()


def _is_local(root: str) -> bool:
    return "://" not in root or root.lower().startswith("file://")


def _local_path(uri: str) -> str:
    if "://" not in uri:
        return uri
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise InputUnreadable(f"{shown(uri)}: a file URL has three slashes, file:///folder/file")
    return unquote(parts.path)


def _below_a_root(uri: str, roots: Sequence[str]) -> str:
    """The URI, if it lies below an allowed prefix with nothing in it that a server could read as a way out."""
    parts = urlsplit(uri)
    try:
        place = _place(parts)
    except ValueError:
        raise InputUnreadable(f"{shown(uri)}: not a URL") from None
    if "@" in parts.netloc:
        raise InputUnreadable(f"{parts.scheme}://…: a URL with a user or password in it is not allowed")
    path = parts.path
    for _ in range(3):  # %252e is %2e is .
        path = unquote(path)
    if not place[1] or ".." in path.split("/") or "\\" in path or any(ord(c) < 32 for c in path):
        raise InputUnreadable(f"{shown(uri)}: not a plain URL")
    for root in roots:
        allowed = urlsplit(root)
        same_place = _place(allowed) == _place(parts)
        prefix = allowed.path.rstrip("/") + "/"
        if same_place and (parts.path.startswith(prefix) or parts.path == allowed.path):
            return uri
    raise InputUnreadable(f"{shown(uri)} is in no allowed place; allow it with --allow PREFIX")


def _place(parts: SplitResult) -> tuple[str, str | None, int | None]:
    """Scheme, host and port; of other schemes than HTTP, such as s3, the place as it is written."""
    scheme = parts.scheme.lower()
    if scheme in ("http", "https"):
        return scheme, parts.hostname, parts.port or (443 if scheme == "https" else 80)
    return scheme, parts.netloc, None


def _read_file(path: str, roots: Sequence[str], max_bytes: int) -> Iterator[bytes]:
    try:
        # Opened first and judged afterwards, so that the file that is read is the file that was judged.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _file_error(path, error) from error
    try:
        _judge_file(handle, path, roots, max_bytes)
        yield from _limited(lambda: os.read(handle, _CHUNK), path, max_bytes)
    except OSError as error:
        raise _file_error(path, error) from error
    finally:
        os.close(handle)


def _judge_file(handle: int, path: str, roots: Sequence[str], max_bytes: int) -> None:
    real = os.path.realpath(path)
    opened = os.fstat(handle)
    if not any(_inside(real, os.path.realpath(root)) for root in roots):
        raise InputUnreadable(f"{path} is in no allowed folder; allow it with --allow FOLDER")
    if not stat_module.S_ISREG(opened.st_mode) or not os.path.samestat(opened, os.stat(real)):
        raise InputUnreadable(f"{path} is not a regular file")
    if opened.st_size > max_bytes:
        raise _too_large(path, opened.st_size, max_bytes)


def _inside(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


def _file_error(path: str, error: OSError) -> Exception:
    kind = StoreUnavailable if error.errno in _FARM_FAULTS else InputUnreadable
    return kind(f"{path}: {error.strerror or error}")


def _read_object(uri: str, max_bytes: int, options: StoreOptions) -> Iterator[bytes]:
    folder, _, name = uri.rpartition("/")
    try:
        store = open_store(folder, options)
        found = store.stat(name)
        if found is None:
            raise InputUnreadable(f"{shown(uri)}: there is no such object")
        if found.size > max_bytes:
            raise _too_large(uri, found.size, max_bytes)
        yield store.read(name)
    except StoreUnavailable:
        raise
    except (NotFound, StoreRefused, ValueError) as error:
        raise InputUnreadable(f"{shown(uri)}: {error}") from error
    except StoreError as error:
        raise StoreUnavailable(f"{shown(uri)}: {error}") from error


def _limited(read: Callable[[], bytes], name: str, max_bytes: int) -> Iterator[bytes]:
    size = 0
    while chunk := read():
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(name, size, max_bytes)
        yield chunk


def _too_large(name: str, size: int, max_bytes: int) -> InputUnreadable:
    return InputUnreadable(f"{shown(name)}: {size} bytes or more, the limit is {max_bytes} (farm.input_bytes)")


def _options(given: StoreOptions | Mapping[str, Any] | None) -> StoreOptions:
    return given if isinstance(given, StoreOptions) else StoreOptions.model_validate(dict(given or {}))
