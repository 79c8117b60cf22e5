"""Garbage collection removes what nobody will ask for again, and nothing that a commit names or may yet name."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from infra.store import Stat, Store, jobs, layout, open_store
from infra.store.commits import publish, window_s
from infra.store.gc import SET_ASIDE_S, Collected, collect
from infra.store.lease import Lease, Owner
from infra.store.temporaries import LEAST_S
from infra.store.verify import audit
from tests.infra.conftest import RecordOf
from tests.servers.seaweedfs import SeaweedFS

KEY, OTHER = "a" * 64, "f" * 64
DAY = 86_400.0
LATER_STILL = -60.0
"""In place of an age: everything is old enough, also by a clock that tells whole seconds."""


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    """A store on a folder, where objects can be made old."""
    return open_store(tmp_path / "store")


def put(store: Store, path: str, *, age_s: float = DAY, data: bytes = b"bytes") -> str:
    """An object of some age."""
    store.write(path, data)
    file, then = Path(store.url.removeprefix("file://")) / path, time.time() - age_s
    os.utime(file, (then, then))
    return path


def film(shot: str = "z", digits: str = "0", take: int = 1) -> str:
    return layout.media_path("default", shot, "0011aabb", take, digits * 64)


def plan(store: Store, job_id: str, *rows: tuple[str, int, str | None]) -> None:
    """A job that has to render these takes: (shot, take, key)."""
    shots, takes, keys = zip(*rows, strict=True)
    columns = {"show": ["default"] * len(rows), "shot_id": shots, "revision": ["0011aabb"] * len(rows), "take": takes}
    jobs.put_plan(store, job_id, pa.table({**columns, "spec_key": pa.array(keys, pa.string())}))


def hold(store: Store, job_id: str, *, alive: bool = True) -> Lease:
    """A job's lease, held by this process or by one that has ended."""
    owner = Owner.this_process()
    lease = Lease.acquire(store, job_id, owner if alive else replace(owner, start_time=owner.start_time - 3600))
    assert isinstance(lease, Lease)
    return lease


def paths(found: Collected) -> set[str]:
    return {removed.path for removed in found.removed}


def everything(store: Store) -> dict[str, bytes]:
    return {found.path: store.read(found.path) for found in store.list()}


def test_what_nobody_names_is_removed_and_what_a_commit_names_stays(
    store: Store, film: Path, record_of: RecordOf
) -> None:
    store.probe()
    commit = publish(store, local=film, record=record_of()).commit
    store.write(layout.poster_path(commit["spec_key"]), b"jpeg")
    kept = everything(store)
    stray = layout.media_path("default", "a", "0011aabb", 1, OTHER)
    store.write_file(stray, film)
    garbage = {stray, layout.poster_path(OTHER), layout.damaged_path(OTHER, OTHER), "damaged/x.1.json"}
    garbage |= {"rushes-probe/0/create", layout.piece_path("job", commit["spec_key"], "keys"), "jobs/job/cancel.json"}
    for path in garbage - {stray}:
        store.write(path, b"old")
    before = everything(store)
    told = collect(store, older_than_s=LATER_STILL, dry_run=True)
    assert everything(store) == before, "a dry run writes nothing"
    done = collect(store, older_than_s=LATER_STILL)
    assert paths(told) == paths(done) == garbage
    assert {found.path: found.reason for found in done.removed} == {
        stray: "orphan-media",
        layout.poster_path(OTHER): "orphan-poster",
        "jobs/job/cancel.json": "stale-request",
        layout.damaged_path(OTHER, OTHER): "set-aside",
        "damaged/x.1.json": "set-aside",
        "rushes-probe/0/create": "temporary",
        layout.piece_path("job", commit["spec_key"], "keys"): "pieces",
    }
    assert done.bytes == film.stat().st_size + 3 * 6
    assert everything(store) == kept
    assert audit(store, strict=True) == (1, [], [], [])
    assert collect(store, older_than_s=LATER_STILL).removed == []


def test_an_object_younger_than_the_longest_lease_stays(folder: Store) -> None:
    young, old = put(folder, film(digits="1"), age_s=20), put(folder, film(digits="2"), age_s=40)
    assert paths(collect(folder, dry_run=True)) == {old}
    assert paths(collect(folder, lapse_s=60, dry_run=True)) == set()
    with_lease = Lease.acquire(folder, "slow", lapse_s=90.0)
    assert isinstance(with_lease, Lease)
    found = collect(folder, dry_run=True)
    assert (paths(found), found.kept, found.older_than_s) == (set(), 2, 90.0)
    assert paths(collect(folder, older_than_s=0, dry_run=True)) == {young, old}


