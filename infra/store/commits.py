"""The commit protocol: a take exists once its commit does, and its media stands before its commit."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from infra.store import layout, strict
from infra.store.conditional import create_or_read, replace_or_read
from infra.store.errors import CommitMisplaced, CommitNewer, CommitUnreadable, NotFound, OutcomeUnknown
from infra.store.options import StoreOptions
from infra.store.store import Store

FORMAT = 1
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "spec_key": str,
    "picture_key": str,
    "show": str,
    "shot_id": str,
    "revision": str,
    "take": int,
    "seed": int,
    "media": dict,
    "gang": int,
    "layout": str,
    "attempt": int,
    "gpu_s": (int, float),
    "epoch": int,
}
_OPTIONAL = {"times", "tools", "notes"}  # objects; notes: what a reader should know, such as a retry in fp32
_ATTEMPT = ("owner", "epoch", "attempt")  # with the media's hash: which attempt a commit came from
_MEDIA_FIELDS: dict[str, type | tuple[type, ...]] = {
    "width": int,
    "height": int,
    "frames": int,
    "fps": (int, float, type(None)),  # a still has none
}
_STORED_MEDIA = _MEDIA_FIELDS | {"path": str, "sha256": str, "bytes": int}
_MOST = {"attempt": 2**31 - 1}  # what the manifest's columns hold, where that is less than `strict.MOST`
_TOOLS = ("rushes", "torch", "diffusers", "transformers", "imageio-ffmpeg", "av")
_THREADS = 16


class Published(NamedTuple):
    """How a take ended up in the store."""

    outcome: Literal["committed", "adopted"]
    commit: dict[str, Any]  # the one that stands
    duplicate_gpu_s: float  # ours, when another's commit was adopted


class CommitRead(NamedTuple):
    """One object under commits/: its content, or why it counts for nothing."""

    path: str
    spec_key: str | None  # as the name says; None for a name that is no commit's
    commit: dict[str, Any] | None
    fault: CommitUnreadable | CommitNewer | None


def publish(
    store: Store, *, local: str | os.PathLike[str], record: Mapping[str, Any], suffix: str = ".mp4"
) -> Published:
    """Upload a finished, probed film and commit it (steps 2 and 3 of the protocol). Safe to call again after any error.

    `record` holds spec_key, picture_key, show, shot_id, revision, take, seed, media{width, height, frames, fps}, gang,
    layout, attempt, gpu_s, epoch, and may hold owner, times, tools and notes; ValueError for anything missing, wrong
    or more. Path, size and hash of the media are filled in here, versions of tools where none are given, and so is an
    owner: the same for the same record in one process, so that a call repeated after OutcomeUnknown knows its own
    commit again.

    Outcome "adopted" means that another gang was first: its commit stands and counts, our film is an orphan unless it
    is the same bytes. An unreadable commit under this key is set aside and replaced. Raises StoreUnavailable, of which
    OutcomeUnknown means that only a later read can tell.
    """
    _check(record, _FIELDS, _OPTIONAL | {"owner"})
    _check(record["media"], _MEDIA_FIELDS, set())
    film = Path(local)
    size, sha256, md5 = _hashes(film)
    take = (record["show"], record["shot_id"], record["revision"], record["take"])
    media_path = layout.media_path(*take, sha256, suffix)
    _put(store, media_path, film, sha256, md5)

    times = {**record.get("times", {}), "committed": datetime.now(UTC).isoformat(timespec="milliseconds")}
    commit = {
        "format": FORMAT,
        **{key: record[key] for key in _FIELDS},
        "media": {"path": media_path, "sha256": sha256, "bytes": size, **record["media"]},
        "owner": record.get("owner") or _owner(record),
        "tools": tool_versions(),
        **{key: record[key] for key in sorted(_OPTIONAL & record.keys())},
        "times": times,
    }
    stands = _commit(store, record["spec_key"], json.dumps(commit, indent=1, allow_nan=False).encode())
    if _same_attempt(stands, commit):
        return Published("committed", stands, 0.0)
    return Published("adopted", stands, float(record["gpu_s"]))


def window_s(options: StoreOptions) -> float:
    """Seconds after which no commit can come any more that names a film which was put before. See README.md."""
    return 4 * options.retry_s + 8 * options.timeout_s


def _put(store: Store, path: str, film: Path, sha256: str, md5: str) -> None:
    """Step 2. A film that took long to put is looked at again, for it could have been collected as an orphan.

    The other half of the window is what `_commit` can take at most before its last put is sent.
    """
    began = time.monotonic()
    store.write_file(path, film, sha256=sha256, md5=md5)
    if time.monotonic() - began > window_s(store.options) / 2 and store.stat(path) is None:
        store.write_file(path, film, sha256=sha256, md5=md5)


def _commit(store: Store, spec_key: str, data: bytes) -> dict[str, Any]:
    """Step 3: one conditional put. Returns the readable commit that stands afterwards, ours or another's."""
    path = layout.commit_path(spec_key)
    settled = create_or_read(store, path, data)
    for _ in range(10):
        try:
            return parse(spec_key, settled.data)
        except CommitUnreadable:
            # Nothing was ever committed here. Keep its bytes, then take its place if nobody else has.
            store.write(layout.damaged_path(spec_key, hashlib.sha256(settled.data).hexdigest()), settled.data)
            settled = replace_or_read(store, path, data, settled.tag)
    raise OutcomeUnknown(f"{path} changes all the time and is never a commit")


@cache
def tool_versions() -> dict[str, str]:
    """Versions of what a take is made with, as far as it is installed here: names of distributions, and Python."""
    found = {"python": platform.python_version()}
    for name in _TOOLS:
        with suppress(metadata.PackageNotFoundError):  # not every process has every tool
            found[name] = metadata.version(name)
    return found


