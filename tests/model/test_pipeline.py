"""The pipeline gives diffusers' clip: same folder, same noise, same picture."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch

from model.condition import Condition
from model.errors import InputError, ModelError, NonFinite
from model.folder import PipelineFolder
from model.pipeline import Pipeline
from model.text import cleaner
from tests.model.folders import Kind, build_folder

PROMPT, NEGATIVE = "a red circle moves left on a black background .", "blue square"
CLIP: dict[str, Any] = {"width": 48, "height": 32, "frames": 9}
TAKE: dict[str, Any] = {**CLIP, "prompt": PROMPT, "negative_prompt": NEGATIVE, "seed": 5, "steps": 4}
Folders = Callable[..., Path]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Makes a tiny folder once for each set of options."""
    made: dict[Any, Path] = {}

    def folder(kind: Kind, **options: Any) -> Path:
        key = (kind, *sorted(options.items()))
        if key not in made:
            made[key] = build_folder(tmp_path_factory.mktemp(kind), kind, **options)
        return made[key]

    return folder


def load(path: Path | str, **options: Any) -> Pipeline:
    return Pipeline.from_pretrained(path, **{"autoencoder_dtype": torch.float32, **options})


def picture(width: int = 48, height: int = 32) -> np.ndarray:
    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (4, 6, 3)).astype(np.uint8)
    return np.ascontiguousarray(small.repeat(height // 4, 0).repeat(width // 6, 1))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal to noise ratio in dB of values in 0..255."""
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(10 * np.log10(255.0**2 / max(error, 1e-12)))


def reference(
    path: Path, *, image: np.ndarray | None = None, dtype: torch.dtype = torch.float32, scale: float = 4.0, **more: Any
) -> tuple[torch.Tensor, np.ndarray]:
    """Latents and 8-bit frames of diffusers' own pipeline, from the noise of the take's seed."""
    from diffusers import AutoencoderKLWan, WanImageToVideoPipeline, WanPipeline
    from PIL import Image

    kind = WanPipeline if image is None else WanImageToVideoPipeline
    vae = AutoencoderKLWan.from_pretrained(path / "vae", torch_dtype=dtype)
    pipeline = kind.from_pretrained(path, vae=vae)
    pipeline.set_progress_bar_config(disable=True)
    given: dict[str, Any] = {} if image is None else {"image": Image.fromarray(image)}
    found: dict[str, Any] = {}

    def keep(_: Any, index: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
        found["latents"] = values["latents"]
        return {}

    frames = pipeline(
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        width=CLIP["width"],
        height=CLIP["height"],
        num_frames=CLIP["frames"],
        num_inference_steps=TAKE["steps"],
        guidance_scale=scale,
        generator=torch.Generator().manual_seed(TAKE["seed"]),
        callback_on_step_end=keep,
        **given,
        **more,
    ).frames[0]
    return found["latents"], np.round(frames * 255)


def check_same(pipeline: Pipeline, wanted: tuple[torch.Tensor, np.ndarray], **take: Any) -> None:
    """Latents within fp32 rounding, and frames that no eye could tell apart."""
    latents = pipeline.denoise(**{**TAKE, "guidance_scale": 4.0, **take})
    condition = take.get("condition")
    # diffusers' call-back sees the latents before the known ones are put back.
    free = slice(None) if condition is None else slice(1, None)
    difference = (latents - wanted[0])[:, :, free].abs().max() / wanted[0].abs().max()
    assert difference < 2e-5
    frames = pipeline.decode(latents)
    assert frames.shape == (CLIP["frames"], CLIP["height"], CLIP["width"], 3)
    assert frames.dtype == np.uint8
    assert frames.std() > 5, "a flat picture would hide every error"
    found = psnr(frames, wanted[1])
    print(f"{found:.1f} dB against diffusers")
    assert found > 60


@pytest.mark.parametrize("scheduler", ["unipc", "euler"])
@pytest.mark.parametrize("kind", ["ti2v", "t2v"])
def test_text_to_video(folders: Folders, kind: Kind, scheduler: str) -> None:
    path = folders(kind, scheduler=scheduler)
    check_same(load(path), reference(path))


def test_image_to_video_by_time_steps(folders: Folders) -> None:
    path = folders("ti2v")
    pipeline = load(path)
    condition = pipeline.condition_i2v(picture(), **CLIP)
    check_same(pipeline, reference(path, image=picture()), condition=condition)
    latents = pipeline.denoise(**TAKE, guidance_scale=4.0, condition=condition)
    assert torch.equal(latents[:, :, :1], condition.latents[:, :, :1]), "the first frame is the image"


def test_image_to_video_by_channels_and_image_tokens(folders: Folders) -> None:
    path = folders("i2v")
    pipeline = load(path)
    condition = pipeline.condition_i2v(picture(), **CLIP)
    assert condition.image_tokens is not None
    latents, frames = reference(path, image=picture())
    found = pipeline.denoise(**TAKE, guidance_scale=4.0, condition=condition)
    assert (found - latents).abs().max() / latents.abs().max() < 2e-5
    assert psnr(pipeline.decode(found), frames) > 60
    with pytest.raises(InputError, match="needs a condition"):
        pipeline.denoise(**TAKE, guidance_scale=4.0)


def test_two_experts_take_over_at_the_boundary(folders: Folders) -> None:
    path = folders("t2v", experts=2)
    pipeline = load(path)
    check_same(pipeline, reference(path, guidance_scale_2=2.0), guidance_scale_2=2.0)
    low = pipeline.denoise(**TAKE, guidance_scale=4.0, guidance_scale_2=2.0)
    same = pipeline.denoise(**TAKE, guidance_scale=4.0)
    assert (low - same).abs().max() > 1e-3, "the second scale belongs to the second expert"


def test_guidance_of_one_is_a_single_forward(folders: Folders) -> None:
    path = folders("ti2v")
    check_same(load(path), reference(path, scale=1.0), guidance_scale=1.0)


def test_bf16_autoencoder_is_diffusers_too(folders: Folders) -> None:
    path = folders("ti2v")
    pipeline = load(path, autoencoder_dtype="bfloat16")
    _, frames = reference(path, dtype=torch.bfloat16)
    found = psnr(pipeline(**TAKE, guidance_scale=4.0), frames)
    print(f"{found:.1f} dB against diffusers, both autoencoders in bf16")
    assert found > 45


def test_a_still_is_one_frame(folders: Folders) -> None:
    frames = load(folders("ti2v"))(**{**TAKE, "frames": 1}, guidance_scale=4.0, depth="uint16")
    assert frames is not None
    assert frames.shape == (1, 32, 48, 3)
    assert frames.dtype == np.uint16
    assert frames.max() > 4096, "16 bits are used"


def test_plain_checkpoint_keeps_the_image(folders: Folders) -> None:
    pipeline = load(folders("t2v"))
    condition = pipeline.condition_i2v(picture(), **CLIP)
    latents = pipeline.denoise(**TAKE, guidance_scale=4.0, condition=condition)
    assert torch.equal(latents[:, :, :1], condition.latents[:, :, :1])
    free = pipeline.denoise(**TAKE, guidance_scale=4.0)
    assert (latents - free)[:, :, 1:].abs().max() > 1e-3, "the other frames know of it"


def test_strength_starts_from_the_noised_source(folders: Folders) -> None:
    pipeline = load(folders("t2v", scheduler="euler"))
    source = pipeline.draw_noise(9, pipeline.grid_of(**CLIP)) * 0.5
    done: list[tuple[int, int]] = []
    take = {**TAKE, "steps": 10, "guidance_scale": 1.0}
    faint = pipeline.denoise(
        **take, condition=Condition.source(source, strength=0.2), on_step=lambda *step: done.append(step)
    )
    assert done == [(1, 2), (2, 2)]
    strong = pipeline.denoise(**take, condition=Condition.source(source, strength=0.9))
    assert (faint - source).abs().mean() < 0.7 * (strong - source).abs().mean()


def test_same_seed_same_clip_and_fresh_sampler(folders: Folders) -> None:
    pipeline = load(folders("ti2v"))
    first = pipeline.denoise(**TAKE, guidance_scale=4.0)
    pipeline.denoise(**{**TAKE, "seed": 6, "steps": 3}, guidance_scale=2.0)
    # Memory alignment moves CPU kernels by rounding, so not bit by bit.
    assert torch.allclose(first, pipeline.denoise(**TAKE, guidance_scale=4.0), atol=1e-5)
    assert not torch.allclose(first, pipeline.denoise(**{**TAKE, "seed": 6}, guidance_scale=4.0), atol=1e-2)


def test_on_step_counts_and_stops(folders: Folders) -> None:
    pipeline = load(folders("ti2v"))
    steps: list[tuple[int, int]] = []

    class CancelledError(Exception):
        pass

    def on_step(done: int, total: int) -> None:
        steps.append((done, total))
        if done == 2:
            raise CancelledError

    with pytest.raises(CancelledError):
        pipeline.denoise(**TAKE, guidance_scale=4.0, on_step=on_step)
    assert steps == [(1, 4), (2, 4)]


def test_poisoned_weights_are_found_at_their_step(folders: Folders) -> None:
    pipeline = load(folders("ti2v"))
    with torch.no_grad():
        next(pipeline.experts[0].parameters()).fill_(float("nan"))
    with pytest.raises(NonFinite, match="latents are not finite at step 0") as caught:
        pipeline.denoise(**TAKE, guidance_scale=4.0)
    assert (caught.value.step, caught.value.what) == (0, "latents")
    latents = torch.full((1, 16, 1, 4, 4), float("nan"))
    with pytest.raises(NonFinite, match="frames"):
        pipeline.decode(latents)


def test_infinity_in_the_decoder_does_not_become_white_or_black(folders: Folders) -> None:
    pipeline = load(folders("ti2v"))
    with torch.no_grad():
        pipeline._need(pipeline._autoencoder, "autoencoder").model.decoder.conv_out.bias.fill_(-float("inf"))
    with pytest.raises(NonFinite, match="frames"):
        pipeline.decode(torch.zeros(1, 16, 1, 4, 4))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"width": 40}, "not on the model's grid"),
        ({"height": 0}, "not on the model's grid"),
        ({"frames": 8}, "multiple of 4 plus one"),
        ({"frames": 0}, "multiple of 4 plus one"),
        ({"steps": 0}, "at least 1"),
    ],
)
def test_settings_off_the_grid_are_input_errors(folders: Folders, change: dict[str, int], says: str) -> None:
    pipeline = load(folders("ti2v"))
    with pytest.raises(InputError, match=says):
        pipeline.denoise(**{**TAKE, **change}, guidance_scale=4.0)


