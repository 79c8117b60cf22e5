"""What goes wrong with takes and gangs, each broken on purpose: one bad shot costs that shot and nothing else."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import pytest

from actors.client import Connection, render_job
from actors.job import JobSpec
from catalogs.keys import spec_fields, spec_key
from infra.store import open_store
from infra.store.jobs import list_quarantine, read_plan
from tests.actors.farm import assert_whole, commits, job, kinds, shot

Outcome = tuple[dict[str, Any], list[dict[str, Any]]]


def run(farm: Connection, spec: JobSpec) -> Outcome:
    events: list[dict[str, Any]] = []
    return render_job(farm, spec, on_events=events.extend, poll_s=0.1), events


def given_up(spec: JobSpec) -> dict[str, dict[str, Any]]:
    records = list_quarantine(open_store(spec.store_url), spec.job_id)
    return {record["shot_id"]: record for record in records}


def test_bad_shots_are_quarantined_and_the_rest_is_done(farm: Connection, tmp_path: Path) -> None:
    shots = [shot(n) for n in range(4)] + [
        shot(10, "raise=colour-blind"),
        shot(11, "always-nan"),
        shot(12, "refuse"),
    ]
    spec = job(tmp_path, shots, gangs_max=2)
    status, events = run(farm, spec)
    assert status["state"] == "done"
    assert (status["takes"]["committed"], status["takes"]["quarantined"]) == (4, 3)
    assert_whole(spec, 4)
    records = given_up(spec)
    assert {name: (record["error_class"], record["attempt"]) for name, record in records.items()} == {
        "s010": ("internal", 3),
        "s011": ("nan", 2),
        "s012": ("input", 1),
    }
    broken = records["s010"]
    assert "RuntimeError: colour-blind" in broken["traceback"]
    assert "_misbehave" in broken["traceback"]
    assert broken["replay"].startswith("rushes render --prompt=raise=colour-blind --show=default")
    assert "RuntimeError: colour-blind" in open_store(spec.store_url).read(broken["log"]).decode()
    assert sum(event["kind"] == "quarantined" for event in events) == 3
    assert "gang_lost" not in kinds(events), "a bad shot must not cost the gang"
    assert status["gpu_s"]["failed"] > 0

    again, _ = run(farm, spec)
    assert (again["takes"]["cached"], again["takes"]["quarantined"], again["takes"]["committed"]) == (4, 3, 0)


def test_nan_is_tried_again_in_fp32_under_the_planned_key(farm: Connection, tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(0, "nan"), shot(1)])
    status, events = run(farm, spec)
    assert status["takes"]["committed"] == 2
    retried = next(commit for commit in commits(spec) if commit["shot_id"] == "s000")
    assert (retried["attempt"], retried["notes"]["retried_in"]) == (2, "float32")
    retry = next(event for event in events if event["kind"] == "retry")
    assert (retry["error_class"], retry["spec_key"]) == ("nan", retried["spec_key"])


def test_unusable_and_forbidden_films_are_never_committed(farm: Connection, tmp_path: Path) -> None:
    shots = [
        shot(0, "a dog runs"),
        shot(1, "a dog runs shows=none for-good"),
        shot(2, "a dog runs shows=one"),
        shot(3, "a dog runs shows=same for-good"),
        shot(4, "a dog stands still shows=same for-good"),
        shot(5, "a wicked dog"),
        shot(6, "an unseemly dog"),
    ]
    spec = job(tmp_path, shots, limits={"moderation": "tests.actors.moderator:moderate"})
    status, _ = run(farm, spec)
    made = {commit["shot_id"]: commit for commit in commits(spec)}
    records = given_up(spec)
    assert (status["state"], sorted(made)) == ("done", ["s000", "s002", "s004"]), records
    assert (made["s002"]["attempt"], made["s002"]["notes"]["retried_in"]) == (2, "float32")
    assert {name: (record["error_class"], record["attempt"]) for name, record in records.items()} == {
        "s001": ("quality", 2),
        "s003": ("quality", 2),
        "s005": ("policy", 1),
        "s006": ("policy", 1),
    }
    assert "wholly black" in records["s001"]["message"]
    assert "it speaks of wickedness" in records["s005"]["message"]
    assert (records["s005"]["gpu_s"], records["s006"]["gpu_s"] > 0) == (0.0, True)
    films = [found.path for found in open_store(spec.store_url).list("shots/")]
    assert len(films) == 3, "nothing of what was refused was uploaded"
    assert_whole(spec, 3)


def test_a_job_whose_moderation_cannot_be_asked_renders_nothing(farm: Connection, tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(0)], limits={"moderation": "tests.actors.moderator:nobody"})
    status, events = run(farm, spec)
    assert (status["state"], status["takes"]["pending"]) == ("failed", 1)
    assert "no attribute 'nobody'" in status["error"]
    assert "gang_ready" not in kinds(events)


@pytest.mark.parametrize(("word", "error"), [("oom-once", "oom"), ("driver-once", "node")])
def test_memory_that_ran_out_costs_the_gang_and_not_the_next_take(
    farm: Connection, tmp_path: Path, word: str, error: str
) -> None:
    spec = job(tmp_path, [shot(0, f"{word}={tmp_path / 'marker'}", "rank=1"), shot(1)], gang=2)
    status, events = run(farm, spec)
    assert status["takes"]["committed"] == 2
    assert_whole(spec, 2)
    hit = next(commit for commit in commits(spec) if commit["shot_id"] == "s000")
    assert hit["attempt"] == 2
    lost = next(event for event in events if event["kind"] == "gang_lost")
    ready = [event["gang"] for event in events if event["kind"] == "gang_ready"]
    assert (lost["error_class"], lost["gang"]) == (error, ready[0])
    assert len(ready) == len(set(ready)) == 2
    log = open_store(spec.store_url).read(next(e["log"] for e in events if e["kind"] == "retry")).decode()
    pids = [int(pid) for pid in log.split("processes ")[1].splitlines()[0].split(",")]
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.parametrize("word", ["die-once", "hang-once"])
def test_a_lost_gang_is_confirmed_gone_and_its_take_rendered_by_another(
    farm: Connection, tmp_path: Path, word: str
) -> None:
    marker = tmp_path / "marker"
    spec = job(tmp_path, [shot(0, f"{word}={marker}", "rank=1"), shot(1)], gang=2)
    status, events = run(farm, spec)
    assert status["takes"]["committed"] == 2
    assert_whole(spec, 2)
    hit = next(commit for commit in commits(spec) if commit["shot_id"] == "s000")
    assert hit["attempt"] == 2
    ready = [event for event in events if event["kind"] == "gang_ready"]
    lost = next(event for event in events if event["kind"] == "gang_lost")
    assert lost["error_class"] == "gang_lost"
    assert ready[0]["gang"] == lost["gang"] != ready[1]["gang"]
    log = open_store(spec.store_url).read(next(e["log"] for e in events if e["kind"] == "retry")).decode()
    pids = [int(pid) for pid in log.split("processes ")[1].splitlines()[0].split(",")]
    assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert status["gpu_s"]["failed"] > 0


def test_a_poisonous_take_is_given_up_after_three_deaths(farm: Connection, tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(0, "die"), *(shot(n) for n in range(1, 4))])
    status, events = run(farm, spec)
    assert status["state"] == "done"
    assert (status["takes"]["committed"], status["takes"]["quarantined"]) == (3, 1)
    assert kinds(events).count("gang_lost") == 3
    record = given_up(spec)["s000"]
    assert (record["error_class"], record["attempt"]) == ("gang_lost", 3)
    assert "retired" not in " ".join(kinds(events))


def test_a_renderer_that_cannot_load_ends_the_job_with_its_reason(farm: Connection, tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(0)], renderer_options={"load_error": "no weights in the folder"})
    status, _ = run(farm, spec)
    assert status["state"] == "failed"
    assert "no weights in the folder" in status["error"]
    assert status["takes"]["pending"] == 1


def test_gangs_that_die_while_they_are_built_retire_the_slot(farm: Connection, tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(0)], renderer_options={"die_at_load": True})
    status, events = run(farm, spec)
    assert status["state"] == "failed"
    assert "every slot was given up after 4 deaths in a row" in status["error"]
    assert kinds(events).count("gang_not_built") == 4
    counts = {"total": 1, "pending": 1, "running": 0, "committed": 0, "cached": 0, "quarantined": 0}
    assert status["takes"] == counts | {"skipped": 0}


def test_the_job_stops_at_its_budget(farm: Connection, tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(n, "sleep=0.4") for n in range(8)], budget_gpu_s=1.0)
    status, _ = run(farm, spec)
    assert status["state"] == "budget"
    spent = status["gpu_s"]["rendered"]
    assert 1.0 <= spent < 2.5
    assert status["takes"]["committed"] + status["takes"]["pending"] == 8
    assert 0 < status["takes"]["committed"] < 8


def test_a_shot_stops_at_its_own_budget_and_the_others_go_on(farm: Connection, tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(0, "sleep=0.4", takes=5, budget_gpu_s=0.6), shot(1, takes=2)])
    status, _ = run(farm, spec)
    assert status["state"] == "budget"
    made = [commit["shot_id"] for commit in commits(spec)]
    assert made.count("s001") == 2
    assert 1 <= made.count("s000") <= 2


def test_an_input_that_could_not_be_read_at_planning_is_looked_at_again(farm: Connection, tmp_path: Path) -> None:
    image = tmp_path / "first.png"
    shots = [shot(0, task="i2v", image_uri="first.png"), shot(1, task="i2v", image_uri="missing.png"), shot(2)]
    spec = job(tmp_path, shots, roots=(str(tmp_path),))
    image.write_bytes(b"not looked at by the fake")  # it comes after the plan was made
    status, _ = run(farm, spec)
    assert (status["takes"]["committed"], status["takes"]["quarantined"]) == (2, 1), given_up(spec)
    record = given_up(spec)["s001"]
    assert (record["error_class"], record["attempt"]) == ("input", 1)
    assert "missing.png" in record["message"]
    found = next(commit for commit in commits(spec) if commit["shot_id"] == "s000")
    assert found["spec_key"] == resolved_key(spec, image)


def test_an_input_that_changes_after_planning_is_not_rendered_under_the_old_key(
    farm: Connection, tmp_path: Path
) -> None:
    image = tmp_path / "first.png"
    image.write_bytes(b"one")
    shots = [shot(0, task="i2v", image_uri="first.png")]
    spec = job(tmp_path, shots, roots=(str(tmp_path),), digest_input=lambda uri: sha256(b"one").hexdigest())
    image.write_bytes(b"two")
    status, _ = run(farm, spec)
    assert status["takes"]["quarantined"] == 1
    assert "has changed since the job was planned" in given_up(spec)["s000"]["message"]


def resolved_key(spec: JobSpec, image: Path) -> str:
    """The key that the plan would have had, had the image been there."""
    row = read_plan(open_store(spec.store_url), spec.job_id).slice(0, 1).to_pylist()[0]
    assert row["spec_key"] is None
    return spec_key(spec_fields(row, spec.model_facts, image_sha256=sha256(image.read_bytes()).hexdigest()))