def test_a_film_whose_commit_may_still_come_stays(folder: Store) -> None:
    plan(folder, "job", ("z", 1, KEY), ("later", 1, None))
    waiting, duplicate = put(folder, film()), put(folder, film("other"))
    resolved_later = put(folder, film("later"))
    lease = hold(folder, "job")
    assert paths(collect(folder, older_than_s=0, dry_run=True)) == {duplicate}, "a living job has to render them"
    lease.release("failed", 4)
    assert paths(collect(folder, dry_run=True)) == {waiting, duplicate, resolved_later}
    soon = time.time() - window_s(folder.options) / 2
    os.utime(Path(folder.url.removeprefix("file://")) / waiting, (soon, soon))
    assert paths(collect(folder, dry_run=True)) == {duplicate, resolved_later}, "a killed job's finisher may commit it"
    assert waiting in paths(collect(folder, older_than_s=0, dry_run=True))


def test_a_job_whose_owner_was_killed_holds_nothing_for_ever(folder: Store) -> None:
    plan(folder, "job", ("z", 1, KEY))
    waiting = put(folder, film())
    hold(folder, "job", alive=False)
    assert paths(collect(folder)) == {waiting}


def test_a_lease_that_cannot_be_read_may_be_that_of_a_living_job(folder: Store) -> None:
    plan(folder, "job", ("z", 1, KEY))
    put(folder, film())
    put(folder, layout.lease_path("job"), data=b"{")
    assert paths(collect(folder)) == set()


def test_what_a_living_job_with_an_unreadable_plan_wants_is_not_known(folder: Store) -> None:
    put(folder, film())
    put(folder, layout.plan_path("job"), data=b"no Parquet")
    lease = hold(folder, "job")
    assert paths(collect(folder)) == set()
    lease.release("failed", 4)
    assert paths(collect(folder)) == {film()}


class Lagging(Store):
    """A store whose listings do not show the newest commits yet."""

    def list(self, prefix: str = "") -> Iterator[Stat]:
        return (found for found in super().list(prefix) if not found.path.startswith(layout.COMMITS))


def test_a_listing_that_lags_costs_no_film(folder: Store, tmp_path: Path, record_of: RecordOf) -> None:
    local = tmp_path / "film"
    local.write_bytes(b"film")
    commit = publish(folder, local=local, record=record_of()).commit
    put(folder, layout.poster_path(commit["spec_key"]))
    put(folder, layout.piece_path("job", commit["spec_key"], "keys"))
    plan(folder, "job", ("a", 1, commit["spec_key"]))
    path = put(folder, commit["media"]["path"], data=b"film")
    stale = Lagging(folder.url)
    assert path in audit(stale).orphans, "the listing does lag"
    assert paths(collect(stale)) == {layout.piece_path("job", commit["spec_key"], "keys")}
    assert audit(folder) == (1, [], [], [])


def test_a_commit_of_a_later_format_keeps_all_films(folder: Store) -> None:
    put(folder, film())
    put(folder, layout.poster_path(OTHER))
    put(folder, layout.commit_path(KEY), data=json.dumps({"format": 2}).encode())
    found = collect(folder)
    assert (found.removed, found.kept) == ([], 2)


def test_a_commit_that_cannot_be_read_keeps_the_films_that_it_speaks_of(folder: Store) -> None:
    kept, gone = put(folder, film(digits="1")), put(folder, film(digits="2"))
    put(folder, layout.commit_path(KEY), data=json.dumps({"format": 1, "media": {"path": kept}}).encode()[:-1])
    assert paths(collect(folder)) == {gone}


def test_pieces_stay_until_their_take_is_settled(folder: Store) -> None:
    plan(folder, "job", ("z", 1, KEY), ("y", 1, OTHER))
    pending, given_up = (put(folder, layout.piece_path("job", key, "keys")) for key in (KEY, OTHER))
    unknown = put(folder, layout.piece_path("job", "b" * 64, "keys"))
    planless = put(folder, layout.piece_path("gone", KEY, "keys"))
    record = {"show": "default", "shot_id": "y", "take": 1, "spec_key": OTHER, "round": 1}
    jobs.record_quarantine(folder, "job", record)
    lease = hold(folder, "job")
    assert paths(collect(folder, dry_run=True)) == {planless}, "a job that runs may go on with them"
    lease.release("done", 1)
    assert paths(collect(folder, dry_run=True)) == {given_up, unknown, planless}
    jobs.open_round(folder, "job")
    assert paths(collect(folder)) == {unknown, planless}, "a new round goes on with what is there"
    assert folder.stat(pending) is not None and folder.stat(given_up) is not None


