"""The audit finds each fault that is planted, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from infra.store import Store, jobs, layout, open_store
from infra.store.commits import publish
from infra.store.errors import StoreUnavailable
from infra.store.verify import audit
from tests.infra.conftest import RecordOf
from tests.servers.faultproxy import FaultProxy, Rule

Commit = dict[str, Any]


@pytest.fixture
def takes(store: Store, film: Path, record_of: RecordOf) -> list[Commit]:
    """Three committed takes with posters."""
    commits = []
    for shot in "abc":
        commits.append(publish(store, local=film, record=record_of(shot)).commit)
        store.write(layout.poster_path(commits[-1]["spec_key"]), b"jpeg")
    return commits


def rewrite(store: Store, commit: Commit, **changes: Any) -> None:
    """Overwrite a commit behind the protocol's back."""
    store.write(layout.commit_path(commit["spec_key"]), json.dumps(commit | changes).encode())


def rewrite_media(store: Store, commit: Commit, **changes: Any) -> None:
    rewrite(store, commit, media=commit["media"] | changes)


def last_digits(commit: Commit) -> str:
    return str(commit["media"]["sha256"])[:8] + "0" * 56


def truncate(store: Store, commit: Commit) -> None:
    store.write(commit["media"]["path"], store.read(commit["media"]["path"])[:-1])


def change_a_byte(store: Store, commit: Commit) -> None:
    data = bytearray(store.read(commit["media"]["path"]))
    data[1000] ^= 1
    store.write(commit["media"]["path"], bytes(data))


def test_a_sound_store(store: Store, takes: list[Commit]) -> None:
    seen: list[int] = []
    assert audit(store, on_progress=seen.append) == (3, [], [], [])
    assert audit(store, strict=True) == (3, [], [], [])
    assert seen[-1] == 3


def test_an_empty_store(store: Store) -> None:
    assert audit(store, strict=True) == (0, [], [], [])


OTHER = "f" * 64
PLANTED: list[tuple[str, Callable[[Store, Commit], Any], set[str]]] = [
    ("missing film", lambda s, c: s.delete(c["media"]["path"]), {"media-missing"}),
    ("truncated film", truncate, {"media-size"}),
    ("changed byte", change_a_byte, {"media-hash"}),
    ("a wrong hash", lambda s, c: rewrite_media(s, c, sha256=OTHER), {"media-hash", "media-name"}),
    ("a hash that differs at its end", lambda s, c: rewrite_media(s, c, sha256=last_digits(c)), {"media-hash"}),
    ("a wrong size", lambda s, c: rewrite_media(s, c, bytes=1), {"media-size"}),
    ("media elsewhere", lambda s, c: rewrite_media(s, c, path="jobs/x/board.html"), {"media-path"}),
    ("media outside the store", lambda s, c: rewrite_media(s, c, path="../../etc/passwd"), {"media-path"}),
    ("media of another take", lambda s, c: rewrite(s, c, take=9), {"media-name"}),
    ("no JSON", lambda s, c: s.write(layout.commit_path(c["spec_key"]), b"{"), {"commit-unreadable"}),
    ("a field gone", lambda s, c: rewrite(s, {k: v for k, v in c.items() if k != "seed"}), {"commit-unreadable"}),
    ("a later format", lambda s, c: rewrite(s, c, format=2), {"commit-newer"}),
    ("under another's name", lambda s, c: s.write(layout.commit_path(OTHER), json.dumps(c).encode()), {"commit-key"}),
    ("in the wrong folder", lambda s, c: s.write(f"commits/00/{OTHER}.json", b"{}"), {"commit-key"}),
]  # fmt: skip


@pytest.mark.parametrize(("plant", "kinds"), [case[1:] for case in PLANTED], ids=[case[0] for case in PLANTED])
def test_each_planted_fault_is_found(
    store: Store, takes: list[Commit], plant: Callable[[Store, Commit], Any], kinds: set[str]
) -> None:
    plant(store, takes[1])
    found = audit(store)
    assert {fault.kind for fault in found.faults} == kinds
    named = {fault.spec_key for fault in found.faults}
    assert named <= {takes[1]["spec_key"], OTHER, None}
    assert all(fault.detail for fault in found.faults)


def test_the_film_of_a_commit_of_a_later_format_is_no_orphan(store: Store, takes: list[Commit], film: Path) -> None:
    store.write(layout.media_path("default", "z", "0011aabb", 1, "0" * 64), film.read_bytes())
    assert audit(store).orphans
    rewrite(store, takes[1], format=2)
    assert audit(store).orphans == []


def test_orphans_are_listed_and_are_faults_when_strict(store: Store, takes: list[Commit], film: Path) -> None:
    stray = layout.media_path("default", "z", "0011aabb", 1, "0" * 64)
    store.write_file(stray, film)
    store.write(layout.poster_path(OTHER), b"jpeg")
    store.write("shots/odd name", b"x")
    store.write(layout.damaged_path(OTHER, OTHER), b"kept")
    store.delete(layout.commit_path(takes[0]["spec_key"]))
    expected = sorted(
        [
            *(stray, layout.poster_path(OTHER), "shots/odd name", layout.damaged_path(OTHER, OTHER)),
            *(takes[0]["media"]["path"], layout.poster_path(takes[0]["spec_key"])),
        ]
    )
    loose, strict = audit(store), audit(store, strict=True)
    assert loose == (2, [], expected, [])
    assert [(fault.kind, fault.path) for fault in strict.faults] == [("orphan", path) for path in expected]


