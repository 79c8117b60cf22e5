"""Another take of a shot: the next number, its seed, its key, in the job that has the shot."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.dispatch.intake import Intake
from actors.dispatch.linked import Linked
from actors.dispatch.orders import Ledger
from actors.scheduling.scheduler import Scheduler
from catalogs import plan, read
from flows.retakes import queue_retakes
from flows.verbs.failure import Failure
from infra.store import Store, layout, open_store
from infra.store.additions import list_additions, read_takes
from infra.store.decisions import TakeName
from infra.store.jobs import read_plan
from tests.actors.farm import FACTS, job, shot


def first_row(store: Store) -> dict[str, Any]:
    row: dict[str, Any] = read_plan(store, "job").slice(0, 1).to_pylist()[0]
    return row


def test_a_retake_is_the_take_that_the_planner_would_have_made(tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(1, takes=2, seed=100), shot(2)])
    store = open_store(spec.store_url)
    take = TakeName.of(first_row(store))
    assert queue_retakes(store, "job", take, FACTS) == [3]
    assert queue_retakes(store, "job", take, FACTS, count=2) == [4, 5]
    rows = [row for row in read_takes(store, "job").to_pylist() if row["shot_id"] == "s001"]
    assert [(row["take"], row["seed"]) for row in rows] == [(1, 100), (2, 101), (3, 102), (4, 103), (5, 104)]
    more = job(tmp_path, [shot(1, takes=5, seed=100), shot(2)], job_id="more")
    asked = read_plan(open_store(more.store_url), "more").to_pylist()[:5]
    for name in ("spec_key", "picture_key", "revision", "render_width", "encoded_prompt"):
        assert [row[name] for row in rows] == [row[name] for row in asked], name
    shards = [row["shard"] for row in rows]
    assert len(set(shards[2:])) == 2 and min(shards[2:]) > max(shards[:2]), "an addition is a shard of its own"


def test_numbers_that_were_ever_filmed_are_not_used_again(tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(1)])
    store = open_store(spec.store_url)
    take = TakeName.of(first_row(store))
    store.write(layout.media_path("default", "s001", take.revision, 7, "a" * 64), b"film")
    store.write(layout.media_path("default", "s001", "ffffffff", 9, "a" * 64), b"of another revision")
    assert queue_retakes(store, "job", take, FACTS) == [8]


def test_a_request_is_queued_once(tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(1)])
    store = open_store(spec.store_url)
    take = TakeName.of(first_row(store))
    assert [queue_retakes(store, "job", take, FACTS, id="x") for _ in range(2)] == [[2], [2]]
    assert list_additions(store, "job") == [1]


def test_what_cannot_be_ordered_again_is_told(tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(1)])
    store = open_store(spec.store_url)
    take = TakeName.of(first_row(store))
    with pytest.raises(Failure, match="no takes of default/gone"):
        queue_retakes(store, "job", TakeName("default", "gone", 1, take.revision, take.spec_key), FACTS)
    with pytest.raises(Failure, match="other keys"):
        queue_retakes(store, "job", take, {**FACTS, "digest": "1" * 64})
    with pytest.raises(Failure, match="1 to 100"):
        queue_retakes(store, "job", take, FACTS, count=0)
    assert list_additions(store, "job") == []


def test_a_ledger_takes_in_what_was_added(tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(1), shot(2)])
    store = open_store(spec.store_url)
    ledger = Ledger.read(store, spec)
    assert ledger.additions(store, spec) is None
    take = TakeName.of(first_row(store))
    queue_retakes(store, "job", take, FACTS, count=2)
    found = ledger.additions(store, spec)
    assert found is not None
    before = ledger.planned
    shards = ledger.take_in(found)
    assert list(shards.values()) == [[2, 3]]
    (shard,) = shards
    assert [made.id for made in ledger.takes_of(shard)] == [2, 3]
    assert (ledger.pending, ledger.shard_sizes[shard]) == (4, 2)
    assert ledger.planned == pytest.approx(2 * before)
    assert ledger.additions(store, spec) is None
    assert Ledger.read(store, spec).pending == 4, "whoever reads the job later has them too"


def test_a_job_that_was_added_to_is_planned_with_it_and_its_plan_stays(tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(1)])
    store = open_store(spec.store_url)
    before = store.read(layout.plan_path("job"))
    queue_retakes(store, "job", TakeName.of(first_row(store)), FACTS)
    assert store.read(layout.plan_path("job")) == before
    again = plan(read(str(tmp_path / "job.parquet")), FACTS).takes
    assert again["spec_key"].to_pylist() == read_plan(store, "job")["spec_key"].to_pylist()


def test_a_dispatcher_hands_out_what_was_added(tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(1), shot(2)])
    store = open_store(spec.store_url)
    ledger, scheduler = Ledger.read(store, spec), Scheduler(spec.policy())
    ledger.settle(scheduler)
    scheduler.unloaded = ledger.pending
    told: list[str] = []
    journal: Any = SimpleNamespace(event=lambda kind, **_: told.append(kind))
    linked = Linked(spec, ledger, scheduler, journal, ended=bool)
    intake = Intake(spec, store, ledger, scheduler, journal, linked, lambda: told.append("woken"))
    asyncio.run(intake.refill())
    queue_retakes(store, "job", TakeName.of(first_row(store)), FACTS, count=2)
    found = ledger.additions(store, spec)
    assert found is not None
    intake.add(found)
    assert told == ["added", "woken"]
    assert (scheduler.counts()["total"], scheduler.counts()["pending"], scheduler.unloaded) == (4, 4, 0)
    given = [scheduler.next("slot", 0.0) for _ in range(4)]
    assert [one.take.id for one in given if one is not None] == [0, 1, 2, 3]
    orders = [ledger.order(one, spec) for one in given if one is not None]
    assert [(order["shot_id"], order["take"]) for order in orders] == [
        ("s001", 1), ("s002", 1), ("s001", 2), ("s001", 3),
    ]  # fmt: skip
