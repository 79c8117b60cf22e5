"""Listings that lag behind: what a listing says is looked at once more, by its name, before it costs anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.dispatch.preparing import prepare_order
from actors.job import InputRules, JobSpec
from infra.store import Stat, Store, layout, open_store
from infra.store.commits import committed_keys, publish, read_commits
from infra.store.jobs import current_round, open_round
from infra.store.verify import audit
from tests.infra.conftest import RecordOf


class Lagging(Store):
    """A store whose listings show neither films nor commits nor rounds that are there."""

    def list(self, prefix: str = "") -> Iterator[Stat]:
        hidden = (layout.MEDIA, layout.COMMITS, layout.JOBS)
        return (found for found in super().list(prefix) if not found.path.startswith(hidden))


class Forgetful(Store):
    """A store whose listings still show a commit that is gone."""

    def list(self, prefix: str = "") -> Iterator[Stat]:
        yield from super().list(prefix)
        if prefix == layout.COMMITS:
            gone = layout.commit_path("e" * 64)
            yield Stat(gone, 10, self.now(), "tag")


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def test_a_commit_that_no_listing_shows_is_not_rendered_again(folder: Store, film: Path, record_of: RecordOf) -> None:
    record = record_of()
    commit = publish(folder, local=film, record=record).commit
    lagging = Lagging(folder.url)
    assert committed_keys(lagging) == set(), "the plan says: pending"
    spec = JobSpec("job", folder.url, "/nowhere", {}, 1, {"token": "t"})
    order = {**record, "prompt": "x", "task": "t2v"}
    prepared = prepare_order(lagging, order, spec, InputRules(), life=0)
    assert (prepared.commit, prepared.failure) == (commit, None)
    other = film.with_name("other.mp4")
    other.write_bytes(b"another gang's")
    published = publish(lagging, local=other, record=record_of(owner="another"))
    assert (published.outcome, published.commit) == ("adopted", commit), "and if it were: still one commit"


def test_a_film_that_no_listing_shows_is_not_missing(folder: Store, film: Path, record_of: RecordOf) -> None:
    publish(folder, local=film, record=record_of())

    class NoFilms(Store):
        def list(self, prefix: str = "") -> Iterator[Stat]:
            return (found for found in super().list(prefix) if not found.path.startswith(layout.MEDIA))

    assert audit(NoFilms(folder.url)) == (1, [], [], [])


def test_a_commit_that_is_gone_and_still_listed_is_no_fault(folder: Store, film: Path, record_of: RecordOf) -> None:
    publish(folder, local=film, record=record_of())
    forgetful = Forgetful(folder.url)
    assert "e" * 64 in committed_keys(forgetful)
    assert [read.spec_key for read in read_commits(forgetful)] == [record_of()["spec_key"]]
    assert audit(forgetful) == (1, [], [], [])


def test_a_round_that_no_listing_shows_is_opened_once(folder: Store) -> None:
    assert open_round(folder, "job", by="first") == 2
    lagging = Lagging(folder.url)
    assert current_round(lagging, "job") == 1
    assert open_round(lagging, "job", by="second") == 2
    assert b"first" in folder.read(layout.round_path("job", 2)), "the first one stands"
    assert current_round(folder, "job") == 2