def test_condition_of_another_size_is_refused(folders: Folders) -> None:
    pipeline = load(folders("ti2v"))
    condition = pipeline.condition_i2v(picture(), width=32, height=32, frames=9)
    with pytest.raises(InputError, match=r"\(1, 16, 3, 4, 6\)"):
        pipeline.denoise(**TAKE, guidance_scale=4.0, condition=condition)


def test_other_ranks_load_the_transformer_alone(folders: Folders) -> None:
    pipeline = load(folders("ti2v"), parts=Pipeline.parts_of(1))
    with pytest.raises(ModelError, match="has not loaded the autoencoder"):
        pipeline.decode(torch.zeros(1, 16, 1, 4, 4))
    with pytest.raises(ModelError, match="no part vae"):
        load(folders("ti2v"), parts={"vae"})


def test_flow_shift_override_changes_the_walk(folders: Folders) -> None:
    path = folders("ti2v")
    usual, shifted = load(path), load(path, flow_shift=8.0)
    assert usual.sampler.start(4).noise_level(1) < shifted.sampler.start(4).noise_level(1)
    assert "shift=8" in shifted.sampler.description


def test_noise_of_another_size_is_refused(folders: Folders) -> None:
    pipeline = load(folders("ti2v"))
    given = pipeline.draw_noise(TAKE["seed"], pipeline.grid_of(**CLIP))
    same = pipeline.denoise(**{**TAKE, "seed": 0}, guidance_scale=4.0, noise=given)
    assert torch.allclose(same, pipeline.denoise(**TAKE, guidance_scale=4.0), atol=1e-5)
    with pytest.raises(InputError, match="noise of"):
        pipeline.denoise(**TAKE, guidance_scale=4.0, noise=given[:, :, :1])
    with pytest.raises(InputError, match="64 bits"):
        pipeline.denoise(**{**TAKE, "seed": 2**64})


