"""Names of objects: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.store import layout
from infra.store.location import checked_path

FIRST = string.ascii_letters + string.digits
names = st.builds(str.__add__, st.sampled_from(FIRST), st.text(FIRST + "._-", max_size=127))
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
revisions = st.text("0123456789abcdef", min_size=8, max_size=8)
counts = st.integers(0, 10**6)
suffixes = st.sampled_from([".mp4", ".png", ".mov"])


@given(names, names, revisions, counts, hashes, suffixes)
def test_media(show: str, shot: str, revision: str, take: int, sha256: str, suffix: str) -> None:
    path = layout.media_path(show, shot, revision, take, sha256, suffix)
    assert layout.parse_media_path(path) == (show, shot, revision, take, sha256[:8], suffix)
    assert checked_path(path) == path
    assert max(len(part) for part in path.split("/")) <= 255


@given(hashes)
def test_commits_and_posters(key: str) -> None:
    assert layout.parse_commit_path(layout.commit_path(key)) == key
    assert layout.parse_poster_path(layout.poster_path(key)) == key
    damaged = layout.damaged_path(key, key)
    assert layout.is_damaged_path(damaged)
    assert layout.parse_commit_path(damaged) is None
    assert checked_path(damaged) == damaged


@given(names, names, names, counts, counts)
def test_quarantine_and_rounds(job: str, show: str, shot: str, take: int, round: int) -> None:
    path = layout.quarantine_path(job, show, shot, take, round)
    assert layout.parse_quarantine_path(path) == ((show, shot, take), round)
    assert layout.parse_round_path(layout.round_path(job, round)) == round
    assert checked_path(path) == path


@given(names, names, revisions, counts, names, counts, counts)
def test_logs_lie_in_the_shots_folder(
    show: str, shot: str, revision: str, take: int, job: str, epoch: int, attempt: int
) -> None:
    path = layout.log_path(show, shot, revision, take, job, epoch, attempt)
    assert path.rpartition("/")[0] == layout.logs_folder(show, shot)
    assert path.endswith(f".{job}.{epoch}.{attempt}.log")


@given(st.text(max_size=40))
def test_strange_names_are_no_objects(text: str) -> None:
    for parse in (
        layout.parse_media_path,
        layout.parse_commit_path,
        layout.parse_poster_path,
        layout.parse_quarantine_path,
        layout.parse_round_path,
    ):
        assert parse(text) is None


@pytest.mark.parametrize("bad", ["", "..", "a/b", "-a", ".a", "a" * 129, "ä", "a b", "a\n"])
def test_names_that_are_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="does not match"):
        layout.media_path(bad, "shot", "0" * 8, 1, "0" * 64)
    with pytest.raises(ValueError, match="does not match"):
        layout.media_path("show", bad, "0" * 8, 1, "0" * 64)
    with pytest.raises(ValueError, match="does not match"):
        layout.plan_path(bad)


def test_numbers_and_hashes_that_are_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        layout.shard_path("job", -1)
    with pytest.raises(ValueError, match="not a number"):
        layout.shard_path("job", True)
    for bad in ("0" * 63, "0" * 63 + "G", "0" * 65):
        with pytest.raises(ValueError, match="does not match"):
            layout.commit_path(bad)


def test_as_the_design_writes_them() -> None:
    key = "ab" + "0" * 62
    assert layout.media_path("s", "a", "0011aabb", 1, key) == "shots/s/a/0011aabb.take-001.ab000000.mp4"
    assert layout.commit_path(key) == f"commits/ab/{key}.json"
    assert layout.log_path("s", "a", "0011aabb", 12, "j", 3, 2) == "logs/s/a/0011aabb.take-012.j.3.2.log"
    assert layout.quarantine_path("j", "s", "a", 1, 2) == "jobs/j/quarantine/s/a/take-001.2.json"
    assert [
        layout.plan_path("j"),
        layout.addition_path("j", 1),
        layout.shard_path("j", 7),
        layout.manifest_path("j"),
    ] == [
        "jobs/j/plan.parquet",
        "jobs/j/additions/1.parquet",
        "jobs/j/shards/7.parquet",
        "jobs/j/manifest.parquet",
    ]
    assert [layout.quarantine_table_path("j"), layout.lease_path("j"), layout.board_path("j")] == [
        "jobs/j/quarantine.parquet",
        "jobs/j/lease.json",
        "jobs/j/board.html",
    ]
    assert [layout.contact_sheet_path("j"), layout.trace_path("j")] == ["jobs/j/contact-sheet.png", "jobs/j/trace.json"]
    assert layout.parse_commit_path(f"commits/cd/{key}.json") is None, "in the wrong folder"