def _owner(record: Mapping[str, Any]) -> str:
    told = json.dumps(dict(record), sort_keys=True, default=str).encode()
    return f"{socket.gethostname()}-{os.getpid()}-{hashlib.sha256(told).hexdigest()[:16]}"


def _same_attempt(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    same_media = one["media"]["sha256"] == other["media"]["sha256"]
    return same_media and all(one[key] == other[key] for key in _ATTEMPT)


def committed_keys(store: Store) -> set[str]:
    """The spec_keys that have a commit by name, from a fresh listing: 1,000 names per request, no content.

    An empty object is none. A name is not yet a commit: `read_many` tells which of those that matter can be read.
    """
    return {key for key, _ in list_commits(store)}


def list_commits(store: Store) -> Iterator[tuple[str, datetime]]:
    """The spec_keys of `committed_keys` one at a time, each with when its object was written."""
    for found in store.list(layout.COMMITS):
        if found.size and (key := layout.parse_commit_path(found.path)) is not None:
            yield key, found.modified


def keys_since(store: Store, written: datetime | None) -> tuple[set[str], set[str]]:
    """`committed_keys`, and those of them that were written since then, or at that very time; all of them for None.

    A commit never changes, so one that is older than a view which counts it needs not be read again.
    """
    keys, later = set(), set()
    for key, changed in list_commits(store):
        keys.add(key)
        if written is None or changed >= written:
            later.add(key)
    return keys, later


def read_commit(store: Store, spec_key: str) -> dict[str, Any] | None:
    """The commit of a take, or None where there is none. CommitUnreadable for one that counts for nothing."""
    try:
        data = store.read(layout.commit_path(spec_key))
    except NotFound:
        return None
    return parse(spec_key, data)


def read_many(store: Store, spec_keys: Iterable[str]) -> dict[str, dict[str, Any] | CommitUnreadable]:
    """The commits of these takes, read by 16 threads. A key without a commit is left out.

    An unreadable one stands there as the error itself: it is not done, and rendering the take again replaces it.
    """

    def read(spec_key: str) -> dict[str, Any] | CommitUnreadable | None:
        try:
            return read_commit(store, spec_key)
        except CommitUnreadable as error:
            return error

    keys = list(spec_keys)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="rushes-commits") as pool:
        return {key: found for key, found in zip(keys, pool.map(read, keys), strict=True) if found is not None}


def read_commits(store: Store, spec_keys: Iterable[str] | None = None) -> Iterator[CommitRead]:
    """Every object under commits/, or those of some takes where they are there, readable or not, in no set order."""

    def read(path: str) -> CommitRead | None:
        spec_key = layout.parse_commit_path(path)
        if spec_key is None:
            return CommitRead(path, None, None, CommitMisplaced(f"{path} is not the name of a commit"))
        try:
            return CommitRead(path, spec_key, parse(spec_key, store.read(path)), None)
        except (CommitUnreadable, CommitNewer) as error:
            return CommitRead(path, spec_key, None, error)
        except NotFound:  # forgotten since the listing
            return None

    if spec_keys is None:
        paths = (found.path for found in store.list(layout.COMMITS) if not layout.is_damaged_path(found.path))
    else:
        paths = (layout.commit_path(key) for key in spec_keys)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="rushes-commits") as pool:
        while batch := list(islice(paths, 1000)):  # a pool's own map would read all names and hold all commits
            yield from (found for found in pool.map(read, batch) if found is not None)


def parse(spec_key: str, data: bytes) -> dict[str, Any]:
    """A commit's content, checked. CommitUnreadable for what is no commit of this take, whatever it is.

    CommitNewer for one of a newer format.
    """
    path = layout.commit_path(spec_key)
    try:
        commit = strict.read_object(data)
        if type(commit.get("format")) is not int or commit["format"] < 1:
            raise ValueError("no commit")
        if commit["format"] > FORMAT:
            raise CommitNewer(f"{path} has format {commit['format']}, newer than {FORMAT}: use a newer rushes")
        if commit.get("spec_key") != spec_key:
            raise CommitMisplaced(f"{path} names another spec_key")
        _check(commit, _FIELDS | {"format": int, "owner": str}, _OPTIONAL)
        _check(commit["media"], _STORED_MEDIA, set())
    except ValueError as error:
        raise CommitUnreadable(f"{path}: {error}") from error
    return commit


def _check(found: Mapping[str, Any], fields: Mapping[str, type | tuple[type, ...]], optional: set[str]) -> None:
    missing, more = fields.keys() - found.keys(), found.keys() - fields.keys() - optional
    if missing or more:
        raise ValueError(f"missing: {sorted(missing)}, not known: {sorted(more)}")
    for key, kind in fields.items():
        if not isinstance(found[key], kind) or isinstance(found[key], bool):
            raise ValueError(f"{key} is {type(found[key]).__name__}")
        if isinstance(found[key], int | float) and not _is_possible(key, found[key]):
            raise ValueError(f"{key} is {str(found[key])[:40]}")
    for key in sorted(optional & _OPTIONAL & found.keys()):
        if not isinstance(found[key], dict):
            raise ValueError(f"{key} is {type(found[key]).__name__}")


def _is_possible(key: str, number: float) -> bool:
    """Whether a number is one that rendering can give, and that tables hold; a seed may be below 0."""
    if key == "seed":
        return -strict.MOST - 1 <= number <= strict.MOST
    return strict.is_amount(number) and number <= _MOST.get(key, strict.MOST)


def _hashes(film: Path) -> tuple[int, str, str]:
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with film.open("rb") as source:
        while chunk := source.read(2**20):
            sha256.update(chunk)
            md5.update(chunk)
            size += len(chunk)
    return size, sha256.hexdigest(), md5.hexdigest()
