"""Best of several takes: which are skipped follows from the commits, and farm, plan, status and manifest agree."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.job import JobSpec
from actors.orders import Ledger as FarmLedger
from flows.verbs.ledger import Ledger
from flows.views import count, make_manifest
from infra.store.keeping import has_passed, keep_of, kept, verdict_of
from tests.flows.command_samples import commit, json_model, plan_into, quarantine, run, write_catalog

ROWS = [
    {"shot_id": "a", "prompt": "a", "takes": 4, "keep": 1},
    {"shot_id": "b", "prompt": "b", "takes": 3, "keep": 2},
    {"shot_id": "c", "prompt": "c", "takes": 2, "keep": None},
]


def note(verdict: str) -> dict[str, Any]:
    reasons = [] if verdict == "pass" else ["black"]
    return {"notes": {"quality": {"score": 0.5, "rank": 0.7, "verdict": verdict, "reasons": reasons, "measures": {}}}}


@pytest.fixture
def planned(tmp_path: Path) -> Any:
    return plan_into(tmp_path / "out", write_catalog(tmp_path / "c.parquet", ROWS), json_model(tmp_path / "model"))


def spec(planned: Any) -> JobSpec:
    return JobSpec(planned.job_id, planned.store.url, "/nowhere", planned.facts, 1, {"token": "t"})


def test_all_who_count_say_the_same(planned: Any, tmp_path: Path, capsys: Any) -> None:
    rows = {(row["shot_id"], row["take"]): row for row in planned.plan.takes.to_pylist()}
    commit(planned, rows["a", 1], tmp_path, **note("retry"))
    commit(planned, rows["a", 2], tmp_path, **note("pass"))
    commit(planned, rows["b", 1], tmp_path, **note("pass"))
    quarantine(planned.store, planned.job_id, rows["b", 2])
    commit(planned, rows["c", 1], tmp_path, **note("pass"))
    # a: take 2 passed, so 3 and 4 are skipped. b: one of two passed. c: both are wanted whatever passes.
    farm = FarmLedger.read(planned.store, spec(planned))
    assert {(farm.rows["shot_id"][n].as_py(), farm.rows["take"][n].as_py()) for n in farm.kept.skipped} == {
        ("a", 3), ("a", 4),
    }  # fmt: skip
    assert farm.kept.passed == {("default", "a"): 1, ("default", "b"): 1} and farm.pending == 2
    counts = Ledger.read(planned.store, planned.job_id).counts()
    assert (counts.total, counts.committed, counts.quarantined, counts.skipped, counts.pending) == (9, 4, 1, 2, 2)
    manifest = make_manifest(planned.store, planned.job_id)
    assert (count(manifest).skipped, count(manifest).pending) == (2, 2)
    shown = {(row["shot_id"], row["take"]): row for row in manifest.to_pylist()}
    assert [shown["a", take]["state"] for take in (1, 2, 3, 4)] == ["committed", "committed", "skipped", "skipped"]
    assert (shown["a", 1]["quality_verdict"], shown["a", 1]["quality_reasons"]) == ("retry", ["black"])
    assert shown["a", 1]["quality_rank"] == 0.7 and shown["a", 3]["quality_verdict"] is None
    again = plan_into(tmp_path / "out", tmp_path / "c.parquet", tmp_path / "model").takes()
    assert (again.skipped, again.pending, again.cached) == (2, 2, 4)
    status = run(capsys, "status", tmp_path / "out", "--json").json
    assert status["takes"]["skipped"] == 2 and status["takes"]["pending"] == 2
    assert "2 not needed" in run(capsys, "status", tmp_path / "out").out


def test_a_commit_without_a_verdict_is_no_pass(planned: Any, tmp_path: Path) -> None:
    rows = planned.plan.takes.to_pylist()
    commit(planned, rows[0], tmp_path)
    assert FarmLedger.read(planned.store, spec(planned)).kept.skipped == frozenset()
    assert verdict_of({"notes": {}}) is None and not has_passed({"notes": {"quality": {"score": 1.0}}})


def test_a_take_that_people_asked_for_again_is_not_spared() -> None:
    assert keep_of({"take": 4, "takes": 4, "keep": 1}) == 1
    assert keep_of({"take": 5, "takes": 4, "keep": 1}) is None


@pytest.mark.parametrize(("keep", "takes"), [(0, 2), (3, 2), (-1, 2)])
def test_a_keep_that_cannot_be_is_refused(tmp_path: Path, capsys: Any, keep: int, takes: int) -> None:
    catalog = write_catalog(tmp_path / "c.parquet", [{"shot_id": "a", "prompt": "a", "takes": takes, "keep": keep}])
    ran = run(capsys, "plan", catalog, "--out", tmp_path / "out", "--model", json_model(tmp_path / "model"), "--json")
    (refused,) = ran.json["rows"]["refused"]
    assert (refused["column"], refused["legal"]) == ("keep", f"1 to this row's takes, {takes}")


jobs = st.lists(
    st.tuples(st.integers(1, 5), st.none() | st.integers(1, 5), st.booleans()), min_size=1, max_size=5
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(shots=jobs, data=st.data())
def test_what_is_skipped_is_what_a_walk_over_the_shots_finds(shots: Any, data: Any) -> None:
    rows, said, given_up = [], {}, set()
    for number, (takes, keep, copies) in enumerate(shots):
        keep = None if keep is None else min(keep, takes)
        for take in range(1, takes + 1):
            row = {"show": "s", "shot_id": f"p{number}", "take": take, "takes": takes, "keep": keep, "picture_of": None}
            rows.append(row)
            if copies:
                rows.append(row | {"shot_id": f"q{number}", "picture_of": f"p{number}"})
    for number in range(len(rows)):
        fate = data.draw(st.sampled_from(["pass", "retry", "escalate", None, "open", "given up"]))
        if fate == "given up":
            given_up.add(number)
        elif fate != "open":
            said[number] = fate
    keys: list[str | None] = [f"k{number}" for number in range(len(rows))]
    schema = {"show": pa.string(), "shot_id": pa.string(), "take": pa.int32(), "takes": pa.int32(), "keep": pa.int32(),
              "picture_of": pa.string()}  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=pa.schema(list(schema.items())))
    verdicts = {f"k{number}": verdict for number, verdict in said.items()}
    found = kept(None, table, keys, done=said.keys(), given_up=given_up, verdicts=verdicts)  # type: ignore[arg-type]
    passed = Counter(rows[n]["shot_id"] for n, verdict in said.items() if verdict == "pass" and rows[n]["keep"])
    own = {
        n for n, row in enumerate(rows)
        if row["keep"] and n not in said and n not in given_up and passed[row["shot_id"]] >= row["keep"]
    }  # fmt: skip
    names = {(rows[n]["shot_id"], rows[n]["take"]) for n in own}
    copied = {
        n for n, row in enumerate(rows)
        if row["keep"] and n not in said and n not in given_up and (row["picture_of"], row["take"]) in names
    }  # fmt: skip
    assert found.skipped == own | copied
    assert {shot: number for (_, shot), number in found.passed.items()} == dict(passed)