def test_what_made_the_pictures_is_on_record(folders: Folders) -> None:
    pipeline = load(folders("ti2v"), transformer_dtype="bfloat16")
    assert pipeline.describe() == {
        "sampler": "UniPCMultistep shift=3 solver_order=2 solver_type=bh2",
        "form": "TIMESTEPS",
        "text_cleaning": cleaner(),
        "transformer": "bfloat16",
        "autoencoder": "float32",
        "text_encoder": "float32",
    }
    for dtype in ("int8", "nothing"):
        with pytest.raises(ModelError, match="not a floating-point dtype"):
            load(folders("ti2v"), transformer_dtype=dtype)


def test_a_url_is_as_good_as_a_folder(folders: Folders, tmp_path: Path) -> None:
    fsspec.filesystem("memory").put(str(folders("t2v")), "/test_pipeline/model", recursive=True)
    remote = load("memory://test_pipeline/model", cache=tmp_path)
    assert remote.facts["folder"] == "memory://test_pipeline/model"
    assert remote.facts["grid"] == 16
    wanted = load(folders("t2v")).denoise(**TAKE, guidance_scale=4.0)
    assert torch.allclose(remote.denoise(**TAKE, guidance_scale=4.0), wanted, atol=1e-5)


def test_folders_that_are_no_pipelines(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        Pipeline.from_pretrained(tmp_path / "nothing")
    (tmp_path / "weights.bin").touch()
    with pytest.raises(ModelError, match=r"Found: weights\.bin"):
        PipelineFolder.open(tmp_path)


def test_pickled_weights_are_never_loaded(folders: Folders, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folders("ti2v"), copy)
    vae = copy / "vae"
    (vae / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, vae / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelError, match="autoencoder"):
        load(copy)


def test_what_a_script_leaves_out_is_the_models_own(folders: Folders) -> None:
    pipeline = load(folders("ti2v"))
    own = {**CLIP, "steps": 2, "guidance_scale": 3.0}
    pipeline.facts = {**pipeline.facts, **own}
    assert torch.equal(pipeline.denoise(PROMPT), pipeline.denoise(PROMPT, **own, negative_prompt="", seed=0))
    assert pipeline(PROMPT, seed=7).shape == (9, 32, 48, 3)


def test_a_device_that_is_not_there_is_told(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="no cuda:1 on this machine"):
        Pipeline.from_pretrained(folders("ti2v"), device="cuda:1")
