"""Stores that do not do what the guarantees rest on are refused; the named fallback is recorded."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from infra.store import Store, StoreOptions, open_store
from infra.store.errors import Changed, Exists, StoreRefused, StoreUnavailable
from infra.store.probe import read_format

EXCLUSIVE = StoreOptions(conditional_put="exclusive-writer")


class ForgetfulFileSystem(MemoryFileSystem):
    """Ignores mode="create", as many S3 look-alikes ignore If-None-Match."""

    protocol: ClassVar[str] = "forgetful"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        super().pipe_file(path, value, mode="overwrite", **kwargs)


class RacyFileSystem(MemoryFileSystem):
    """Looks, waits and writes: right when asked twice in turn, wrong when asked by two at once."""

    protocol: ClassVar[str] = "racy"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        if mode == "create" and self.exists(path):
            raise FileExistsError(path)
        time.sleep(0.05)
        super().pipe_file(path, value, mode="overwrite", **kwargs)


class PlainFileSystem(MemoryFileSystem):
    """Knows no mode="create", as most file systems of fsspec."""

    protocol: ClassVar[str] = "plain"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        if mode == "create":
            raise NotImplementedError
        super().pipe_file(path, value, mode="overwrite", **kwargs)


class GoneError(Exception):
    """What a library raises that does not know OSError."""


class GoneFileSystem(MemoryFileSystem):
    """Its server answers the third time."""

    protocol: ClassVar[str] = "gone"
    asked: ClassVar[int] = 0

    def cat_file(self, *args: Any, **kwargs: Any) -> bytes:
        GoneFileSystem.asked += 1
        if GoneFileSystem.asked < 3:
            raise GoneError("no route to host")
        return b"content"


@pytest.fixture(autouse=True)
def _file_systems() -> Iterator[None]:
    for kind in (ForgetfulFileSystem, RacyFileSystem, PlainFileSystem, GoneFileSystem):
        fsspec.register_implementation(kind.protocol, kind, clobber=True)
    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


def test_a_good_store_is_accepted_and_marked(store: Store) -> None:
    found = store.probe()
    assert (found.format, found.conditional_put, found.checksums_verified) == (1, "required", True)
    assert [stat.path for stat in store.list()] == ["rushes.json"], "nothing else is left behind"
    before = store.read("rushes.json")
    store.probe()
    assert store.read("rushes.json") == before
    assert json.loads(before)["conditional_put"] == "required"


def test_a_folder_keeps_nothing_but_its_lock(tmp_path: Path) -> None:
    open_store(tmp_path / "store").probe()
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [".rushes-lock", "rushes.json"]


@pytest.mark.parametrize(
    ("protocol", "says"),
    [("forgetful", "created twice"), ("racy", "writers at once"), ("plain", "NotImplementedError")],
)
def test_a_store_without_conditional_puts_is_refused_by_name(protocol: str, says: str) -> None:
    store = open_store(f"{protocol}://store")
    with pytest.raises(StoreRefused, match=says) as refused:
        store.probe()
    assert 'store.conditional_put = "exclusive-writer"' in str(refused.value)
    assert list(store.list()) == [], "it was not marked as a store"


def test_errors_of_a_library_s_own_are_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GoneFileSystem, "asked", 0)
    with pytest.raises(StoreUnavailable, match="GoneError: no route to host"):
        open_store("gone://store", StoreOptions(retry_s=0)).read("a")
    monkeypatch.setattr(GoneFileSystem, "asked", 1)
    assert open_store("gone://store", StoreOptions(retry_s=30)).read("a") == b"content", "it is asked again"


def test_the_fallback_is_recorded_and_binds_everybody() -> None:
    store = open_store("forgetful://store", EXCLUSIVE)
    assert store.probe().conditional_put == "exclusive-writer"
    assert json.loads(store.read("rushes.json"))["conditional_put"] == "exclusive-writer"
    with pytest.raises(StoreRefused, match="must agree"):
        open_store("forgetful://store").probe()
    tag = store.create("commits/a", b"one")
    with pytest.raises(Exists):
        store.create("commits/a", b"two")
    tag = store.replace("commits/a", b"two", tag)
    store.write("commits/a", b"three")
    with pytest.raises(Changed):
        store.replace("commits/a", b"four", tag)
    store.delete("commits/a")
    with pytest.raises(Changed):
        store.replace("commits/a", b"four", tag)


def test_a_store_that_needs_no_fallback_is_not_weakened(store: Store) -> None:
    store.probe()
    weak = open_store(store.url, store.options.model_copy(update={"conditional_put": "exclusive-writer"}))
    with pytest.raises(StoreRefused, match=r"must agree|does not"):
        weak.probe()


@pytest.mark.parametrize(
    "content", [b'{"format": 2, "conditional_put": "required"}', b"{}", b"not JSON", b"[]", b'{"format": 1}']
)
def test_a_newer_or_strange_format_is_refused_before_anything_is_written(store: Store, content: bytes) -> None:
    store.write("rushes.json", content)
    with pytest.raises(StoreRefused, match=r"newer rushes|not what rushes writes"):
        store.probe()
    with pytest.raises(StoreRefused):
        read_format(store)
    assert [stat.path for stat in store.list()] == ["rushes.json"]


def test_a_later_format_is_told_whatever_else_stands_there(store: Store) -> None:
    store.write("rushes.json", b'{"format": 99, "conditional_put": null}')
    with pytest.raises(StoreRefused, match="use a newer rushes"):
        read_format(store)


def test_looking_writes_nothing(store: Store) -> None:
    assert read_format(store) is None
    assert list(store.list()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StoreRefused):
        open_store(tmp_path / "file").probe()


def test_a_full_disk_is_the_farms_fault() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    from infra.store.local import _mapped

    with pytest.raises(StoreUnavailable, match="No space left"), _mapped("write", "shots/film"):
        full.write_bytes(b"x")


def test_a_probe_that_fails_tells_its_own_error_and_not_that_of_tidying_up(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "at all")
    with pytest.raises(StoreRefused, match=f"{tmp_path}/link cannot be written to: write"):
        open_store(tmp_path / "link").probe()
