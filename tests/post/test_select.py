"""`rushes select`: by hand, by rule, retakes, and what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.planned import Planned
from flows.review.choosing import queue_forgotten
from flows.verbs.plan import make_plan, replan
from infra.settings import Settings
from infra.store import Store, layout
from infra.store.additions import list_additions, read_takes
from infra.store.decisions import TakeName, give_verdict, read_decision
from infra.store.selection import choose
from tests.flows.command_samples import Ran, commit, json_model, plan_into, quarantine, run, shots, write_catalog


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    """Three shots of two takes; the takes of the first two are committed."""
    rows = shots(3, takes=2, show="default")
    rows[2]["show"] = "other"
    catalog = write_catalog(tmp_path / "shots.parquet", rows)
    made = plan_into(tmp_path / "out", catalog, json_model(tmp_path / "model"))
    for row in made.plan.takes.slice(0, 4).to_pylist():
        commit(made, row, tmp_path)
    return made


def select(capsys: Any, planned: Planned, *words: object) -> Ran:
    return run(capsys, "select", planned.store.url, "--who", "Ida", *words)


def test_by_hand(capsys: Any, planned: Planned) -> None:
    done = select(capsys, planned, "--shot", "s0", "--take", 2, "--note", "steadier", "--json")
    assert done.code == 0
    assert (done.json["shots"][0]["state"], done.json["shots"][0]["who"]) == ("approved", "Ida")
    decision = read_decision(planned.store, "default", "s0")
    assert decision.selected is not None and decision.selected.take == 2
    assert next(iter(decision.takes.values()))["note"] == "steadier"
    assert select(capsys, planned, "--shot", "default/s1", "--take", 1, "--reject").code == 0
    listed = select(capsys, planned, "--list", "--json").json
    assert [shot["state"] for shot in listed["shots"]] == ["approved", "wip", "todo"]
    assert listed["counts"]["verdicts"] == {"approved": 1, "rejected": 1, "retake": 0}
    assert list(listed)[:4] == ["format", "job_id", "store", "exit"]
    told = select(capsys, planned)
    assert "1 approved" in told.out and "other/s2" in told.out
    assert select(capsys, planned, "--shot", "s0", "--clear").code == 0
    assert read_decision(planned.store, "default", "s0").state == "todo"


def test_by_rule_where_nobody_chose(capsys: Any, planned: Planned) -> None:
    select(capsys, planned, "--shot", "s0", "--take", 2)
    select(capsys, planned, "--shot", "s1", "--take", 1, "--reject")
    done = select(capsys, planned, "--best")
    assert (done.code, "1 shot got" in done.err) == (0, True)
    chosen = {one.shot_id: (one.commit["take"], one.by) for one in choose(planned.store, best=False).chosen}
    assert chosen == {"s0": (2, "people"), "s1": (2, "people")}
    assert read_decision(planned.store, "other", "s2").state == "todo", "nothing of it is finished"
    assert "0 shots got" in select(capsys, planned, "--best").err


def test_a_decision_that_cannot_be_read_costs_its_shot_alone(capsys: Any, planned: Planned) -> None:
    path = layout.decision_path("default", "s0")
    planned.store.write(path, b"{")
    done = select(capsys, planned, "--best", "--json")
    assert done.code == 1 and done.json["exit"] == 1 and path in done.err
    assert planned.store.read(path) == b"{"
    states = {shot["shot_id"]: shot["state"] for shot in done.json["shots"]}
    assert states["s0"] == "todo" and states["s1"] == "approved"


def test_a_shot_that_waits_for_a_retake_is_left_alone_by_the_rule(capsys: Any, planned: Planned) -> None:
    select(capsys, planned, "--shot", "s0", "--retake")
    select(capsys, planned, "--best")
    assert read_decision(planned.store, "default", "s0").state == "retake"
    assert read_decision(planned.store, "default", "s1").state == "approved"


def test_a_retake_is_pending_in_every_view_and_the_same_command_renders_it(
    capsys: Any, planned: Planned, tmp_path: Path
) -> None:
    store, job = planned.store, planned.job_id
    done = select(capsys, planned, "--shot", "s0", "--take", 1, "--retake", "--count", 2, "--note", "slower", "--json")
    assert done.json["queued"] == [{"show": "default", "shot_id": "s0", "take": n} for n in (3, 4)]
    decision = read_decision(store, "default", "s0")
    assert decision.state == "retake"
    assert [(one["note"], one["who"], one["count"]) for one in decision.retakes] == [("slower", "Ida", 2)]
    status = run(capsys, "status", store.url, "--json").json
    assert (status["takes"]["total"], status["takes"]["pending"], status["state"]) == (8, 4, "pending")
    again = make_plan(str(tmp_path / "shots.parquet"), store.url, Settings(), model=str(tmp_path / "model"))
    assert again.job_id == job
    assert (again.takes().total, again.takes().pending) == (8, 4)
    assert again.put().num_rows == 8, "the plan that stands is the same, and the additions are beside it"
    resumed = replan(store, job, Settings())
    assert (resumed.takes().total, resumed.takes().pending) == (8, 4)
    commit(again, again.plan.takes.slice(6, 1).to_pylist()[0], tmp_path)
    assert run(capsys, "status", store.url, "--json").json["takes"]["pending"] == 3
    assert replan(store, job, Settings()).takes().cached == 5
    assert run(capsys, "verify", store.url, "--json").json["orphans"] == []
    assert run(capsys, "gc", store.url, "--older-than", 0, "--dry-run", "--json").json["removed"] == []


def test_another_priority_is_an_addition(capsys: Any, planned: Planned) -> None:
    done = select(capsys, planned, "--shot", "s1", "--priority", 5)
    assert (done.code, "2 takes of s1" in done.err) == (0, True), done.err
    assert replan(planned.store, planned.job_id, Settings()).plan.takes["priority"].to_pylist() == [0, 0, 5, 5, 0, 0]
    assert "0 takes of s1" in select(capsys, planned, "--shot", "s1", "--priority", 5).err
    assert list_additions(planned.store, planned.job_id) == [1]
    again = replan(planned.store, planned.job_id, Settings())
    assert again.put().num_rows == 6, "the plan that stands is the first one all the same"


def test_what_was_killed_before_it_queued_is_mended(capsys: Any, planned: Planned) -> None:
    take = TakeName.of(planned.plan.takes.slice(0, 1).to_pylist()[0])
    give_verdict(planned.store, take, "retake", who="Ida", retake_id=f"{planned.job_id}:1")
    give_verdict(planned.store, take, "retake", who="Ida", retake_id="another-job:2")
    assert "queued now" in select(capsys, planned).err
    assert read_takes(planned.store, planned.job_id).num_rows == 7
    assert "queued now" not in select(capsys, planned).err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--shot", "s9", "--take", 1], "no shot s9. It has: s0, s1, other/s2"),
        (["--shot", "nowhere/s0", "--take", 1], "no shot nowhere/s0"),
        (["--shot", "../s0", "--take", 1], "no shot ../s0"),
        (["--shot", "s0", "--take", 7], "no take 7. It has: 1, 2"),
        (["--shot", "s2", "--take", 1], "is pending: there is nothing to approve yet"),
        (["--shot", "s0", "--retake", "--count", 101], "1 to 100"),
        (["--shot", "s0", "--take", 1, "--count", 2], "--count goes with --retake"),
        (["--take", 1], "--take needs --shot"),
        (["--shot", "s0", "--approve"], "--approve needs --take"),
        (["--approve", "--reject", "--shot", "s0"], "exclude each other"),
        (["--best", "--take", 1], "for all shots"),
        (["--clear"], "--clear needs --shot"),
        (["--shot", "s0", "--take", 1, "--note", "x" * 4001], "at most 4000"),
        (["--job", "none"], "no job none"),
    ],
)
def test_what_cannot_be_is_told_and_changes_nothing(
    capsys: Any, planned: Planned, words: list[object], told: str
) -> None:
    done = select(capsys, planned, *words)
    assert done.code == 2
    assert told in done.err.replace("\n", " ")
    assert not list(planned.store.list(layout.DECISIONS))
    assert list_additions(planned.store, planned.job_id) == []


def test_a_retake_of_a_model_that_changed_is_refused_before_anything_is_said(
    capsys: Any, planned: Planned, tmp_path: Path
) -> None:
    defaults = tmp_path / "model" / "rushes.json"
    (tmp_path / "model" / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"other weights")
    defaults.write_text(json.dumps(json.loads(defaults.read_text())))
    done = select(capsys, planned, "--shot", "s0", "--retake")
    assert done.code == 2 and "has changed since" in done.err
    assert not list(planned.store.list(layout.DECISIONS))
    take = TakeName.of(planned.plan.takes.slice(0, 1).to_pylist()[0])
    give_verdict(planned.store, take, "retake", who="Ida", retake_id=f"{planned.job_id}:1")  # and killed right then
    assert select(capsys, planned, "--shot", "s1", "--take", 1).code == 0, "others can be chosen all the same"


def test_a_model_that_is_gone_stops_retakes_alone(capsys: Any, planned: Planned, tmp_path: Path) -> None:
    take = TakeName.of(planned.plan.takes.slice(0, 1).to_pylist()[0])
    give_verdict(planned.store, take, "retake", who="Ida", retake_id=f"{planned.job_id}:1")
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    done = select(capsys, planned, "--shot", "s1", "--take", 1)
    assert done.code == 0 and "cannot be queued" in done.err
    done = select(capsys, planned, "--shot", "s0", "--retake")
    assert done.code == 2 and "was planned for the model at" in done.err.replace("\n", " ")


def test_a_choice_that_was_written_by_hand_can_be_taken_back(capsys: Any, planned: Planned) -> None:
    planned.store.write(layout.decision_path("default", "s0"), b'{"selected": 2}')
    assert select(capsys, planned, "--shot", "s0", "--clear").code == 0
    assert read_decision(planned.store, "default", "s0").selected is None


def test_a_user_without_a_name(capsys: Any, planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert run(capsys, "select", planned.store.url, "--shot", "s0", "--take", 1).code == 0
    assert read_decision(planned.store, "default", "s0").who.startswith("user ")


def test_decisions_of_other_jobs_are_not_read(capsys: Any, planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    give_verdict(planned.store, TakeName("default", "elsewhere", 1, "0011aabb", "a" * 64), "rejected", who="Noor")
    read: list[str] = []
    read_tagged = Store.read_tagged

    def watched(store: Store, path: str) -> Any:
        read.append(path)
        return read_tagged(store, path)

    monkeypatch.setattr(Store, "read_tagged", watched)
    assert queue_forgotten(planned.store, planned.job_id, dict) == [] and read == []
    select(capsys, planned, "--shot", "s0", "--take", 1)
    said = {path for path in read if path.startswith(layout.DECISIONS)}
    assert said == {layout.decision_path("default", "s0")}


def test_a_quarantined_take_can_be_made_again(capsys: Any, planned: Planned) -> None:
    row = planned.plan.takes.slice(4, 1).to_pylist()[0]
    quarantine(planned.store, planned.job_id, row)
    done = select(capsys, planned, "--shot", "other/s2", "--take", 1, "--retake", "--json")
    assert done.json["queued"] == [{"show": "other", "shot_id": "s2", "take": 3}]
