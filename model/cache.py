"""Files that are kept between runs: model folders fetched from a URL, and digests of files already hashed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from model.errors import ModelError
from model.folder import INDEX

log = logging.getLogger(__name__)
# What a pipeline is read from. Pickled weights (.bin, .pth, .pt) are never fetched, let alone loaded.
MODEL_SUFFIXES = frozenset({".json", ".safetensors", ".txt", ".model", ".jinja"})
_REMEMBERED = 4096
# A file written within this time could change again without a visible change of its time stamp.
_SETTLED_S = 2.0


def user_cache_dir() -> Path:
    """Where this user's platform keeps files that may be thrown away, with a folder of our own."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "rushes"


def is_remote(location: str) -> bool:
    """Whether `location` is a URL that is not on this machine's own disk."""
    scheme = urlsplit(location).scheme
    return "://" in location and scheme != "file"


def absolute(location: str | os.PathLike[str]) -> str:
    """`location` as other processes can use it: a URL as it is without a trailing slash, a path made absolute."""
    text = os.fspath(location)
    if is_remote(text):
        return text.rstrip("/")
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    return str(Path(text).expanduser().absolute())


def localise(
    location: str | os.PathLike[str],
    *,
    storage_options: Mapping[str, Any] | None = None,
    cache: Path | None = None,
) -> Path:
    """A local folder with the files of `location`; a URL is fetched once for each state of its files.

    Args:
        location: path, file:// URL or any other fsspec URL of a pipeline folder.
        storage_options: for the URL's file system.
        cache: where fetched folders are kept; the user's cache otherwise.

    Raises:
        ModelError: the URL cannot be read or holds no pipeline.
    """
    text = absolute(location)
    if not is_remote(text):
        return Path(text)
    import fsspec

    try:
        fs, root = fsspec.core.url_to_fs(text, **(storage_options or {}))
        listing = fs.find(root, detail=True)
    except Exception as error:  # each file system raises its own kinds
        raise ModelError(f"{text} cannot be listed: {type(error).__name__}: {error}") from error
    wanted = dict(_model_files(root, listing))
    if INDEX not in wanted:
        raise ModelError(f"{text} is not a pipeline folder: no {INDEX} among its {len(listing)} files")
    return fetched(fs, text, wanted, (cache or user_cache_dir()) / "models")


def fetched(fs: Any, url: str, files: Mapping[str, tuple[str, Mapping[str, Any]]], cache: Path) -> Path:
    """A folder below `cache` with files of a URL, fetched once for each state (names, sizes, versions) of them.

    Args:
        fs: the fsspec file system.
        url: for the state and for messages.
        files: name in the folder -> path in the file system, and what that says of it.

    Raises:
        ModelError: a file cannot be fetched, or comes in part.
    """
    state = [(name, info.get("size"), _version(info)) for name, (_, info) in sorted(files.items())]
    key = hashlib.sha256(json.dumps([url, state], default=str).encode()).hexdigest()[:24]
    target = cache / key
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=cache))
    try:
        for name, (remote, info) in sorted(files.items()):
            local = partial / name
            local.parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(remote, str(local))
            if info.get("size") is not None and local.stat().st_size != info["size"]:
                raise ModelError(f"{url}/{name}: {local.stat().st_size} bytes came of {info['size']}")
        try:
            os.replace(partial, target)
        except OSError:
            if not target.is_dir():  # else another process was first, with the same files
                raise
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{url} cannot be fetched: {type(error).__name__}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _model_files(root: str, listing: Mapping[str, Any]) -> Iterable[tuple[str, tuple[str, Mapping[str, Any]]]]:
    base = PurePosixPath(root)
    for remote, info in listing.items():
        name = PurePosixPath(remote).relative_to(base)
        plain = not any(part.startswith(".") or part == ".." for part in name.parts)
        if plain and name.suffix in MODEL_SUFFIXES and info.get("type", "file") == "file":
            yield str(name), (remote, info)


def _version(info: Mapping[str, Any]) -> str | None:
    for key in ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created"):
        if info.get(key) is not None:
            return str(info[key])
    return None


def folder_digest(folder: Path, components: Iterable[str], *, cache: Path | None = None) -> str:
    """SHA-256 over names and contents of the files that decide the pictures of a pipeline folder.

    These are `model_index.json` and the model files of the components that it names; a page, a licence or
    `rushes.json` (defaults, which a plan writes out) may change without a new digest.

    Args:
        folder: a local pipeline folder.
        components: names of its sub-folders in use.
        cache: folder of the memory of files already hashed; the user's cache otherwise.
    """
    files = [folder / INDEX]
    for name in components:
        files += [
            path
            for path in (folder / name).rglob("*")
            if path.suffix in MODEL_SUFFIXES and path.is_file() and not path.name.startswith(".")
        ]
    memory = FileDigests((cache or user_cache_dir()) / "digests.json")
    total = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.relative_to(folder).as_posix()):
        total.update(f"{path.relative_to(folder).as_posix()}\0{memory.sha256(path)}\n".encode())
    memory.save()
    return total.hexdigest()


class FileDigests:
    """SHA-256 of files, remembered in one JSON file by path, size and time of change.

    The memory is a convenience: a damaged or unwritable one costs hashing again, and nothing else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._changed = False
        self._known: dict[str, list[Any]] = {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            log.warning("the memory of digests %s is not readable (%s): files are hashed again", path, error)
            return
        if isinstance(found, dict):
            self._known = {key: value for key, value in found.items() if isinstance(value, list) and len(value) == 3}

    def sha256(self, path: Path) -> str:
        """Hex digest of the content of `path`; raises ModelError when it cannot be read."""
        key = str(path.absolute())
        try:
            before = path.stat()
            state = [before.st_size, before.st_mtime_ns]
            known = self._known.get(key)
            if known is not None and known[:2] == state and isinstance(known[2], str):
                return known[2]
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = path.stat()
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
        settled = time.time() - before.st_mtime > _SETTLED_S
        if settled and [after.st_size, after.st_mtime_ns] == state:
            self._known.pop(key, None)
            self._known[key] = [*state, digest]
            self._changed = True
        return digest

    def save(self) -> None:
        """Writes the memory beside the old one and swaps it in; the last of several writers wins."""
        if not self._changed:
            return
        newest = dict(list(self._known.items())[-_REMEMBERED:])
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(newest), encoding="utf-8")
            os.replace(partial, self.path)
            self._changed = False
        except OSError as error:
            log.warning("the memory of digests %s cannot be written: %s", self.path, error)
            with contextlib.suppress(OSError):  # it may never have been made
                partial.unlink()
