"""Records of deliverables: what stands when two runs make the same one, and what goes with an old one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.deliver.errors import DeliverError
from infra.deliver.make import Made
from infra.deliver.records import put
from infra.deliver.run import _marked
from infra.deliver.work import Job
from infra.provenance import Invalid
from infra.store import Store, open_store
from tests.post.deliveries import grey_film, job_of, profile

FOLDER = "deliver/small/s/a"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return job_of(grey_film(tmp_path_factory.mktemp("film") / "take.mp4", frames=4), profile())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(tmp_path / "store")
    store.probe()
    return store


def files(folder: Path, who: str, *more: str) -> Made:
    own = folder / who
    own.mkdir()
    paths = [own / name for name in ("made.mp4", *more)]
    for path in paths:
        path.write_text(f"{path.name} of {who}")
    return Made(own, paths, {})


def run(
    store: Store, job: Job, made: Made, read_back: Callable[[], object] = lambda: None
) -> dict[str, Any]:  # fmt: skip
    return put(store, FOLDER, job, made, made.folder.name, {}, read_back)


def sound(store: Store) -> str:
    """Whose record stands; each file that it names must be what it says."""
    record = json.loads(store.read(f"{FOLDER}/made.json"))
    for file in record["files"]:
        assert store.digest(file["path"]) == (file["bytes"], file["sha256"])
    return str(record["key"])


def test_a_run_that_reads_anothers_file_leaves_it_alone(tmp_path: Path, store: Store, job: Job) -> None:
    def other() -> None:
        run(store, job, files(tmp_path, "b"))
        raise Invalid("another manifest")

    with pytest.raises(DeliverError, match=r"made\.json is made by another run meanwhile"):
        run(store, job, files(tmp_path, "a"), other)
    assert sound(store) == "b"


def test_of_two_at_once_the_record_names_what_lies_there(tmp_path: Path, store: Store, job: Job) -> None:
    run(store, job, files(tmp_path, "a"), lambda: run(store, job, files(tmp_path, "b", "made.srt")))
    assert sound(store) == "a"
    assert {found.path for found in store.list("deliver")} == {f"{FOLDER}/made.mp4", f"{FOLDER}/made.json"}


def test_a_record_that_comes_between_the_look_and_ours_is_seen(
    tmp_path: Path, store: Store, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Store.create

    def late(self: Store, path: str, data: bytes) -> str:
        monkeypatch.setattr(Store, "create", create)
        run(store, job, files(tmp_path, "b"))
        return create(self, path, data)

    monkeypatch.setattr(Store, "create", late)
    run(store, job, files(tmp_path, "a"))
    assert sound(store) == "a"


def test_what_fails_to_be_read_back_is_removed(tmp_path: Path, store: Store, job: Job) -> None:
    def fails() -> None:
        raise Invalid("no")

    with pytest.raises(Invalid):
        run(store, job, files(tmp_path, "a"), fails)
    assert not list(store.list("deliver"))


def test_files_of_the_old_record_go_with_it_and_nothing_else(tmp_path: Path, store: Store, job: Job) -> None:
    old = run(store, job, files(tmp_path, "a", "made.de.srt"))
    store.write("deliver/other.mp4", b"x")
    for path in ("deliver/other.mp4", f"{FOLDER}/../../../other.mp4"):
        old["files"].append({"path": path})
    store.write(f"{FOLDER}/made.json", json.dumps(old).encode())
    run(store, job, files(tmp_path, "b"))
    assert sound(store) == "b"
    assert {found.path for found in store.list("deliver")} == {
        f"{FOLDER}/made.mp4", f"{FOLDER}/made.json", "deliver/other.mp4",
    }  # fmt: skip


def test_a_mark_in_a_cut_is_told_of_the_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace as Some

    told: list[Any] = []
    monkeypatch.setattr("infra.deliver.run.marked", lambda film, own, facts, *_, **__: told.append(facts) or film)
    item = Some(kind="cut", commits=[{"spec_key": "first"}], fields={"cut": "trailer"}, sha256="ab")
    ways = Some(provenance=None, tools=Some(ffmpeg=None))
    _marked(Some(item=item), ways, tmp_path / "f.mp4", tmp_path, Some(facts=lambda commit: commit))
    assert told == [{"cut": "trailer", "sha256": "ab"}]
