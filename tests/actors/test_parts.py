"""Parts of the farm that need no Ray: queues, placements, judgements, logs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from actors.dispatch.orders import Ledger
from actors.errors import ErrorClass, PlacementImpossible
from actors.finish.finishing import Admission
from actors.gangs.gang import _root_failure, _spoilt
from actors.gangs.placement import Cluster, shape_for
from actors.gangs.rendering import Failure, RankReport, frame_bytes
from actors.job import JobSpec, setup_of
from actors.logs import LINES_MOST, AttemptLog
from actors.processes import ProcessId, confirm_gone, is_alive
from actors.replay import replay_command
from actors.scheduling.scheduler import Scheduler
from infra.store import open_store
from tests.actors.farm import job, shot

SPEC = JobSpec("job", "/tmp/nowhere", "/model", {"digest": "d"}, 1, {"token": "t"})


def report(rank: int, error: ErrorClass | None = None) -> RankReport:
    return RankReport(rank, 1.0, error and Failure(error, "Kind", "message", "traceback"))


GONE, NAN, OOM, NODE = ErrorClass.GANG_LOST, ErrorClass.NAN, ErrorClass.OOM, ErrorClass.NODE


@pytest.mark.parametrize(
    ("errors", "root", "spoilt"),
    [
        ([None, None], None, False),
        ([NAN, GONE], NAN, False),  # agreed: the others left as PeerFailed
        ([NAN, NAN], NAN, False),
        ([NAN, None], NAN, False),  # rank 0 alone, while decoding
        ([OOM, GONE], OOM, True),  # in the middle of an exchange, for all we know
        ([GONE, GONE], GONE, True),
        ([GONE], GONE, True),
        ([OOM], OOM, True),  # what is left of the memory is in pieces
        ([None, GONE], GONE, True),
        ([NODE], NODE, True),
    ],
)
def test_which_failure_counts_and_whether_the_gang_can_go_on(
    errors: list[ErrorClass | None], root: ErrorClass | None, spoilt: bool
) -> None:
    reports = tuple(report(rank, error) for rank, error in enumerate(errors))
    found = _root_failure(reports)
    assert (found and found.error) == root
    assert _spoilt(reports) is spoilt


def test_admission_is_bounded_by_takes_and_by_bytes() -> None:
    async def scenario() -> list[str]:
        told: list[str] = []
        admission = Admission(takes=2, size=100)

        async def enter(name: str, size: int) -> None:
            assert await admission.admit(size)
            told.append(name)

        await enter("a", 60)
        waiting = [asyncio.create_task(enter("b", 60)), asyncio.create_task(enter("c", 40))]
        await asyncio.sleep(0.01)
        assert told == ["a", "c"], "60 bytes more do not fit, 40 do"
        await admission.give_back(60)
        await asyncio.gather(*waiting)
        await admission.give_back(40)
        await admission.give_back(60)
        await enter("larger than all", 1000)
        stopped = False
        late = asyncio.create_task(admission.admit(1, unless=lambda: stopped))
        await asyncio.sleep(0.01)
        assert not late.done()
        stopped = True
        await admission.wake()
        assert await late is False
        assert (admission.waiting_takes, admission.waiting_bytes) == (1, 1000)
        return told

    assert asyncio.run(scenario()) == ["a", "c", "b", "larger than all"]


def test_gangs_are_counted_inside_nodes_and_only_else_across_them() -> None:
    nodes = Cluster({"a": {"GPU": 8.0}, "b": {"GPU": 4.0}, "c": {"CPU": 64.0}})
    assert nodes.has_gpus
    assert [nodes.gangs(size, {"GPU": 1.0}) for size in (1, 2, 4, 8, 12, 13)] == [12, 6, 3, 1, 1, 0]


def test_a_rank_takes_a_gpu_where_there_is_one_and_part_of_a_core_elsewhere() -> None:
    shape, at_once = shape_for(replace(SPEC, gang=2), Cluster({"a": {"GPU": 8.0, "CPU": 16.0}}))
    assert (shape.bundle, shape.on_gpu, at_once) == ({"GPU": 1.0}, True, 4)
    shape, at_once = shape_for(replace(SPEC, gang=4), Cluster({"a": {"CPU": 2.0}}))
    assert (shape.bundle, shape.threads, at_once) == ({"CPU": 0.5}, 1, 1)
    shape, at_once = shape_for(SPEC, Cluster({"a": {"CPU": 8.0}}))
    assert (shape.threads, at_once) == (1, 8), "every rank wants a whole core"
    shape, at_once = shape_for(replace(SPEC, gangs_max=2), Cluster({"a": {"CPU": 8.0}}))
    assert (shape.threads, at_once) == (4, 2)
    with pytest.raises(PlacementImpossible, match="the sizes that can are 1 to 4"):
        shape_for(replace(SPEC, gang=5), Cluster({"a": {"CPU": 2.0}}))
    with pytest.raises(PlacementImpossible, match="none at all"):
        shape_for(replace(SPEC, limits={"gpus_per_rank": 1.0}), Cluster({"a": {"CPU": 2.0}}))


def test_gangs_are_interchangeable_when_what_they_render_with_is_equal() -> None:
    assert setup_of(SPEC) == setup_of(replace(SPEC, job_id="another", epoch=7, store_url="/elsewhere"))
    assert setup_of(SPEC) != setup_of(replace(SPEC, layout="ring=2"))
    assert setup_of(SPEC) != setup_of(replace(SPEC, model_facts={"digest": "e"}))


def test_a_process_is_known_by_its_start_and_confirmed_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    own = ProcessId.own("node")
    known = ProcessId("node", child.pid, __import__("psutil").Process(child.pid).create_time())
    assert is_alive(own)
    assert is_alive(known)
    assert not is_alive(replace(known, started=known.started - 100)), "another process had this pid before"
    assert confirm_gone([known], patience_s=0.1, timeout_s=5.0) == []
    assert child.wait(5) == -9
    assert confirm_gone([own], patience_s=60.0, timeout_s=0.1) == [own]
    assert os.getpid() == own.pid


def test_the_replay_command_survives_any_prompt() -> None:
    row = {
        "prompt": "--out /etc; rm -rf $HOME 'quoted' `x`\nnext", "show": "default", "task": "t2v", "width": 64,
        "height": 32, "seed": 7, "steps": 4, "guidance_scale": 3.5, "fps": 8.0, "frames": 5, "image_uri": None,
    }  # fmt: skip
    command = replay_command(row, "/models/a b", "s3://films")
    words = subprocess.run(
        ["bash", "-c", f"for word in {command.removeprefix('rushes ')}; do printf '%s\\0' \"$word\"; done"],
        capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    assert words[:2] == ["render", f"--prompt={row['prompt']}"]
    assert {"--seed=7", "--fps=8", "--duration=0.625", "--model=/models/a b", "--guidance-scale=3.5"} <= set(words)


def test_the_replay_command_names_what_a_take_starts_from() -> None:
    row = {"prompt": "on", "show": "a", "seed": 7, "fps": 8.0, "frames": 5, "source_shot": "b"}
    film, still = "shots/a/b/c.take-001.mp4", "shots/a/b/c.take-001.png"

    def words(task: str, **more: str) -> list[str]:
        return (
            replay_command({**row, "task": task, **more}, "default", "s3://films/x")
            .partition("--out=./replay")[2]
            .split()
        )

    assert words("extend", source_media=film) == [f"--video=s3://films/x/{film}"]
    assert words("i2v", source_media=still) == [f"--image=s3://films/x/{still}"]
    last = words("i2v", source_media=film)
    assert last[:2] == ["--image=frame.png", "#"] and last[3:] == ["the", "last", "frame", "of", f"s3://films/x/{film}"]
    assert "the first frame" in " ".join(words("i2v", source_media=film, source_frame="first"))
    assert "frame of a take of a/b, which does not stand" in " ".join(words("i2v")), "given up with what it waits for"
    assert words("extend")[:2] == ["--video=film.mp4", "#"]
    assert words("t2v") == []


def test_a_long_log_keeps_its_beginning_and_its_end() -> None:
    log = AttemptLog("title")
    log.say("\n".join(f"line {number}" for number in range(LINES_MOST * 2)))
    text = log.encode().decode().splitlines()
    assert len(text) == LINES_MOST + 1
    assert text[0].endswith("title")
    assert text[-1].endswith(f"line {LINES_MOST * 2 - 1}")
    assert any("lines left out" in line for line in text)


def test_a_large_plan_is_loaded_shard_by_shard(tmp_path: Path) -> None:
    shots = [shot(number % 1000, show=f"show{number // 1000}", priority=number // 1000) for number in range(3000)]
    spec = job(tmp_path, shots)
    ledger = Ledger.read(open_store(spec.store_url), spec)
    assert ledger.pending == 3000
    scheduler = Scheduler(expected=ledger.pending)
    ledger.settle(scheduler)
    order = ledger.shards_in_order()
    assert len(order) > 10
    assert sum(ledger.shard_sizes.values()) == 3000
    seen: list[int] = []
    for shard in order:
        takes = ledger.takes_of(shard)
        assert len(takes) == ledger.shard_sizes[shard]
        scheduler.add(takes)
        seen += [take.priority for take in takes]
    assert seen == sorted(seen, reverse=True), "the most urgent shards come first"
    assert scheduler.unloaded == 0
    assert scheduler.counts()["pending"] == 3000
    row = ledger.rows.slice(0, 1).to_pylist()[0]
    assert frame_bytes(row) == 32 * 32 * 5 * 3
