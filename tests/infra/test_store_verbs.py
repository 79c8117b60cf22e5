"""Every verb on a folder and on S3: what it promises alone, and when many do it at once."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from infra.store import Store, open_store
from infra.store.errors import Changed, ContentMismatch, Exists, NotFound

WRITERS = 16


def outcome(call: Callable[[], object], lost: type[Exception]) -> bool:
    try:
        call()
    except lost:
        return False
    return True


def test_what_is_written_is_read(store: Store) -> None:
    store.write("jobs/a/board.html", b"one")
    store.write("jobs/a/board.html", b"two")
    assert store.read("jobs/a/board.html") == b"two"
    found = store.stat("jobs/a/board.html")
    assert found is not None
    assert (found.path, found.size) == ("jobs/a/board.html", 3)
    assert found.modified.utcoffset() is not None


def test_empty_objects_are_objects(store: Store) -> None:
    store.create("logs/empty", b"")
    assert store.read("logs/empty") == b""
    with pytest.raises(Exists):
        store.create("logs/empty", b"")


def test_what_is_not_there(store: Store, tmp_path: Path) -> None:
    assert store.stat("a/b") is None
    assert list(store.list("a")) == []
    assert list(store.folders("a")) == []
    store.delete("a/b")
    for call in (store.read, store.read_tagged, store.digest):
        with pytest.raises(NotFound):
            call("a/b")
    with pytest.raises(NotFound):
        store.fetch("a/b", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    with pytest.raises(Changed):
        store.replace("a/b", b"x", "some tag")


def test_create_and_replace(store: Store) -> None:
    tag = store.create("lease", b"one")
    with pytest.raises(Exists):
        store.create("lease", b"two")
    assert store.read_tagged("lease") == (b"one", tag)
    newer = store.replace("lease", b"three", tag)
    with pytest.raises(Changed):
        store.replace("lease", b"four", tag)
    assert store.read_tagged("lease") == (b"three", newer)


def test_many_create_one_object_and_one_wins(store: Store) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        won = list(pool.map(lambda i: outcome(lambda: store.create("a", b"by %d" % i), Exists), range(WRITERS)))
    assert won.count(True) == 1
    assert store.read("a") == b"by %d" % won.index(True)


def test_many_replace_one_object_and_one_wins(store: Store) -> None:
    tag = store.create("manifest", b"start")
    with ThreadPoolExecutor(WRITERS) as pool:
        won = list(
            pool.map(lambda i: outcome(lambda: store.replace("manifest", b"by %d" % i, tag), Changed), range(WRITERS))
        )
    assert won.count(True) == 1
    assert store.read("manifest") == b"by %d" % won.index(True)


def test_a_counter_raised_by_many_loses_nothing(store: Store) -> None:
    store.create("counter", b"0")

    def add_one(_: int) -> None:
        while True:
            data, tag = store.read_tagged("counter")
            if outcome(partial(store.replace, "counter", b"%d" % (int(data) + 1), tag), Changed):
                return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add_one, range(8)))
    assert store.read("counter") == b"8"


def test_readers_never_see_half_a_write(store: Store) -> None:
    contents = [bytes([65 + i]) * 200_000 for i in range(2)]
    store.write("object", contents[0])

    def read(_: int) -> bool:
        return store.read("object") in contents

    with ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(store.write, "object", contents[i % 2]) for i in range(20)]
        assert all(pool.map(read, range(20)))
        assert all(write.result() for write in writes)


def test_listing_is_fresh_and_complete(store: Store, tmp_path: Path) -> None:
    other = pickle.loads(pickle.dumps(store))
    assert list(store.list("shots")) == []
    paths = {f"shots/show/{shot}/film-{i}.mp4" for shot in "abc" for i in range(4)}
    for path in paths:
        other.write(path, b"x")
    other.write("shots-not/a", b"x")
    assert {found.path for found in store.list("shots")} == paths
    assert {found.path for found in store.list("shots/")} == paths
    assert {found.path for found in store.list("shots/show/b")} == {path for path in paths if "/b/" in path}
    assert set(store.folders("shots/show")) == {"a", "b", "c"}
    assert {found.path for found in store.list()} == {*paths, "shots-not/a"}
    other.delete("shots/show/a/film-0.mp4")
    assert "shots/show/a/film-0.mp4" not in {found.path for found in store.list("shots")}


@pytest.mark.parametrize("size", [0, 1, 100_000, 33 * 2**20])
def test_files_go_up_and_come_down(store: Store, tmp_path: Path, size: int) -> None:
    local = tmp_path / "film"
    local.write_bytes(os.urandom(min(size, 2**20)) * (size // 2**20 or 1))
    data = local.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    store.write_file("shots/film", local, sha256=sha256, md5=hashlib.md5(data).hexdigest())
    assert store.digest("shots/film") == (len(data), sha256)
    store.fetch("shots/film", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    assert [found.size for found in store.list("shots")] == [len(data)]


@pytest.mark.parametrize("size", [1000, 33 * 2**20])
def test_a_file_that_is_not_what_was_hashed_is_never_visible(store: Store, tmp_path: Path, size: int) -> None:
    local = tmp_path / "film"
    local.write_bytes(bytes(size))
    with pytest.raises(ContentMismatch):
        store.write_file("shots/film", local, sha256="0" * 64)
    assert store.stat("shots/film") is None
    assert store.sweep(0) == 0, "nothing is left open"


def test_a_store_travels_to_other_processes(store: Store) -> None:
    store.write("a", b"from here")
    with multiprocessing.get_context("fork").Pool(1) as pool:  # the connection made here must not be used there
        assert pool.apply(_read_and_answer, (store,)) == b"from here"
    assert store.read("answer") == b"from there"
    assert pickle.loads(pickle.dumps(store)).read("answer") == b"from there"


def _read_and_answer(store: Store) -> bytes:
    store.write("answer", b"from there")
    return store.read("a")


@pytest.mark.parametrize(
    "path", ["", "/a", "../a", "a/../b", "a//b", "./a", "a/", "a?versionId=1", "a\\b", "a\nb", ".rushes-lock"]
)
def test_paths_that_lead_elsewhere_are_refused(tmp_path: Path, path: str) -> None:
    store = open_store(tmp_path)
    with pytest.raises(ValueError, match="not a path inside a store"):
        store.write(path, b"x")
    assert list(tmp_path.iterdir()) == []


def test_an_exception_while_a_file_is_read_commits_nothing(store: Store, tmp_path: Path) -> None:
    """Writing through an open stream would commit the half; the store has no such verb, and a folder is no film."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        store.write_file("shots/film", tmp_path / "folder")
    with pytest.raises(OSError, match="gone"):
        store.write_file("shots/film", tmp_path / "gone")
    assert list(store.list()) == []


def test_deleting_leaves_no_empty_folders(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    store.write("a/b/c/one", b"x")
    store.write("a/two", b"x")
    store.delete("a/b/c/one")
    assert sorted(path.name for path in (tmp_path / "store" / "a").iterdir()) == ["two"]


def test_memory_and_other_file_systems(tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    assert store.probe().conditional_put == "required"
    tag = store.create("commits/a", b"one")
    with pytest.raises(Exists):
        store.create("commits/a", b"two")
    store.replace("commits/a", b"two", tag)
    with pytest.raises(Changed):
        store.replace("commits/a", b"three", tag)
    (tmp_path / "film").write_bytes(b"film")
    store.write_file("shots/film", tmp_path / "film")
    assert {found.path for found in store.list()} == {"rushes.json", "commits/a", "shots/film"}
    assert list(store.folders("shots")) == []
    store.fetch("shots/film", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"film"
    store.delete("shots/film")
    store.delete("shots/film")
    assert store.stat("shots/film") is None
