"""The model that ships: its size, its form, diffusers' reading of it, and whether it draws what it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.facts import DEFAULT_FOLDER, read_facts
from model.pipeline import Pipeline
from model.quality import asked_of, judge, read
from model.training import captions
from model.training.world import Motion, Scene, Thing, draw, sample_scene

TAKE: dict[str, Any] = {
    "prompt": "a large red circle moving right on a black background",
    "negative_prompt": "",
    "width": 128,
    "height": 128,
    "frames": 17,
    "seed": 11,
    "steps": 20,
    "guidance_scale": 3.0,
}


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    torch.set_num_threads(1)
    return Pipeline.from_pretrained(DEFAULT_FOLDER)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal to noise ratio in dB of values in 0..255."""
    return float(10 * np.log10(255.0**2 / max(float(np.mean((a.astype(float) - b.astype(float)) ** 2)), 1e-9)))


def test_weights_are_small_and_safetensors_only() -> None:
    files = [path for path in DEFAULT_FOLDER.rglob("*") if path.is_file()]
    weights = [path for path in files if path.suffix == ".safetensors"]
    assert {path.parent.name for path in weights} == {"transformer", "vae", "text_encoder"}
    assert sum(path.stat().st_size for path in weights) <= 30_000_000
    assert not [path for path in files if path.suffix in {".bin", ".pt", ".pth", ".ckpt", ".pkl"}]


def test_facts_are_those_of_the_ti2v_form() -> None:
    facts = read_facts()
    assert set(facts["tasks"]) >= {"t2v", "still", "i2v"}
    assert (facts["width"], facts["height"], facts["frames"], facts["fps"]) == (128, 128, 33, 8)
    assert (facts["grid"], facts["frame_stride"]) == (16, 4)
    assert facts["precision"]["transformer"] == "float32"
    assert facts["precision"]["autoencoder"] == "bfloat16"


def diffusers_frames(image: np.ndarray | None = None) -> np.ndarray:
    """The same take by diffusers' own pipeline, with the precision that rushes renders in."""
    from diffusers import AutoencoderKLWan, WanImageToVideoPipeline, WanPipeline
    from PIL import Image

    kind = WanPipeline if image is None else WanImageToVideoPipeline
    vae = AutoencoderKLWan.from_pretrained(DEFAULT_FOLDER / "vae", torch_dtype=torch.bfloat16)
    reference = kind.from_pretrained(DEFAULT_FOLDER, vae=vae, torch_dtype=torch.float32)
    reference.set_progress_bar_config(disable=True)
    given = {} if image is None else {"image": Image.fromarray(image)}
    frames = reference(
        prompt=TAKE["prompt"],
        negative_prompt="",
        width=TAKE["width"],
        height=TAKE["height"],
        num_frames=TAKE["frames"],
        num_inference_steps=TAKE["steps"],
        guidance_scale=TAKE["guidance_scale"],
        generator=torch.Generator().manual_seed(TAKE["seed"]),
        **given,
    ).frames[0]
    return np.round(frames * 255)


def test_diffusers_gives_the_same_clip_from_text(pipeline: Pipeline) -> None:
    assert psnr(pipeline(**TAKE), diffusers_frames()) >= 45


def test_diffusers_gives_the_same_clip_from_an_image(pipeline: Pipeline) -> None:
    thing = Thing("circle", "red", "large", 25.6, Motion("straight", "right", (40.0, 64.0)))
    image = draw(Scene((thing,), "black", 128, 128, 1))[0]
    condition = pipeline.condition_i2v(image, width=128, height=128, frames=17)
    frames = pipeline(**TAKE, condition=condition)
    assert psnr(frames, diffusers_frames(image)) >= 45
    assert psnr(frames[0], image) >= 20, "the clip begins with its image"


@pytest.mark.parametrize(
    ("family", "clips", "floors"),
    [
        ("one", 12, {"color": 0.9, "background": 0.9, "direction": 0.9, "size": 0.9, "count": 0.9, "shape": 0.9}),
        ("two", 8, {"count": 0.75, "position": 0.6, "binding": 0.5}),
    ],
)
def test_it_draws_what_it_is_asked_for(
    pipeline: Pipeline, family: str, clips: int, floors: Mapping[str, float]
) -> None:
    """A few fresh prompts; the card says how far each attribute obeys, measured on more of them."""
    rng = np.random.default_rng(99)
    passed: dict[str, list[bool]] = {}
    for seed in range(clips):
        scene = sample_scene(rng, TAKE["width"], TAKE["height"], TAKE["frames"], shares={family: 1.0})
        scene = replace(scene, texture="plain", style="flat")
        clip = pipeline(**{**TAKE, "prompt": captions.dense(scene), "seed": seed})
        for name, verdict in judge(read(clip), asked_of(scene)).items():
            passed.setdefault(name, []).append(verdict.passed)
    found = {name: float(np.mean(values)) for name, values in passed.items()}
    assert all(found[name] >= floor for name, floor in floors.items()), found


def test_the_same_seed_gives_the_same_clip_and_another_seed_another(pipeline: Pipeline) -> None:
    again = pipeline(**TAKE)
    assert psnr(pipeline(**TAKE), again) > 60
    assert psnr(pipeline(**{**TAKE, "seed": 12}), again) < 40


def test_the_model_card_is_there() -> None:
    card = (Path(DEFAULT_FOLDER) / "README.md").read_text()
    assert "Apache-2.0" in card
