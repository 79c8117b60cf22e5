"""A commit that cannot be read is never done, whoever looks at its store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.chains.cached import seconds_cached
from catalogs.keys import spec_fields, spec_key
from flows.planned import Planned
from flows.render import _nothing_to_render
from flows.report import JobReport
from flows.verbs.ledger import Ledger
from flows.verbs.plan import make_plan, replan
from infra.settings import Settings
from infra.store import layout, standing
from infra.store import store as opened
from infra.store.verify import audit
from tests.flows.command_samples import commit, json_model, plan_into, run, shots, write_catalog

SETTINGS = Settings()


class Job:
    """A job of two takes, both committed, and how it is planned again."""

    def __init__(self, folder: Path) -> None:
        self.out, catalog, model = folder / "out", write_catalog(folder / "c.parquet", shots(2)), folder / "model"
        first = plan_into(self.out, catalog, json_model(model), job="j")
        self.plan: Callable[[], Planned] = lambda: make_plan(
            str(catalog), str(self.out), SETTINGS, model=str(model), job="j"
        )
        self.keys = [row["spec_key"] for row in first.plan.takes.to_pylist()]
        for row in first.plan.takes.to_pylist():
            commit(first, row, folder)
        self.commit = self.out / layout.commit_path(self.keys[0])

    def left(self) -> int:
        """Takes that `render` would hand to the farm."""
        planned = self.plan()
        if planned.takes().pending:
            return planned.takes().pending
        found = _nothing_to_render(planned, SETTINGS)
        return 0 if isinstance(found, JobReport) else found.takes().pending

    def status(self) -> tuple[int, int]:
        """Takes that are committed, and that are pending, as `status` counts them."""
        counts = Ledger.read(self.plan().store, "j").counts()
        return counts.committed, counts.pending


@pytest.mark.parametrize("damaged", [b"", b'{"format": 1, "ep'])
def test_its_take_is_rendered_again_with_and_without_a_manifest(tmp_path: Path, damaged: bytes) -> None:
    job = Job(tmp_path)
    whole = job.commit.read_bytes()
    job.commit.write_bytes(damaged)
    assert job.status() == (1, 1)
    assert job.left() == 1
    job.commit.write_bytes(whole)
    assert job.left() == 0 and job.status() == (2, 0)
    job.commit.write_bytes(damaged)  # the manifest counts it
    assert job.status() == (1, 1)
    assert job.left() == 1
    assert [fault.kind for fault in audit(job.plan().store).faults] == ["commit-unreadable"]


@pytest.mark.parametrize("damaged", [b"", b'{"format": 1, "ep', b"[]"])
def test_plan_and_jobs_do_not_count_it(tmp_path: Path, capsys: Any, damaged: bytes) -> None:
    job = Job(tmp_path)

    def counted() -> list[tuple[int, int]]:
        listed = run(capsys, "jobs", job.out, "--json").json["jobs"][0]["takes"]
        found = [job.plan().takes().as_dict(), replan(job.plan().store, "j", SETTINGS).takes().as_dict(), listed]
        return [(counts["committed"], counts["pending"]) for counts in found]

    assert counted() == [(2, 0)] * 3
    whole = job.commit.read_bytes()
    job.commit.write_bytes(damaged)
    assert counted() == [(1, 1)] * 3
    job.commit.write_bytes(whole)
    assert job.left() == 0  # makes the manifest
    job.commit.write_bytes(damaged)
    assert counted() == [(1, 1)] * 3


def test_nor_of_a_take_that_starts_from_another(tmp_path: Path) -> None:
    after = {"shot_id": "next", "prompt": "goes on", "task": "extend", "depends_on": "s0"}
    rows = [*shots(1, task="t2v", depends_on=None), after]
    catalog, model = write_catalog(tmp_path / "c.parquet", rows), json_model(tmp_path / "model")
    planned = plan_into(tmp_path / "out", catalog, model, job="j")
    first, second = planned.plan.takes.to_pylist()
    commit(planned, first, tmp_path)
    key = spec_key(spec_fields({**second, "source": first["spec_key"]}, planned.facts))
    names = {"spec_key": key, "picture_key": key, "revision": "0" * 8}
    commit(planned, {**second, **names}, tmp_path)

    def pending() -> int:
        return make_plan(str(catalog), str(tmp_path / "out"), SETTINGS, model=str(model), job="j").takes().pending

    assert pending() == 0
    (tmp_path / "out" / layout.commit_path(key)).write_bytes(b'{"format": 1, "ep')
    assert pending() == 1


def test_nor_of_a_take_that_was_added(tmp_path: Path, capsys: Any) -> None:
    job = Job(tmp_path)
    more = write_catalog(tmp_path / "more.parquet", shots(3))
    other = plan_into(job.out, more, tmp_path / "model", job="other")
    row = other.plan.takes.to_pylist()[2]
    commit(other, row, tmp_path)
    assert run(capsys, "add", job.out, more, "--job", "j").code == 0
    assert job.plan().takes().pending == 0
    (job.out / layout.commit_path(row["spec_key"])).write_bytes(b"{")
    assert job.plan().takes().pending == 1


def test_of_those_that_nobody_vouches_for_the_first_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(tmp_path)
    monkeypatch.setattr(standing, "MOST_READ", 1)
    whole = job.commit.read_bytes()
    job.commit.write_bytes(b"{")
    assert job.plan().takes().pending == 1 and job.status() == (1, 1)
    job.commit.write_bytes(whole)
    (job.out / layout.commit_path(job.keys[1])).write_bytes(b"{")
    assert job.plan().takes().pending == 0 and job.status() == (2, 0)


def test_one_of_a_later_format_stands_and_the_others_are_read_all_the_same(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.commit.write_bytes(job.commit.read_bytes().replace(b'"format": 1', b'"format": 2'))
    assert job.plan().takes().pending == 0 and job.status() == (2, 0)
    (job.out / layout.commit_path(job.keys[1])).write_bytes(b"{")
    assert job.plan().takes().pending == 1 and job.status() == (1, 1)


def test_what_a_manifest_vouches_for_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(tmp_path)
    for path in (job.out / "commits").rglob("*.json"):
        os.utime(path, (1.0, 1.0))
    assert job.left() == 0  # makes the manifest
    read: list[str] = []
    real = opened.Store.read

    def noted(self: Any, path: str) -> bytes:
        read.append(path)
        return real(self, path)

    monkeypatch.setattr(opened.Store, "read", noted)
    assert job.left() == 0 and job.status() == (2, 0)
    assert not [path for path in read if path.startswith("commits/")]
    keys = [(number, key, 9.0) for number, key in enumerate(job.keys)]
    assert seconds_cached(job.plan().store, keys, {job.keys[0]: 2.0, job.keys[1]: 3.0}) == {0: 2.0, 1: 3.0}
    assert not [path for path in read if path.startswith("commits/")]
    monkeypatch.undo()
    job.commit.write_bytes(b"{")
    assert seconds_cached(job.plan().store, keys, {job.keys[1]: 3.0}) == {1: 3.0}


@pytest.mark.parametrize("damage", ["cut short", "of other columns", "of other kinds"])
def test_a_damaged_view_stops_nobody(tmp_path: Path, damage: str) -> None:
    job = Job(tmp_path)
    assert job.left() == 0
    view = job.out / layout.manifest_path("j")
    whole = pq.read_table(view)
    if damage == "cut short":
        view.write_bytes(view.read_bytes()[:100])
    elif damage == "of other columns":
        pq.write_table(pa.table({"a": [1]}), view)
    else:
        place = whole.column_names.index("gpu_s")
        pq.write_table(whole.set_column(place, "gpu_s", pa.array(["much", "more"])), view)
    assert job.status() == (2, 0)
    assert job.left() == 0
    assert pq.read_table(view)["gpu_s"].to_pylist() == whole["gpu_s"].to_pylist()
