"""A long clip in the farm: a killed gang costs the piece it was at, and a commit leaves no pieces behind."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.client import Connection, render_job
from actors.job import PIPELINE_RENDERER, JobSpec
from infra.store import open_store
from infra.store.verify import audit
from model.facts import read_facts
from model.long import plan_pieces
from tests.actors.farm import assert_whole, commits, eventually, job, kinds, workers
from tests.actors.test_real_pipeline import frames
from tests.model.folders import build_folder

STEPS = 40
LONG = {"width": 32, "height": 32, "fps": 8.0, "duration_s": 9.5, "steps": STEPS, "seed": 5}
LIMITS = {"collective_timeout_s": 30.0, "step_timeout_s": 120.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = build_folder(tmp_path_factory.mktemp("model") / "tiny")
    own: dict[str, Any] = {"width": 32, "height": 32, "frames": 17, "fps": 8, "min_size": 32, "steps": 4}
    own |= {"precision": {"autoencoder": "float32"}}  # random weights make much of the last bit of bf16
    (path / "rushes.json").write_text(json.dumps(own))
    return path


def long_job(place: Path, folder: Path, shots: list[dict[str, Any]], **more: Any) -> JobSpec:
    place.mkdir(exist_ok=True)
    return job(
        place, shots, facts=read_facts(folder), model_folder=str(folder), renderer=PIPELINE_RENDERER,
        limits=LIMITS, **more,
    )  # fmt: skip


def logged(store: Path, what: str) -> list[str]:
    """Pieces of which the attempts' logs say that they were made, or taken."""
    lines = [line for log in (store / "logs").rglob("*.log") for line in log.read_text().splitlines()]
    return [line.split(" piece ")[1].split()[0] for line in lines if " piece " in line and what in line]


def test_a_killed_gang_costs_the_piece_it_was_at(farm: Connection, tmp_path: Path, folder: Path) -> None:
    shots = [{"shot_id": "minute", "prompt": "a red circle moves left", **LONG}]
    whole = long_job(tmp_path / "whole", folder, shots)
    assert render_job(farm, whole, poll_s=0.2)["state"] == "done"
    spec = long_job(tmp_path / "killed", folder, shots)
    store, events = tmp_path / "killed" / "store", []

    def kill() -> None:
        eventually(lambda: len(list((store / "jobs" / "job" / "pieces").rglob("*.safetensors"))) >= 4, every_s=0.01)
        for rank in workers("Rank"):
            os.kill(rank.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    status = render_job(farm, spec, on_events=events.extend, poll_s=0.2)
    killer.join()
    assert status["state"] == "done" and "gang_lost" in kinds(events)
    assert_whole(spec, 1)
    plan = plan_pieces("hierarchical", 20, 5)
    taken, made = logged(store, "taken from the store"), logged(store, " made")
    assert len(taken) >= 4
    # What the killed gang made is told by nobody but the store: its log went with it.
    assert sorted([*taken, *made]) == sorted(piece.id for piece in plan.pieces), "what was kept was not made again"
    ((one,), (other,)) = commits(whole), commits(spec)
    assert other["attempt"] == 2
    assert np.array_equal(frames(tmp_path / "whole" / "store", one), frames(store, other))
    for place in (tmp_path / "whole" / "store", store):
        assert not list((place / "jobs" / "job" / "pieces").rglob("*.safetensors")), "a commit leaves no pieces"
    assert audit(open_store(store)).orphans == []


def test_every_method_renders_on_two_ranks(farm: Connection, tmp_path: Path, folder: Path) -> None:
    shots: list[dict[str, Any]] = [
        {"shot_id": method, "prompt": "a red circle moves left", **LONG, "steps": 2, "long_method": method}
        for method in ("hierarchical", "overlap", "co_denoise")
    ]
    shots.append({"shot_id": "loop", "prompt": "a red circle moves left", **LONG, "steps": 2, "task": "loop"})
    made = {}
    for gang, layout in ((1, None), (2, "cfg=2")):
        place = tmp_path / f"gang-{gang}"
        spec = long_job(place, folder, shots, gang=gang, layout=layout)
        status = render_job(farm, spec, poll_s=0.2)
        assert (status["state"], status["takes"]["committed"]) == ("done", 4), status
        made[gang] = {commit["shot_id"]: frames(place / "store", commit) for commit in commits(spec)}
    for name, alone in made[1].items():
        assert alone.shape == made[2][name].shape == (76, 32, 32, 3)
        assert np.mean((alone.astype(float) - made[2][name].astype(float)) ** 2) < 1.0, name
        assert alone.std() > 1.0


def test_a_gang_with_nothing_to_render_helps_with_a_long_take(farm: Connection, tmp_path: Path, folder: Path) -> None:
    shots = [
        # Long enough to be still at work when the second gang has been built and is done with the short one.
        {"shot_id": "minute", "prompt": "a red circle moves left", **LONG, "duration_s": 15.0, "steps": 6 * STEPS},
        {"shot_id": "short", "prompt": "a blue square", **LONG, "duration_s": 1.0, "steps": 2},
    ]
    spec = long_job(tmp_path, folder, shots, gangs_max=2)
    status = render_job(farm, spec, poll_s=0.2)
    assert (status["state"], status["takes"]["committed"]) == ("done", 2)
    taken, made = logged(tmp_path / "store", "taken from the store"), logged(tmp_path / "store", " made")
    assert set(taken), "the gang that rendered it took what the other had made"
    assert set(taken) <= set(made)
    assert {*made, *taken} == {piece.id for piece in plan_pieces("hierarchical", 31, 5).pieces}
    # Every second of both gangs is in the books once.
    booked = sum(commit["gpu_s"] for commit in commits(spec))
    assert status["gpu_s"]["rendered"] == pytest.approx(booked, abs=0.01)
