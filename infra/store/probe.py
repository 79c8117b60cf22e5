"""The probe at start: does this store do what the guarantees rest on? And the store's format file, `rushes.json`."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from infra.store.errors import Changed, Exists, NotFound, StoreError, StoreRefused
from infra.store.strict import read_object
from infra.store.types import Backend, StoreProbe

if TYPE_CHECKING:
    from infra.store.store import Store

FORMAT = 1
FORMAT_PATH = "rushes.json"
FOLDER = "rushes-probe"
_WRITERS = 8
_FALLBACK = (
    'use a server that does, or set store.conditional_put = "exclusive-writer", by which you promise that one process '
    "at a time writes to this store"
)


def read_format(store: Store) -> dict[str, Any] | None:
    """The content of rushes.json, or None in a store that nobody has written to. Writes nothing.

    StoreRefused where it is unreadable, newer than this program, or asks for another conditional_put.
    """
    try:
        data = store.read(FORMAT_PATH)
    except NotFound:
        return None
    try:
        content = read_object(data)
        found = content["format"]
        if type(found) is not int or found < 1:
            raise ValueError(f"format {found!r}")
        if found > FORMAT:  # what else stands there is not known here
            raise StoreRefused(f"{store.url} has format {found}, this rushes knows up to {FORMAT}: use a newer rushes")
        mode = str(content["conditional_put"])
    except (ValueError, KeyError) as error:
        raise StoreRefused(f"{store.url}/{FORMAT_PATH} is not what rushes writes there: {error}") from error
    if mode != store.options.conditional_put:
        raise StoreRefused(
            f'{store.url} is used with store.conditional_put = "{mode}", and the settings say '
            f'"{store.options.conditional_put}": all who use a store must agree'
        )
    return dict(content)


def probe(store: Store, backend: Backend) -> StoreProbe:
    """See `Store.probe`."""
    started = time.monotonic()
    content = read_format(store)
    folder = f"{FOLDER}/{uuid.uuid4().hex}"
    names = [f"{folder}/{name}" for name in ("create", "race", "checksum")]
    try:
        _writes_and_lists(store, names[0])
        if store.options.conditional_put == "required":
            try:
                _creates_once(store, names[0])
                if content is None:  # a store that was accepted once is not put through the race again
                    _creates_once_in_a_race(store, names[1])
                _replaces_once(store, names[0])
            except _Unconditional as found:
                raise StoreRefused(f"{store.url}: no conditional puts: {found}; {_FALLBACK}") from found.__cause__
        verified = backend.verifies_checksums(names[2])
    except BaseException as error:
        with suppress(StoreError):  # what went wrong first is what counts
            _sweep(backend, names)
        if isinstance(error, NotFound):
            raise StoreRefused(f"{store.url} cannot be written to: {error}") from error
        raise
    _sweep(backend, names)
    if content is None:
        content = _write_format(store)
    mode = store.options.conditional_put
    return StoreProbe(store.url, int(content["format"]), mode, verified, time.monotonic() - started)


def _sweep(backend: Backend, names: list[str]) -> None:
    for name in names:
        backend.delete(name)


class _Unconditional(Exception):
    pass


def _writes_and_lists(store: Store, name: str) -> None:
    store.write(name, b"first")
    if store.read(name) != b"first" or [found.path for found in store.list(name.rsplit("/", 1)[0])] != [name]:
        raise StoreRefused(f"{store.url}: what was just written is not read back or not listed: not a consistent store")


def _creates_once(store: Store, taken: str) -> None:
    if _wins(lambda: store.create(taken, b"second"), Exists) or store.read(taken) != b"first":
        raise _Unconditional("an object could be created twice")


def _creates_once_in_a_race(store: Store, contested: str) -> None:
    with ThreadPoolExecutor(_WRITERS) as pool:
        writes = [partial(store.create, contested, b"writer %d" % i) for i in range(_WRITERS)]
        attempts = [pool.submit(_wins, write, Exists) for write in writes]
        winners = sum(attempt.result() for attempt in attempts)
    if winners > 1:  # none at all is a lost reply, and harmless
        raise _Unconditional(f"{winners} of {_WRITERS} writers at once created the same object")


def _replaces_once(store: Store, name: str) -> None:
    _, first = store.read_tagged(name)
    if not _wins(lambda: store.replace(name, b"replaced", first), Changed) and store.read(name) != b"replaced":
        raise _Unconditional("an object could not be replaced under its own tag")
    if _wins(lambda: store.replace(name, b"stale", first), Changed) or store.read(name) != b"replaced":
        raise _Unconditional("an object could be replaced under a tag that it no longer had")


def _wins(attempt: Callable[[], object], lost: type[Exception]) -> bool:
    try:
        attempt()
    except lost:
        return False
    except StoreRefused as error:  # "not implemented" is an answer too
        raise _Unconditional(str(error)) from error
    return True


def _write_format(store: Store) -> dict[str, Any]:
    content = {
        "format": FORMAT,
        "conditional_put": store.options.conditional_put,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        store.create(FORMAT_PATH, json.dumps(content, indent=1).encode())
    except Exists:  # another process was first, or our reply was lost: what stands there counts
        found = read_format(store)
        if found is None:
            raise StoreRefused(f"{store.url}/{FORMAT_PATH} came and went while it was looked at") from None
        return found
    return content
