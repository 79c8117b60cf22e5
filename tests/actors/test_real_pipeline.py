"""One job with a real pipeline folder of random weights: a rank alone and a gang of two make the same films."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from actors.client import Connection, render_job
from actors.job import PIPELINE_RENDERER
from model.facts import read_facts
from tests.actors.farm import assert_whole, commits, job, kinds, shot
from tests.model.folders import build_folder

SMALL = {"width": 32, "height": 32, "fps": 8.0, "duration_s": 0.625, "steps": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_folder(tmp_path_factory.mktemp("model") / "tiny")


def frames(store: Path, commit: dict) -> np.ndarray:
    with av.open(str(store / commit["media"]["path"])) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


def test_a_rank_alone_and_gangs_of_two_make_the_same_films(farm: Connection, tmp_path: Path, folder: Path) -> None:
    facts = read_facts(folder)
    made = {}
    for name, gang, layout in [("alone", 1, None), ("ulysses", 2, "ulysses=2")]:
        place = tmp_path / name
        place.mkdir()
        Image.new("RGB", (48, 32), (200, 30, 30)).save(place / "first.png")
        shots = [
            {"shot_id": "words", "prompt": "a red circle moves left", **SMALL},
            {"shot_id": "picture", "prompt": "a blue square", "task": "i2v", "image_uri": "first.png", **SMALL},
        ]
        spec = job(
            place, shots, facts=facts, model_folder=str(folder), renderer=PIPELINE_RENDERER, gang=gang, layout=layout,
            roots=(str(place),), limits={"collective_timeout_s": 30.0, "step_timeout_s": 120.0},
        )  # fmt: skip
        events: list = []
        status = render_job(farm, spec, on_events=events.extend, poll_s=0.2)
        assert (status["state"], status["takes"]["committed"]) == ("done", 2), events
        assert_whole(spec, 2)
        made[name] = {commit["shot_id"]: (commit, frames(place / "store", commit)) for commit in commits(spec)}
    for shot_id in ("words", "picture"):
        (one, alone), (two, together) = made["alone"][shot_id], made["ulysses"][shot_id]
        assert (one["gang"], one["layout"]) == (1, "single")
        assert (two["gang"], two["layout"]) == (2, "ulysses=2")
        if shot_id == "words":  # the other's key knows its image by content too, but was left open in the plan
            assert one["spec_key"] == two["spec_key"]
        assert alone.shape == together.shape == (5, 32, 32, 3)
        error = np.mean((alone.astype(float) - together.astype(float)) ** 2)
        assert error < 1.0, f"{shot_id}: mean squared error {error}"
        assert alone.std() > 1.0


def test_nan_from_the_model_takes_all_ranks_out_and_the_gang_lives(
    farm: Connection, tmp_path: Path, folder: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    weights = broken / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["proj_out.bias"] = torch.full_like(tensors["proj_out.bias"], math.nan)
    save_file(tensors, weights)
    spec = job(
        tmp_path, [shot(0, **SMALL)], facts=read_facts(broken), model_folder=str(broken), renderer=PIPELINE_RENDERER,
        gang=2, layout="cfg=2", limits={"collective_timeout_s": 30.0, "step_timeout_s": 120.0},
    )  # fmt: skip
    events: list = []
    status = render_job(farm, spec, on_events=events.extend, poll_s=0.2)
    assert status["takes"]["quarantined"] == 1
    assert [event["error_class"] for event in events if event["kind"] in ("retry", "quarantined")] == ["nan", "nan"]
    assert "latents are not finite" in next(event["message"] for event in events if event["kind"] == "quarantined")
    assert kinds(events).count("gang_ready") == 1, "the ranks left together: the gang was as good as before"