def test_bytes_of_damaged_commits_stay_for_a_week(folder: Store) -> None:
    old = put(folder, "damaged/x.1.json", age_s=SET_ASIDE_S + 60)
    young = put(folder, layout.damaged_path(KEY, OTHER), age_s=SET_ASIDE_S - 60)
    assert paths(collect(folder)) == {old}
    assert paths(collect(folder, older_than_s=3600)) == {young}


def test_what_killed_writers_left_goes_with_the_rest(folder: Store, tmp_path: Path) -> None:
    put(folder, "shots/default/z/keep", age_s=DAY)
    left = Path(folder.url.removeprefix("file://")) / "shots/default/z/.rushes-0.tmp"
    left.write_bytes(b"half")
    assert paths(collect(folder)) == set(), "it may be somebody's at this moment"
    os.utime(left, (time.time() - LEAST_S / 2,) * 2)
    assert paths(collect(folder, older_than_s=0)) == set(), "no age that is asked for makes it less so"
    os.utime(left, (time.time() - LEAST_S - 60,) * 2)
    found = collect(folder)
    assert [(gone.bytes, gone.reason) for gone in found.removed] == [(4, "temporary")]
    assert not left.exists() and folder.stat("shots/default/z/keep"), "and what is not ours is left alone"


def test_what_a_running_job_is_writing_stays_however_long_it_takes(folder: Store) -> None:
    plan(folder, "job", ("z", 1, KEY))
    lease, root = hold(folder, "job"), Path(folder.url.removeprefix("file://"))

    def left(*folders: str) -> set[str]:
        for name in folders:
            hidden = root / name / ".rushes-0.tmp"
            hidden.parent.mkdir(parents=True, exist_ok=True)
            hidden.write_bytes(b"half")
            os.utime(hidden, (time.time() - DAY,) * 2)
        return {f"{name}/.rushes-0.tmp" for name in folders}

    its = left("shots/default/z", "jobs/job", "jobs/job/quarantine", "commits/aa")
    others = left("shots/default/y", "jobs/another", "logs/default/z")
    assert paths(collect(folder, older_than_s=0, dry_run=True)) == others
    put(folder, layout.plan_path("job"), data=b"no Parquet")
    assert paths(collect(folder, older_than_s=0)) == others - {"shots/default/y/.rushes-0.tmp"}
    lease.release("failed", 4)
    assert paths(collect(folder)) == its | {"shots/default/y/.rushes-0.tmp"}


def test_an_upload_of_a_living_job_is_not_ended(s3: SeaweedFS, s3_store: Store) -> None:
    plan(s3_store, "job", ("z", 1, KEY))
    lease = hold(s3_store, "job")
    prefix = s3_store.url.removeprefix(f"s3://{s3.bucket}/")
    s3.client().create_multipart_upload(Bucket=s3.bucket, Key=f"{prefix}/{film()}")
    assert [found.path for found in s3_store.leftovers()] == [film()]
    assert paths(collect(s3_store, older_than_s=LATER_STILL)) == set()
    lease.release("failed", 4)
    assert paths(collect(s3_store, older_than_s=LATER_STILL)) == {film()}
    assert list(s3_store.leftovers()) == []


Change = Callable[[Store, str], Any]


@pytest.mark.parametrize(
    "change",
    [lambda store, path: store.write(path, b"again"), lambda store, path: store.delete(path)],
    ids=["written again", "gone"],
)
def test_each_object_is_looked_at_once_more(folder: Store, change: Change) -> None:
    """Between the listing and its turn somebody renders the take again, or removes it."""
    path = put(folder, film())

    class Meanwhile(Store):
        def delete_unchanged(self, found: Stat) -> bool:
            change(folder, path)
            return super().delete_unchanged(found)

    found = collect(Meanwhile(folder.url))
    assert (found.removed, found.kept) == ([], 1)


def test_a_film_that_is_put_again_at_that_very_moment_stays(
    folder: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process renders the take again, and puts its film while the old one is looked at and removed."""
    local = tmp_path / "film"
    local.write_bytes(b"bytes")
    path = put(folder, film())
    unlink, threads = Path.unlink, list[threading.Thread]()

    def later(self: Path, missing_ok: bool = False) -> None:
        if self.name == Path(path).name and not threads:
            threads.append(threading.Thread(target=folder.write_file, args=(path, local)))
            threads[0].start()
            threads[0].join(0.5)
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", later)
    collect(Store(folder.url))
    threads[0].join()
    assert folder.read(path) == b"bytes"
