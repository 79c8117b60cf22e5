"""Jobs on a real Ray with a fake renderer: what is promised when all goes well."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from actors.client import Connection, render_job
from actors.errors import PlacementImpossible
from infra.store import open_store
from tests.actors.farm import assert_whole, commits, eventually, job, kinds, shot


def test_twenty_takes_are_committed_once_each(farm: Connection, tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(n, takes=2) for n in range(10)], gangs_max=2)
    events = []
    status = render_job(farm, spec, on_events=events.extend, poll_s=0.1)
    assert status["state"] == "done"
    counts = {"total": 20, "pending": 0, "running": 0, "committed": 20, "cached": 0, "quarantined": 0}
    assert status["takes"] == counts | {"skipped": 0}
    assert sum(shard["done"] for shard in status["shards"]) == sum(shard["total"] for shard in status["shards"]) == 20
    assert kinds(events).count("committed") == 20
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    assert_whole(spec, 20)
    spent = sum(commit["gpu_s"] for commit in commits(spec))
    assert status["gpu_s"]["rendered"] == pytest.approx(spent, abs=0.05)
    assert status["gpu_s"]["failed"] == status["gpu_s"]["duplicate"] == 0.0
    store = open_store(spec.store_url)
    for event in events:
        if event["kind"] == "committed":
            assert store.stat(event["media"]) is not None
            assert store.read(event["poster"])[:2] == b"\xff\xd8"
            assert b"committed" in store.read(event["log"])

    again = render_job(farm, spec, poll_s=0.1)
    assert (again["state"], again["takes"]["cached"], again["takes"]["committed"]) == ("done", 20, 0)
    assert again["gpu_s"]["rendered"] == 0.0
    assert again["gpu_s"]["cached"] == pytest.approx(spent, abs=0.05)


def test_a_gang_starts_its_next_take_before_the_last_one_is_committed(farm: Connection, tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(n, "sleep=0.2") for n in range(6)])
    assert render_job(farm, spec, poll_s=0.1)["state"] == "done"
    times = sorted((commit["times"] for commit in commits(spec)), key=lambda entry: entry["started"])
    overlapping = [after["started"] < before["committed"] for before, after in pairwise(times)]
    assert any(overlapping), times
    assert all(after["started"] >= before["rendered"] for before, after in pairwise(times))


@pytest.mark.parametrize(
    ("limits", "most"),
    [({"finishing_takes": 2}, 2), ({"finishing_takes": 8, "finishing_bytes": 3 * 5 * 32 * 32 * 3 + 1}, 3)],
    ids=["takes", "bytes"],
)
def test_a_gang_waits_for_its_films(farm: Connection, tmp_path: Path, limits: dict[str, int], most: int) -> None:
    spec = job(tmp_path, [shot(n) for n in range(10)], limits=limits)
    status = render_job(farm, spec, poll_s=0.1)
    assert status["state"] == "done"
    # Rendering takes no time here and encoding does, so a gang that never waited would run ahead of all its films.
    assert status["queue"]["most_takes"] == most
    assert status["queue"]["most_bytes"] == most * 5 * 32 * 32 * 3


def test_stills_odd_sizes_and_gangs_of_two(farm: Connection, tmp_path: Path) -> None:
    shots = [
        shot(0, task="still", width=30, height=18),
        shot(1, width=40, height=24, fps=12.0, duration_s=0.5),
    ]
    spec = job(tmp_path, shots, gang=2, layout="ulysses=2")
    assert render_job(farm, spec, poll_s=0.1)["state"] == "done"
    assert_whole(spec, 2)
    still, film = sorted(commits(spec), key=lambda commit: commit["shot_id"])
    assert still["media"]["path"].endswith(".png")
    assert (still["media"]["width"], still["media"]["height"], still["media"]["frames"]) == (30, 18, 1)
    assert (film["media"]["width"], film["media"]["height"], film["media"]["frames"]) == (40, 24, 6)
    assert {(commit["gang"], commit["layout"]) for commit in (still, film)} == {(2, "ulysses=2")}


def test_two_jobs_share_one_pool(farm: Connection, tmp_path: Path) -> None:
    # The first has more to do than a gang of two takes to come up, however slow the machine.
    long = job(tmp_path, [shot(n, "sleep=1") for n in range(120)], job_id="long")
    other = job(tmp_path, [shot(n, "sleep=0.3", show="other") for n in range(8)], job_id="other", gang=2)
    first, second = farm.submit(long), farm.submit(other)
    try:
        eventually(lambda: first.status()["running"] and second.status()["running"])
        status = second.wait(poll_s=0.1)
        assert (status["state"], status["takes"]["committed"]) == ("done", 8)
        assert first.status()["state"] == "running", "the second job waited for the first to end"
        first.stop("that will do")
    finally:
        first.close()
        second.close()
    assert sum(commit["show"] == "other" for commit in commits(other)) == 8


def test_jobs_that_need_the_same_cores_take_turns(farm: Connection, tmp_path: Path) -> None:
    one_at_a_time = {"cpus_per_rank": 2.0}  # idle gangs of other shapes have to make room too
    long = job(tmp_path, [shot(n, "sleep=1") for n in range(60)], job_id="long", limits=one_at_a_time)
    short = job(tmp_path, [shot(n, "sleep=0.2", show="other") for n in range(3)], job_id="short", limits=one_at_a_time)
    first = farm.submit(long)
    eventually(lambda: first.status()["running"])
    status = farm.submit(short).wait(poll_s=0.1)
    assert (status["state"], status["takes"]["committed"]) == ("done", 3)
    assert first.status()["state"] == "running"
    before = first.status()["takes"]["committed"]
    eventually(lambda: first.status()["takes"]["committed"] > before)
    assert first.status()["takes"]["quarantined"] == 0
    first.stop("that will do")


def test_a_gang_that_never_fits_is_refused_with_the_sizes_that_do(farm: Connection, tmp_path: Path) -> None:
    spec = job(tmp_path, [shot(0)], gang=9)
    with pytest.raises(PlacementImpossible, match=r"a gang of 9 can never be placed.*0\.25 CPU.*1 to 8"):
        farm.submit(spec)
    assert spec.job_id not in farm.describe()["jobs"]


def test_the_higher_priority_renders_first_and_gangs_keep_their_shape(farm: Connection, tmp_path: Path) -> None:
    shots = [shot(n, priority=int(n == 3), duration_s=0.125 if n % 2 else 0.625) for n in range(6)]
    spec = job(tmp_path, shots, limits={"finishing_takes": 8})
    assert render_job(farm, spec, poll_s=0.1)["state"] == "done"
    made = sorted(commits(spec), key=lambda commit: commit["times"]["started"])
    assert [commit["shot_id"] for commit in made] == ["s003", "s000", "s002", "s004", "s001", "s005"]
