"""`rushes storyboard`: stills, decisions, clips; deadlines, retakes, and starting again from the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.storyboarding import deadline
from flows.verbs.failure import Failure
from infra.store import layout, open_store
from infra.store.commits import read_commits
from infra.store.decisions import TakeName, give_verdict
from infra.store.errors import Damaged
from infra.store.jobs import read_plan
from infra.store.storyboard import Waiting, open_storyboard
from tests.flows.command_samples import json_model, run, shots, write_catalog
from tests.post.farm import InstantFarm


@pytest.fixture
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstantFarm:
    made = InstantFarm(tmp_path)
    monkeypatch.setattr("flows.render.run_job", made)
    monkeypatch.setattr("flows.verbs.storyboard.LOOK_S", 0.01)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    return made


@pytest.fixture
def words(tmp_path: Path) -> list[Any]:
    catalog = write_catalog(tmp_path / "film.parquet", shots(3, takes=2))
    model = json_model(tmp_path / "model")
    return ["storyboard", catalog, "--out", tmp_path / "out", "--model", model, "--stills", "1"]


def approve(out: Path, *names: str, verdict: Any = "approved") -> None:
    store = open_store(out)
    for found in read_commits(store):
        if found.commit is not None and found.commit["shot_id"] in names:
            give_verdict(store, TakeName.of(found.commit), verdict, who="Ida")


def test_without_waiting_it_ends_and_goes_on(farm: InstantFarm, words: list[Any], tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    first = run(capsys, *words, "--no-wait", "--json")
    assert (first.code, first.json["state"]) == (0, "waiting")
    assert farm.rendered == [(f"s{n}.still", 1) for n in range(3)]
    told = first.json["storyboard"]
    assert told["approved"] == 0 and [one["shot_id"] for one in told["waiting"]] == ["s0.still", "s1.still", "s2.still"]
    approve(out, "s0.still", "s1.still")
    assert run(capsys, *words, "--no-wait", "--json").json["storyboard"]["approved"] == 2
    assert len(farm.jobs) == 1, "one is still to be decided"
    approve(out, "s2.still")
    farm.rendered.clear()
    last = run(capsys, *words, "--no-wait", "--json")
    assert (last.code, last.json["state"]) == (0, "done")
    assert farm.rendered == [(f"s{n}", take) for n in range(3) for take in (1, 2)]
    rows = read_plan(open_store(out), last.json["job_id"]).to_pylist()
    stills = {found.commit["shot_id"]: found.commit for found in read_commits(open_store(out)) if found.commit}
    for row in rows:
        source = stills[f"{row['shot_id']}.still"]["media"]
        assert row["task"] == "i2v" and row["image_uri"].endswith(source["path"])
        assert row["image_sha256"] == source["sha256"]
    assert run(capsys, *words, "--no-wait").code == 0 and len(farm.jobs) == 2, "nothing is rendered twice"


def test_it_waits_for_people_and_renders_what_they_ask_for_again(
    farm: InstantFarm, words: list[Any], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    script = iter(
        [
            lambda job: approve(out, "s0.still"),
            lambda job: run(capsys, "select", out, "--job", job, "--shot", "s1.still", "--take", "1", "--retake"),
            lambda job: run(capsys, "select", out, "--job", job, "--shot", "s1.still", "--take", "2", "--approve"),
            lambda job: approve(out, "s2.still"),
        ]
    )
    monkeypatch.setattr("flows.verbs.storyboard.time.sleep", lambda _: next(script)(farm.jobs[0]))
    ran = run(capsys, *words, "--json")
    assert ran.code == 0 and next(script, None) is None
    stills, clips = [(f"s{n}.still", 1) for n in range(3)], [(f"s{n}", take) for n in range(3) for take in (1, 2)]
    assert farm.rendered == [*stills, ("s1.still", 2), *clips]
    rows = read_plan(open_store(out), farm.jobs[-1]).to_pylist()
    assert "take-002" in next(row["image_uri"] for row in rows if row["shot_id"] == "s1")


def test_a_deadline_leaves_out_what_nobody_approved(
    farm: InstantFarm, words: list[Any], tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    run(capsys, *words, "--no-wait", "--approve-by", "4h")
    approve(out, "s1.still")
    ran = run(capsys, *words, "--approve-by", "2020-01-01T00:00", "--json")
    assert ran.code == ran.json["exit"] == 1
    assert {shot for shot, _ in farm.rendered} == {"s0.still", "s1.still", "s2.still", "s1"}
    assert [one["shot_id"] for one in ran.json["storyboard"]["waiting"]] == ["s0.still", "s2.still"]


def test_a_deadline_with_nothing_approved(farm: InstantFarm, words: list[Any], capsys: Any) -> None:
    ran = run(capsys, *words, "--approve-by", "0s", "--json")
    assert ran.code == ran.json["exit"] == 1 and len(farm.jobs) == 1


def test_a_still_that_cannot_be_rendered_is_not_waited_for(
    farm: InstantFarm, words: list[Any], tmp_path: Path, capsys: Any
) -> None:
    farm.spoiled = {"s1.still"}
    run(capsys, *words, "--no-wait")
    approve(tmp_path / "out", "s0.still", "s2.still")
    ran = run(capsys, *words, "--json")
    assert ran.code == 1 and [one["shot_id"] for one in ran.json["storyboard"]["lost"]] == ["s1.still"]


def test_nor_is_one_of_which_there_is_a_commit_that_cannot_be_read(
    farm: InstantFarm, words: list[Any], tmp_path: Path, capsys: Any
) -> None:
    farm.spoiled = {"s1.still"}
    ran = run(capsys, *words, "--no-wait", "--json")
    store = open_store(str(tmp_path / "out"))
    rows = read_plan(store, ran.json["storyboard"]["stills_job"]).to_pylist()
    key = next(row["spec_key"] for row in rows if row["shot_id"] == "s1.still")
    store.write(layout.commit_path(key), b'{"format": 1, "ep')
    approve(tmp_path / "out", "s0.still", "s2.still")
    ran = run(capsys, *words, "--no-wait", "--json")
    assert ran.code == 1 and [one["shot_id"] for one in ran.json["storyboard"]["lost"]] == ["s1.still"]
    assert {shot for shot, _ in farm.rendered} == {"s0.still", "s2.still", "s0", "s2"}


def test_the_deadline_stands_in_the_store(tmp_path: Path) -> None:
    store = open_store(tmp_path / "out")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    first = open_storyboard(store, "job", by=timedelta(hours=2), now=now)
    assert first == Waiting(now, now + timedelta(hours=2))
    later = now + timedelta(hours=1)
    assert open_storyboard(store, "job", now=later) == first, "starting again gives nobody more time"
    assert open_storyboard(store, "job", by=timedelta(hours=2), now=later) == first
    assert open_storyboard(store, "job", by=later, now=later) == Waiting(now, later)
    assert not first.over(later) and first.over(now + timedelta(hours=2)) and not Waiting(now).over(later)
    store.write("jobs/job/storyboard.json", b"[]")
    with pytest.raises(Damaged, match="no storyboard"):
        open_storyboard(store, "job")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("90m", timedelta(minutes=90)),
        ("2d", timedelta(days=2)),
        ("1.5h", timedelta(minutes=90)),
        ("2026-11-30T18:00", datetime(2026, 11, 30, 18, tzinfo=UTC)),
        ("2026-11-30T18:00+02:00", datetime(2026, 11, 30, 16, tzinfo=UTC)),
    ],
)
def test_deadlines_as_people_write_them(text: str, wanted: Any) -> None:
    assert deadline(text) == wanted


@pytest.mark.parametrize("text", ["soon", "4 weeks", "", "25:00", "-4h"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(Failure, match="is no time"):
        deadline(text)