def test_a_plan_or_an_addition_that_cannot_be_read_is_a_fault(store: Store, takes: list[Commit]) -> None:
    row = {"show": "default", "shot_id": "a", "take": 1, "revision": "00000001", "spec_key": takes[0]["spec_key"]}
    jobs.put_plan(store, "job", pa.Table.from_pylist([row]))
    assert audit(store).faults == []
    store.write(layout.addition_path("job", 1), b"PAR1")
    assert [fault.kind for fault in audit(store).faults] == ["plan-unreadable"]
    store.write(layout.plan_path("job"), b"")
    (fault,) = audit(store).faults
    assert (fault.kind, fault.path) == ("plan-unreadable", layout.plan_path("job")) and fault.detail


def planned(keys: list[str | None]) -> pa.Table:
    """A plan of one shot's takes with these keys."""
    takes = list(range(1, len(keys) + 1))
    texts = {name: [text] * len(keys) for name, text in (("show", "s"), ("shot_id", "a"), ("revision", "00000001"))}
    return pa.table({**texts, "take": takes, "spec_key": keys})


def test_a_manifest_that_counts_on_a_commit_that_is_not_there(store: Store, takes: list[Commit]) -> None:
    keys = [commit["spec_key"] for commit in takes]
    jobs.put_plan(store, "job", planned([*keys, OTHER, None]))
    states = ["committed", "committed", "committed", "quarantined"]
    jobs.write_manifest(store, "job", pa.table({"spec_key": [*keys, OTHER], "state": states}))
    assert audit(store).faults == []
    store.delete(layout.commit_path(keys[0]))
    assert [(fault.kind, fault.spec_key) for fault in audit(store).faults] == [("commit-missing", keys[0])]
    store.write(layout.manifest_path("job"), b"no Parquet")
    assert [fault.kind for fault in audit(store).faults] == ["manifest-unreadable"]


def test_one_job_of_a_store(store: Store, takes: list[Commit]) -> None:
    jobs.put_plan(store, "job", planned([takes[0]["spec_key"], takes[1]["spec_key"], OTHER, None]))
    truncate(store, takes[1])
    truncate(store, takes[2])
    found = audit(store, job="job")
    assert (found.commits, [fault.spec_key for fault in found.faults], found.orphans) == (2, [takes[1]["spec_key"]], [])
    store.write(layout.commit_path(takes[0]["spec_key"]), b"")
    assert {fault.kind for fault in audit(store, job="job").faults} == {"media-size", "commit-unreadable"}


def test_a_job_has_the_takes_too_whose_keys_its_plan_left_open(store: Store, takes: list[Commit]) -> None:
    columns = ("show", "shot_id", "revision", "take")
    rows = [{name: commit[name] for name in columns} for commit in takes[:2]]
    keys = [takes[0]["spec_key"], None]
    plan = [{**row, "spec_key": key} for row, key in zip(rows, keys, strict=True)]
    jobs.put_plan(store, "job", pa.Table.from_pylist(plan))
    truncate(store, takes[1])
    told = [{**row, "spec_key": takes[n]["spec_key"], "state": "committed"} for n, row in enumerate(rows)]
    jobs.write_manifest(store, "job", pa.Table.from_pylist(told))
    assert [fault.spec_key for fault in audit(store, job="job").faults] == [takes[1]["spec_key"]]


class TestProber:
    GOOD = SimpleNamespace(width=64, height=48, frames=17, fps=8.0)

    def test_films_that_play_as_they_should(self, store: Store, takes: list[Commit]) -> None:
        looked: list[str] = []

        def prober(file: Path) -> SimpleNamespace:
            looked.append(file.suffix)
            assert file.stat().st_size == takes[0]["media"]["bytes"]
            return self.GOOD

        assert audit(store, prober=prober).faults == []
        assert looked == [".mp4"] * 3

    @pytest.mark.parametrize("change", [{"frames": 16}, {"width": 32}, {"height": 50}, {"fps": 24.0}])
    def test_films_that_play_otherwise(self, store: Store, takes: list[Commit], change: dict[str, float]) -> None:
        facts = SimpleNamespace(**(vars(self.GOOD) | change))
        found = audit(store, prober=lambda file: facts)
        assert [fault.kind for fault in found.faults] == ["media-mismatch"] * 3
        assert next(iter(change)) in found.faults[0].detail

    def test_films_that_do_not_play(self, store: Store, takes: list[Commit]) -> None:
        def prober(file: Path) -> SimpleNamespace:
            raise ValueError("moov atom not found")

        change_a_byte(store, takes[0])
        kinds = [fault.kind for fault in audit(store, prober=prober).faults]
        assert sorted(kinds) == ["media-hash", *["media-unplayable"] * 3]

    def test_a_still_has_no_rate(self, store: Store, film: Path, record_of: RecordOf) -> None:
        media = {"width": 64, "height": 48, "frames": 1, "fps": None}
        publish(store, local=film, record=record_of(media=media), suffix=".png")
        facts = SimpleNamespace(width=64, height=48, frames=1, fps=None)
        assert audit(store, prober=lambda file: facts).faults == []


def test_a_store_that_goes_away_is_no_clean_audit(
    s3_store: Store, proxied: Store, fault_proxy: FaultProxy, film: Path, record_of: RecordOf
) -> None:
    publish(s3_store, local=film, record=record_of())
    impatient = open_store(proxied.url, proxied.options.model_copy(update={"retry_s": 0}))
    fault_proxy.rule = Rule(match=b"GET /rushes-test/", cut_down=20_000)
    with pytest.raises(StoreUnavailable):
        audit(impatient)
    assert fault_proxy.hits >= 1
