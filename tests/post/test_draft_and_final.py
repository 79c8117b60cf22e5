"""`rushes render --draft` and `rushes final`: the chosen takes again, at full size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.store import open_store
from infra.store.commits import read_commits
from infra.store.decisions import TakeName, give_verdict
from infra.store.jobs import list_jobs, read_plan
from tests.flows.command_samples import json_model, run, shots, write_catalog
from tests.post.farm import InstantFarm


@pytest.fixture
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstantFarm:
    made = InstantFarm(tmp_path)
    monkeypatch.setattr("flows.render.run_job", made)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    return made


@pytest.fixture
def words(tmp_path: Path) -> list[Any]:
    catalog = write_catalog(tmp_path / "film.parquet", shots(3, takes=3, width=128, height=96, director="Ida"))
    return [catalog, "--out", tmp_path / "out", "--model", json_model(tmp_path / "model")]


def choose(out: Path, *names: tuple[str, int], verdict: Any = "approved") -> None:
    store = open_store(out)
    for found in read_commits(store):
        if found.commit is not None and (found.commit["shot_id"], found.commit["take"]) in names:
            give_verdict(store, TakeName.of(found.commit), verdict, who="Ida")


def test_the_chosen_takes_are_rendered_again(farm: InstantFarm, words: list[Any], tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    draft = run(capsys, "render", *words, "--draft", "--json")
    assert draft.code == 0 and len(farm.rendered) == 9
    job = draft.json["job_id"]
    assert job.startswith("film-draft-")
    none = run(capsys, "final", out, "--json")
    assert none.code == 2 and "no take of" in none.json["error"] and list_jobs(open_store(out)) == [job]

    choose(out, ("s0", 2), ("s2", 3))
    farm.rendered.clear()
    made = run(capsys, "final", out, "--json")
    assert made.code == made.json["exit"] == 1, "a shot without a choice is left out, and that is said"
    assert made.json["draft"] == job and [one["shot_id"] for one in made.json["left_out"]] == ["s1"]
    assert farm.rendered == [("s0", 2), ("s2", 3)]
    store = open_store(out)
    drafts = {(row["shot_id"], row["take"]): row for row in read_plan(store, job).to_pylist()}
    finals = read_plan(store, made.json["job_id"]).to_pylist()
    for row in finals:
        before = drafts[row["shot_id"], row["take"]]
        assert (row["seed"], row["director"]) == (before["seed"], "Ida")
        assert (row["width"], row["height"], row["steps"]) == (128, 96, 4)
        assert (before["width"], before["height"]) == (64, 48)
        assert row["draft_of"] == before["spec_key"] and row["spec_key"] != before["spec_key"]

    again = run(capsys, "final", out, "--job", job, "--json")
    assert again.json["job_id"] == made.json["job_id"] and len(farm.rendered) == 2, "nothing is rendered twice"
    whole = run(capsys, "render", *words, "--json")
    assert whole.code == 0 and len(farm.rendered) == 2 + 7, "the whole catalog reuses the finals"


def test_another_choice_is_another_job(farm: InstantFarm, words: list[Any], tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    run(capsys, "render", *words, "--draft")
    choose(out, ("s0", 1), ("s1", 1), ("s2", 1))
    first = run(capsys, "final", out, "--json")
    assert first.code == 0 and not first.json["left_out"]
    choose(out, ("s0", 3))
    second = run(capsys, "final", out, "--json")
    assert second.json["job_id"] != first.json["job_id"]
    assert farm.rendered[-4:] == [("s0", 1), ("s1", 1), ("s2", 1), ("s0", 3)], "what was chosen before stands"
    every = run(capsys, "final", out, "--all-approved", "--json")
    assert every.json["takes"]["total"] == 4


def test_the_measures_choose_where_nobody_did(farm: InstantFarm, words: list[Any], tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    run(capsys, "render", *words, "--draft")
    choose(out, ("s0", 2))
    choose(out, ("s1", 1), verdict="rejected")
    farm.rendered.clear()
    assert run(capsys, "final", out, "--best").code == 0
    assert farm.rendered == [("s0", 2), ("s1", 2), ("s2", 1)]


def test_a_take_that_was_asked_for_later_has_a_final(
    farm: InstantFarm, words: list[Any], tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    run(capsys, "render", *words, "--draft")
    assert run(capsys, "select", out, "--shot", "s1", "--take", "1", "--retake").code == 0
    run(capsys, "render", *words, "--draft")
    assert farm.rendered[-1] == ("s1", 4)
    choose(out, ("s1", 4))
    farm.rendered.clear()
    made = run(capsys, "final", out, "--json")
    assert farm.rendered == [("s1", 4)]
    row = read_plan(open_store(out), made.json["job_id"]).to_pylist()[0]
    whole = run(capsys, "plan", *words, "--json")
    assert (row["take"], row["width"], row["steps"]) == (4, 128, 4) and whole.json["takes"]["cached"] == 0
    assert row["seed"] == read_plan(open_store(out), made.json["draft"]).to_pylist()[3]["seed"] + 3


@pytest.mark.parametrize(
    ("more", "why"),
    [(["--job", "nobody"], "has no job nobody"), ([], "has no draft"), (["--job", "plain"], "is no draft")],
)
def test_what_is_no_draft(
    more: list[str], why: str, farm: InstantFarm, words: list[Any], tmp_path: Path, capsys: Any
) -> None:
    run(capsys, "render", *words, "--job", "plain")
    ran = run(capsys, "final", tmp_path / "out", *more, "--json")
    assert ran.code == 2 and why in ran.json["error"]


def test_a_draft_does_not_take_the_name_of_another_job(
    farm: InstantFarm, words: list[Any], tmp_path: Path, capsys: Any
) -> None:
    assert run(capsys, "render", *words, "--job", "night").code == 0
    with pytest.raises(Exception, match="is no draft"):  # the farm is a stand-in: the real run ends with 2
        farm(planned_draft(words, "night"), None)


def planned_draft(words: list[Any], job: str) -> Any:
    from flows.verbs.plan import make_plan
    from infra.settings import Settings

    return make_plan(str(words[0]), str(words[2]), Settings(), job=job, model=str(words[4]), draft=True)


def test_what_cannot_be_a_final_is_refused_as_a_draft(farm: InstantFarm, tmp_path: Path, capsys: Any) -> None:
    rows = [{"shot_id": "small", "prompt": "x", "width": 512}, {"shot_id": "huge", "prompt": "x", "width": 1024}]
    catalog = write_catalog(tmp_path / "c.parquet", rows)
    ran = run(
        capsys, "render", catalog, "--out", tmp_path / "out", "--model", json_model(tmp_path / "model"), "--draft",
        "--json",
    )  # fmt: skip
    assert ran.code == 1 and [one["row"] for one in ran.json["rows"]["refused"]] == [1]
    assert farm.rendered == [("small", 1)]
