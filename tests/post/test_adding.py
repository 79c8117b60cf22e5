"""Whole shots added to a job: what is put beside its plan, what is refused, and that a running job takes them in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.dispatch.orders import Ledger as FarmLedger
from actors.job import JobSpec
from flows.planned import Planned
from flows.verbs.plan import make_plan, replan
from infra.settings import Settings
from infra.store import layout
from infra.store.additions import list_additions, read_takes
from tests.flows.command_samples import Ran, commit, json_model, plan_into, run, shots, write_catalog

KEYS = ("spec_key", "picture_key", "revision", "seed", "render_width", "encoded_prompt", "cached", "note")


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    """Two shots of two takes, all committed; the catalog has a column of its own."""
    catalog = write_catalog(tmp_path / "shots.parquet", shots(2, takes=2, note="first"))
    made = plan_into(tmp_path / "out", catalog, json_model(tmp_path / "model"))
    for row in made.plan.takes.to_pylist():
        commit(made, row, tmp_path)
    return made


def add(capsys: Any, planned: Planned, catalog: Path, *words: object) -> Ran:
    return run(capsys, "add", planned.store.url, catalog, "--job", planned.job_id, *words)


def test_shots_that_the_job_does_not_have_are_added_as_they_would_have_been_planned(
    capsys: Any, planned: Planned, tmp_path: Path
) -> None:
    store, job = planned.store, planned.job_id
    plan_before = store.read(layout.plan_path(job))
    more = write_catalog(tmp_path / "more.parquet", shots(4, takes=2, note="first", mood="calm"))  # the first two, too
    ran = add(capsys, planned, more, "--json")
    assert (ran.code, ran.json["standing"], ran.json["rows"]) == (0, 2, {"total": 4, "refused": []})
    assert ran.json["added"] == [{"show": "default", "shot_id": f"s{n}", "takes": 2} for n in (2, 3)]
    assert "no such column: mood" in ran.err and f"rushes retry {store.url} --job {job}" in ran.err
    takes = read_takes(store, job)
    asked = make_plan(str(more), str(tmp_path / "elsewhere"), Settings(), model=str(tmp_path / "model")).plan.takes
    assert [[row[name] for name in KEYS] for row in takes.to_pylist()[4:]] == [
        [row[name] for name in KEYS] for row in asked.to_pylist()[4:]
    ]
    shards = takes["shard"].to_pylist()
    assert min(shards[4:]) > max(shards[:4]), "in shards of their own"
    assert store.read(layout.plan_path(job)) == plan_before
    status = run(capsys, "status", store.url, "--json").json
    assert (status["state"], status["takes"]["total"], status["takes"]["pending"]) == ("pending", 8, 4)
    assert replan(store, job, Settings()).takes().pending == 4, "rushes retry renders them"
    same = make_plan(str(tmp_path / "shots.parquet"), store.url, Settings(), model=str(tmp_path / "model"))
    assert (same.job_id, same.takes().pending, same.put().num_rows) == (job, 4, 8), "and so does the same render"
    again = add(capsys, planned, more, "--json").json
    assert (again["added"], again["standing"], list_additions(store, job)) == ([], 4, [1])
    assert run(capsys, "verify", store.url, "--json").json["orphans"] == []


def test_a_job_that_runs_takes_them_in(capsys: Any, planned: Planned, tmp_path: Path) -> None:
    spec = JobSpec(planned.job_id, planned.store.url, "/nowhere", planned.facts, 1, {"token": "t"})
    ledger = FarmLedger.read(planned.store, spec)
    rows = shots(5, takes=2, note="x")[2:]
    other = plan_into(tmp_path / "out", write_catalog(tmp_path / "other.parquet", rows[:1]), tmp_path / "model")
    commit(other, other.plan.takes.to_pylist()[0], tmp_path)  # another job has made one of them already
    ran = add(capsys, planned, write_catalog(tmp_path / "more.parquet", rows))
    assert ran.code == 0 and "3 shots (6 takes) added to" in ran.out
    found = ledger.additions(planned.store, spec)
    assert found is not None
    taken_in = ledger.take_in(found)
    assert sorted(number for numbers in taken_in.values() for number in numbers) == [4, 5, 6, 7, 8, 9]
    waiting = {take.id for shard in taken_in for take in ledger.takes_of(shard)}
    assert waiting == {5, 6, 7, 8, 9} and ledger.pending == 5
    assert FarmLedger.read(planned.store, spec).pending == 5


def test_what_cannot_be_added_costs_its_row(capsys: Any, planned: Planned, tmp_path: Path) -> None:
    apart = tmp_path.with_name(f"{tmp_path.name}-apart")  # not below the folder of the job's catalog
    apart.mkdir()
    (apart / "cat.png").write_bytes(b"png")
    rows: list[dict[str, Any]] = [
        {"shot_id": "s0", "prompt": "an edited prompt", "takes": 2},
        {"shot_id": "s1", "prompt": "shot number 1", "takes": 3},
        {"shot_id": "next", "prompt": "goes on", "task": "extend", "depends_on": "good"},
        {"shot_id": "inside", "prompt": "a cat", "task": "i2v", "image_uri": "cat.png"},
        {"shot_id": "good", "prompt": "good"},
        {"shot_id": "bad", "prompt": "   "},
    ]
    columns = dict.fromkeys(name for row in rows for name in row)
    catalog = write_catalog(apart / "more.parquet", [{name: row.get(name) for name in columns} for row in rows])
    strict = add(capsys, planned, catalog, "--strict", "--json")
    assert strict.code == 2 and "--strict was given" in strict.json["error"]
    assert list_additions(planned.store, planned.job_id) == []
    ran = add(capsys, planned, catalog, "--json")
    told = {row["row"]: (row["column"], row["legal"]) for row in ran.json["rows"]["refused"]}
    assert (ran.code, [one["shot_id"] for one in ran.json["added"]]) == (1, ["good"])
    assert sorted(told) == [0, 1, 2, 3, 5] and ran.json["standing"] == 0
    assert [told[row][0] for row in (0, 1, 2, 3, 5)] == ["shot_id", "takes", "depends_on", "image_uri", "prompt"]
    assert "new job" in told[0][1] and "--retake" in told[1][1] and "own places" in told[3][1]
    assert read_takes(planned.store, planned.job_id)["shot_id"].to_pylist()[4:] == ["good"]


def test_a_column_of_another_type_leaves_the_job_as_it_was(capsys: Any, planned: Planned, tmp_path: Path) -> None:
    numbers = {"shot_id": "new", "prompt": "new", "note": [1, 2]}
    ran = add(capsys, planned, write_catalog(tmp_path / "more.parquet", [numbers]), "--json")
    assert ran.code == 2 and "the column note holds list" in ran.json["error"]
    assert list_additions(planned.store, planned.job_id) == []
    assert read_takes(planned.store, planned.job_id).num_rows == 4


def test_jobs_that_nothing_can_be_added_to(capsys: Any, planned: Planned, tmp_path: Path) -> None:
    more = write_catalog(tmp_path / "more.parquet", shots(3))
    draft = make_plan(str(more), planned.store.url, Settings(), model=str(tmp_path / "model"), draft=True)
    draft.put()
    refused = add(capsys, draft, more, "--json")
    assert refused.code == 2 and "is a draft" in refused.json["error"]
    assert run(capsys, "add", planned.store.url, more, "--job", "nowhere", "--json").code == 2
    assert run(capsys, "add", planned.store.url, tmp_path / "none.parquet", "--json").code == 2
    (tmp_path / "model" / "transformer" / "config.json").write_text(
        json.dumps(json.loads((tmp_path / "model" / "transformer" / "config.json").read_text()) | {"ffn_dim": 128})
    )
    changed = add(capsys, planned, more, "--json")
    assert changed.code == 2 and "has changed since" in changed.json["error"]
    assert list_additions(planned.store, planned.job_id) == []
