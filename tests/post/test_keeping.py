"""Best of several takes: which are skipped follows from the commits, and farm, plan, status and manifest agree."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.dispatch.orders import Ledger as FarmLedger
from actors.job import JobSpec
from flows.manifest import count, make_manifest
from flows.review.shots import JobTakes
from flows.verbs.ledger import Ledger
from infra.store import layout
from infra.store.decisions import TakeName, give_verdict
from infra.store.keeping import has_passed, keep_of, kept, rejected_keys, verdict_of
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


def test_a_rejected_take_makes_its_shot_short_again(planned: Any, tmp_path: Path, capsys: Any) -> None:
    store, job = planned.store, planned.job_id
    rows = {(row["shot_id"], row["take"]): row for row in planned.plan.takes.to_pylist()}
    for name in (("a", 1), ("b", 1), ("b", 2), ("c", 1), ("c", 2)):
        commit(planned, rows[name], tmp_path, **note("pass"))
    skipped = {("a", 2), ("a", 3), ("a", 4), ("b", 3)}

    def found() -> list[set[tuple[str, int]]]:
        """As the farm, the manifest and the board have it."""
        farm = FarmLedger.read(store, spec(planned))
        manifest = make_manifest(store, job).to_pylist()
        board = [take for shot in JobTakes(store, job).refresh() for take in shot.takes]
        return [
            {(farm.rows["shot_id"][n].as_py(), farm.rows["take"][n].as_py()) for n in farm.kept.skipped},
            {(row["shot_id"], row["take"]) for row in manifest if row["state"] == "skipped"},
            {(take.row["shot_id"], take.row["take"]) for take in board if take.state == "skipped"},
        ]

    def pending() -> list[int]:
        again = plan_into(tmp_path / "out", tmp_path / "c.parquet", tmp_path / "model").takes()
        status = run(capsys, "status", tmp_path / "out", "--json").json
        return [again.pending, status["takes"]["pending"], FarmLedger.read(store, spec(planned)).pending]

    assert found() == [skipped] * 3 and pending() == [0] * 3
    told = run(capsys, "select", tmp_path / "out", "--shot", "b", "--take", 1, "--reject", "--who", "ada")
    assert "b is short of takes that pass; from take 3 on it is rendered by rushes retry" in told.err
    give_verdict(store, TakeName.of(rows["c", 1]), "rejected", who="ada")  # has no `keep`: nothing to be short of
    assert found() == [skipped - {("b", 3)}] * 3 and pending() == [1] * 3
    assert FarmLedger.read(store, spec(planned)).kept.passed == {("default", "a"): 1, ("default", "b"): 1}
    assert run(capsys, "report", tmp_path / "out", "--json").json["short"] == [], (
        "it is not over: one is to be rendered"
    )
    commit(planned, rows["b", 3], tmp_path, **note("retry"))
    (short,) = run(capsys, "report", tmp_path / "out", "--json").json["short"]
    assert (short["shot_id"], short["passed"], short["keep"], short["committed"]) == ("b", 1, 2, 3)
    assert pending() == [0] * 3, "all that the shot may have are spent"
    give_verdict(store, TakeName.of(rows["b", 1]), None, who="ada")  # taken back
    assert run(capsys, "report", tmp_path / "out", "--json").json["short"] == []


def test_what_people_decided_and_nobody_can_read_rejects_nothing(planned: Any, tmp_path: Path) -> None:
    row = next(row for row in planned.plan.takes.to_pylist() if row["shot_id"] == "a")
    commit(planned, row, tmp_path, **note("pass"))
    planned.store.write(layout.decision_path("default", "a"), b"{")
    assert len(FarmLedger.read(planned.store, spec(planned)).kept.skipped) == 3
    assert rejected_keys(planned.store, []) == frozenset()


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
    rejected = {f"k{number}" for number in said if data.draw(st.booleans())}
    keys: list[str | None] = [f"k{number}" for number in range(len(rows))]
    schema = {"show": pa.string(), "shot_id": pa.string(), "take": pa.int32(), "takes": pa.int32(), "keep": pa.int32(),
              "picture_of": pa.string()}  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=pa.schema(list(schema.items())))
    verdicts = {f"k{number}": verdict for number, verdict in said.items()}
    found = kept(None, table, keys, done=said.keys(), given_up=given_up, verdicts=verdicts, rejected=rejected)
    good = [n for n, verdict in said.items() if verdict == "pass" and f"k{n}" not in rejected]
    passed = Counter(rows[n]["shot_id"] for n in good if rows[n]["keep"])
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
