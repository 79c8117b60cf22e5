"""Odd names: of the store itself, and of what others put into it. Neither may lose a take or stop a verb."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from infra.store import Store, StoreOptions, layout, open_store
from infra.store.commits import publish, read_commit
from infra.store.errors import StoreRefused
from infra.store.gc import collect
from infra.store.location import locate
from infra.store.probe import FOLDER as PROBES
from infra.store.repair import move_aside
from infra.store.verify import audit
from tests.infra.conftest import RecordOf
from tests.servers.seaweedfs import SeaweedFS

EVERYTHING_S = -60.0
"""In place of an age: everything is old enough, also by a clock that tells whole seconds."""


@pytest.mark.parametrize("name", ["a%20b", "100%", "a#b", "a?b", "a b", "a+b&c=d;e", "Füße", "a\nb\t", "x::y"])
def test_a_folder_of_any_name_is_the_same_store_wherever_its_url_goes(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    there = locate("out")
    assert there.root == f"{tmp_path}/{name}/out"
    assert locate(there.url) == there, "what a worker is told"
    assert pickle.loads(pickle.dumps(open_store(there.url))) == open_store(there.url)


def test_percent_escapes_are_read_in_a_file_url_and_in_no_other() -> None:
    assert locate("file:///films/a%20b").root == "/films/a b"
    assert locate("/films/a%20b").root == "/films/a%20b"
    assert locate("s3://bucket/a%20b").root == "a%20b"
    for url in ("file:///films/%FF", "file:///films/%00", "s3://bucket/a\tb", "/films/\udcff"):
        with pytest.raises(StoreRefused):
            locate(url)


@pytest.mark.parametrize(("kind", "name"), [("file", "a%20b #1?"), ("s3", "a%20b 100%+c&d=e;Füße")])
def test_takes_go_round_in_a_store_of_any_name(
    kind: str, name: str, tmp_path: Path, s3: SeaweedFS, s3_options: StoreOptions, film: Path, record_of: RecordOf
) -> None:
    """Put, list, read, verify, collect."""
    store = open_store(tmp_path / name) if kind == "file" else open_store(f"{s3.bucket_url()}/{name}", s3_options)
    store = pickle.loads(pickle.dumps(store))
    store.probe()
    commit = publish(store, local=film, record=record_of()).commit
    orphan = layout.media_path("default", "z", "0011aabb", 1, "0" * 64)
    store.write(orphan, b"bytes")
    assert {commit["media"]["path"], orphan} <= {found.path for found in store.list()}
    assert read_commit(store, commit["spec_key"]) == commit
    assert audit(store) == (1, [], [orphan], [])
    assert [gone.path for gone in collect(store, older_than_s=EVERYTHING_S).removed] == [orphan]
    assert audit(store, strict=True) == (1, [], [], [])


STRANGE = (".DS_Store", "a b.txt", "a%20b.json", "a?b.json", "a#b", "100%", "notes.txt")


def plant(store: Store, s3: SeaweedFS | None, names: list[str]) -> list[str]:
    """Objects that no verb of ours could put."""
    for name in names:
        if s3 is None:
            path = Path(store.url.removeprefix("file://")) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"theirs")
        else:
            key = store.url.removeprefix(f"s3://{s3.bucket}/")
            s3.client().put_object(Bucket=s3.bucket, Key=f"{key}/{name}", Body=b"theirs")
    return names


def test_what_others_left_is_named_and_stops_neither_the_audit_nor_the_collection(
    store: Store, s3: SeaweedFS, film: Path, record_of: RecordOf
) -> None:
    store.probe()
    commit = publish(store, local=film, record=record_of()).commit
    orphan = layout.media_path("default", "z", "0011aabb", 1, "0" * 64)
    store.write(orphan, b"bytes")
    where = None if store.url.startswith("file") else s3
    folder = f"commits/{commit['spec_key'][:2]}"
    theirs = plant(store, where, [f"{tree}/{name}" for tree in ("commits", folder) for name in STRANGE])
    more = plant(store, where, ["shots/.DS_Store", "posters/Thumbs.db", "damaged/a?b.1.json", f"{PROBES}/a#b"])
    found = audit(store)
    assert found == (1, [], [orphan], sorted([*theirs, *more[:2]]))
    strict = audit(store, strict=True).faults
    assert [fault.path for fault in strict] == [orphan]
    assert move_aside(store, strict) == [], "repair leaves them alone"
    done = collect(store, older_than_s=EVERYTHING_S)
    assert [gone.path for gone in done.removed] == [orphan], "it goes on"
    assert done.foreign == sorted([*theirs, *more])
    assert {found.path for found in store.list()} >= {*theirs, *more}, "nothing of theirs is touched"


def test_what_cannot_be_read_is_not_even_opened(tmp_path: Path, film: Path, record_of: RecordOf) -> None:
    """A foreign file that may not be read, as a desktop's often may not, is no reason to stop either."""
    store = open_store(tmp_path / "store")
    commit = publish(store, local=film, record=record_of()).commit
    folder = tmp_path / "store/commits" / commit["spec_key"][:2]
    os.symlink(folder / "nowhere", folder / "link")  # as unreadable for root as for anybody
    (folder / "locked").mkdir()
    (folder / os.fsdecode(b"\xff.txt")).write_bytes(b"x")
    assert audit(store).faults == []
    assert collect(store, older_than_s=EVERYTHING_S).removed == []
