"""A catalog with a row of every task renders on two ranks; a film that cannot be used costs its own row."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from actors.client import Connection, render_job
from actors.job import PIPELINE_RENDERER, JobSpec
from infra.media import encode_film
from infra.store import open_store
from infra.store.jobs import quarantined
from model.facts import TASKS, read_facts
from tests.actors.farm import assert_whole, commits, job
from tests.model.folders import build_folder

FRAMES, SIDE = 9, 64
SMALL = {"width": SIDE, "height": SIDE, "fps": 8.0, "duration_s": FRAMES / 8, "steps": 2, "seed": 3}
LIMITS = {"collective_timeout_s": 30.0, "step_timeout_s": 120.0}
INPUTS = {
    "i2v": {"image_uri": "one.png"},
    "flf2v": {"image_uri": "one.png", "last_image_uri": "two.png"},
    "extend": {"video_uri": "film.mp4"},
    "extend_back": {"video_uri": "film.mp4"},
    "connect": {"video_uri": "film.mp4", "last_image_uri": "other.mp4"},
    "infill": {"video_uri": "film.mp4", "keep_frames": "0-4"},
    "v2v": {"video_uri": "film.mp4", "strength": 0.5},
    "edit": {"video_uri": "film.mp4", "mask_uri": "mask.png"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_folder(tmp_path_factory.mktemp("model") / "tiny")


def source(seed: int) -> np.ndarray:
    """A disc that crosses a plain ground, 12 frames: (12, side, side, 3)."""
    film = np.full((12, SIDE, SIDE, 3), (30, 40 * seed, 90), np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE]
    for frame in range(12):
        film[frame, (x - 10 - 4 * frame) ** 2 + (y - 32) ** 2 < 100] = (220, 60, 50)
    return film


def write_inputs(place: Path) -> None:
    for name, seed in (("film.mp4", 1), ("other.mp4", 2)):
        encode_film(source(seed), place / name, fps=8)
    for name, seed in (("one.png", 1), ("two.png", 2)):
        Image.fromarray(source(seed)[4]).save(place / name)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, SIDE // 2 :] = 255
    Image.fromarray(mask).save(place / "mask.png")


def film_of(spec: JobSpec, commit: dict) -> np.ndarray:
    with av.open(str(Path(spec.store_url.removeprefix("file://")) / commit["media"]["path"])) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


def problems(events: list) -> list[str]:
    return [f"{event.get('shot_id')}: {event['kind']}: {event.get('message')}" for event in events]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255.0**2 / max(np.mean((a.astype(float) - b.astype(float)) ** 2), 1e-9)))


def test_a_row_of_every_task_on_two_ranks(farm: Connection, tmp_path: Path, folder: Path) -> None:
    write_inputs(tmp_path)
    rows = [
        {"shot_id": task, "prompt": "a red circle moves left", "task": task, **SMALL, **INPUTS.get(task, {})}
        for task in TASKS
    ]
    spec = job(
        tmp_path, rows, facts=read_facts(folder), model_folder=str(folder), renderer=PIPELINE_RENDERER, gang=2,
        layout="cfg=2", roots=(str(tmp_path),), limits=LIMITS,
    )  # fmt: skip
    events: list = []
    status = render_job(farm, spec, on_events=events.extend, poll_s=0.2)
    assert (status["state"], status["takes"]["committed"]) == ("done", len(TASKS)), problems(events)
    assert_whole(spec, len(TASKS))
    found = {commit["shot_id"]: commit for commit in commits(spec)}
    for task, commit in found.items():
        frames = 1 if task == "still" else FRAMES
        assert (commit["media"]["frames"], commit["media"]["width"], commit["media"]["height"]) == (frames, SIDE, SIDE)
        assert (commit["gang"], commit["layout"]) == (2, "cfg=2")
    edit = film_of(spec, found["edit"])
    assert psnr(edit[:, :, : SIDE // 2], source(1)[:FRAMES, :, : SIDE // 2]) > 25, "what is black in the mask stays"
    assert psnr(edit[:, :, SIDE // 2 :], source(1)[:FRAMES, :, SIDE // 2 :]) < 20


def test_inputs_that_cannot_be_used_cost_their_own_rows(farm: Connection, tmp_path: Path, folder: Path) -> None:
    write_inputs(tmp_path)
    whole = (tmp_path / "film.mp4").read_bytes()
    (tmp_path / "broken.mp4").write_bytes(whole[:-300])
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "words.mp4").write_text("not a film " * 50)
    encode_film(source(1)[:4], tmp_path / "short.mp4", fps=8)
    row = {"prompt": "a red circle moves left", **SMALL}
    bad = {
        "broken": {"task": "v2v", "video_uri": "broken.mp4"},
        "empty": {"task": "extend", "video_uri": "empty.mp4"},
        "words": {"task": "infill", "video_uri": "words.mp4"},
        "short": {"task": "v2v", "video_uri": "short.mp4"},
        "no-mask": {"task": "edit", "video_uri": "film.mp4", "mask_uri": "words.mp4"},
        "gone": {"task": "connect", "video_uri": "film.mp4", "last_image_uri": "nowhere.mp4"},
        "film-for-picture": {"task": "flf2v", "image_uri": "one.png", "last_image_uri": "film.mp4"},
    }
    good = {"shot_id": "good", "task": "extend", "video_uri": "one.png"}  # a picture is a film that stands still
    spec = job(
        tmp_path, [{"shot_id": name, **columns, **row} for name, columns in bad.items()] + [good | row],
        facts=read_facts(folder), model_folder=str(folder), renderer=PIPELINE_RENDERER, roots=(str(tmp_path),),
        limits=LIMITS,
    )  # fmt: skip
    events: list = []
    status = render_job(farm, spec, on_events=events.extend, poll_s=0.2)
    assert (status["takes"]["committed"], status["takes"]["quarantined"]) == (1, len(bad)), problems(events)
    given_up = {event["shot_id"]: event for event in events if event["kind"] == "quarantined"}
    assert {event["error_class"] for event in given_up.values()} == {"input"}
    for name, words in {
        "broken": ("video_uri", "broken off"), "empty": ("video_uri", "does not play"),
        "words": ("video_uri", "FFmpeg"), "short": ("video_uri", "takes 9 frames"),
        "no-mask": ("mask_uri", "does not play"),
        "gone": ("nowhere.mp4",), "film-for-picture": ("last_image_uri", "image"),
    }.items():  # fmt: skip
        for word in words:
            assert word in given_up[name]["message"], given_up[name]["message"]
    assert not {event["shot_id"] for event in events if event["kind"] == "retry"}
    assert len(quarantined(open_store(spec.store_url), spec.job_id, round=1)) == len(bad)
