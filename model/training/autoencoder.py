"""Trains the default model's video autoencoder: diffusers' Wan class, small, with patch size 2 (stride 4 x 8 x 8).

    python -m model.training.autoencoder --out runs/autoencoder --steps 6000

Most batches are crops around the shape, where the detail is; a part is full-length, because a causal decoder drifts in
colour past the lengths that it has seen.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from model.training.run import Run, ended
from model.training.world import coverage, draw, on_screen, sample_scene

CONFIG = {
    "base_dim": 32,
    "z_dim": 16,
    "dim_mult": [1, 2, 4],
    "num_res_blocks": 1,
    "attn_scales": [],
    "temperal_downsample": [True, True],
    "dropout": 0.0,
    "is_residual": False,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_temporal": 4,
    "scale_factor_spatial": 8,
    "latents_mean": [0.0] * 16,
    "latents_std": [1.0] * 16,
}
FOREGROUND_WEIGHT = 4.0
TRAIL = 8  # frames for which a place that a thing has left counts as more than background
# (width, height, frames) of the clips that training cuts from; the longest are as long as the model's own.
CLIPS = ((128, 128, 33), (64, 64, 17), (160, 96, 33))
# (frames, side of the crop, clips in a batch, share of the steps). Shapes and colours are learnt twice as fast from
# stills alone, so that the first part of a run sees nothing else. A causal decoder drifts past the lengths that it has
# seen, so that a part of the diet is as long as a clip can be.
STILLS = ((1, 32, 12, 0.8), (1, 64, 4, 0.2))
MIXED = ((5, 48, 4, 0.45), (17, 32, 2, 0.2), (17, 64, 1, 0.15), (33, 48, 1, 0.1), (1, 96, 3, 0.1))
STILLS_PART = 0.3
# After this part of the run the encoder stands still, so that latents can be made while the decoder goes on learning.
ENCODER_PART = 0.4
LATENT_NOISE = 0.1  # of a latent's deviation, at most, added for the decoder: a sampler's latents are never quite clean


def sample_batch(rng: np.random.Generator, frames: int, side: int, count: int) -> tuple[Tensor, Tensor]:
    """Clips (count, 3, frames, side, side) in -1..1 and their foreground (count, 1, frames, side, side) in 0..1."""
    clips, masks = [], []
    for _ in range(count):
        width, height, length = CLIPS[int(rng.integers(len(CLIPS)))]
        while min(width, height) < side or length < frames:
            width, height, length = CLIPS[int(rng.integers(len(CLIPS)))]
        # Short crops show a short scene, whose motion is that of any part of a long one.
        scene = sample_scene(rng, width, height, frames if frames == 1 or rng.random() < 0.3 else length)
        first = int(rng.integers(0, scene.frames - frames + 1))
        clip, mask = draw(scene), coverage(scene)
        places, _ = on_screen(scene)
        middle = places[int(rng.integers(len(scene.things))), first + frames // 2]
        x, y = middle + rng.normal(0, side / 5, 2)
        left = int(np.clip(x - side / 2, 0, width - side))
        top = int(np.clip(y - side / 2, 0, height - side))
        clips.append(clip[first : first + frames, top : top + side, left : left + side])
        masks.append(mask[first : first + frames, top : top + side, left : left + side])
    video = rearrange(torch.from_numpy(np.stack(clips)), "b t h w c -> b c t h w").float() / 127.5 - 1
    front = torch.from_numpy(np.stack(masks)).float().unsqueeze(1)
    # One pixel around the shape counts as foreground too: an edge is what the eye sees first. Where a shape has just
    # been counts half: a causal decoder remembers it there, and leaves a trail.
    edge = F.max_pool3d(front, (1, 3, 3), stride=1, padding=(0, 1, 1))
    past = F.max_pool3d(F.pad(edge, (0, 0, 0, 0, TRAIL, 0)), (TRAIL + 1, 1, 1), stride=1)
    return video, torch.maximum(edge, past / 2)


def psnr(a: Tensor, b: Tensor, weight: Tensor | None = None) -> float:
    """Peak signal to noise ratio in dB of signals in -1..1, over `weight` where given."""
    error = (a.float() - b.float()).clamp(-2, 2) ** 2
    mean = error.mean() if weight is None else (error * weight).sum() / (weight.sum() * error.shape[1]).clamp_min(1)
    return float(10 * torch.log10(4 / mean.clamp_min(1e-10)))


def reconstruct(vae: Any, video: Tensor) -> Tensor:
    """Encodes to the mean latents and decodes again, under bf16 autocast."""
    with torch.no_grad(), torch.autocast(video.device.type, torch.bfloat16):
        return vae.decode(vae.encode(video).latent_dist.mode()).sample.float().clamp(-1, 1)


def measure(
    vae: Any, seed: int = 10**6, count: int = 8, size: tuple[int, int, int] = (128, 128, 33)
) -> dict[str, list[float] | float]:
    """PSNR on whole clips that training never saw: overall, on the foreground, and for each frame position.

    size: width, height and frames of the clips.
    """
    rng = np.random.default_rng(seed)
    whole, front, frames = [], [], []
    for _ in range(count):
        scene = sample_scene(rng, *size)
        video = rearrange(torch.from_numpy(draw(scene)), "t h w c -> 1 c t h w").float() / 127.5 - 1
        mask = rearrange(torch.from_numpy(coverage(scene)).float(), "t h w -> 1 1 t h w")
        again = reconstruct(vae, video.to(vae.device)).cpu()
        whole.append(psnr(again, video))
        front.append(psnr(again, video, mask))
        frames.append([psnr(again[:, :, t], video[:, :, t]) for t in range(size[2])])
    return {
        "psnr": float(np.mean(whole)),
        "psnr_foreground": float(np.mean(front)),
        "psnr_by_frame": [round(float(v), 2) for v in np.mean(frames, axis=0)],
    }


def measure_latents(vae: Any, seed: int = 2 * 10**6, count: int = 24) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each latent channel over whole clips and stills, for `latents_mean` and `_std`."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        video = torch.from_numpy(draw(sample_scene(rng, 128, 128, 17 if index % 4 else 1)))
        seen = (rearrange(video, "t h w c -> 1 c t h w").float() / 127.5 - 1).to(vae.device)
        with torch.no_grad(), torch.autocast(vae.device.type, torch.bfloat16):
            latents = vae.encode(seen).latent_dist.mode()
        found.append(rearrange(latents.float().cpu(), "1 c t h w -> (t h w) c"))
    values = torch.cat(found)
    return [round(float(v), 5) for v in values.mean(0)], [round(float(v), 5) for v in values.std(0)]


def start_gently(vae: Any) -> None:
    """First weights from which training gets going at once.

    A posterior of unit width drowns the first latents in noise, so that it starts narrow (a deviation of 0.08). The
    convolutions over time start as "take the newest frame" on the way down and "show it twice" on the way up: what is
    learnt from stills then holds for clips from the first step.
    """
    with torch.no_grad():
        vae.quant_conv.bias[CONFIG["z_dim"] :] = -5.0
        for name, layer in vae.named_modules():
            if name.endswith("time_conv"):
                layer.weight.zero_()
                layer.bias.zero_()
                layer.weight[:, :, -1, 0, 0] = torch.eye(layer.in_channels).repeat(
                    layer.out_channels // layer.in_channels, 1
                )


_ENCODER = ("encoder.", "quant_conv.")


def hold_encoder(vae: Any) -> None:
    """Leaves the encoder out of training."""
    for name, value in vae.named_parameters():
        if name.startswith(_ENCODER):
            value.requires_grad_(False)


def freeze_encoder(vae: Any, run: Run, folder: Path) -> None:
    """Ends the encoder's training on its averaged weights, notes the latents' statistics, keeps a copy in `folder`."""
    for name, value in vae.named_parameters():
        if name.startswith(_ENCODER):
            value.data.copy_(run.averaged[name])
    hold_encoder(vae)
    vae.eval()
    mean, std = measure_latents(vae)
    vae.register_to_config(latents_mean=mean, latents_std=std)
    vae.save_pretrained(folder)
    vae.train()


def main() -> None:
    """Command line of the trainer; ends by writing a diffusers folder `vae/` under `--out`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a folder of an autoencoder to go on from, stills left out")
    parser.add_argument("--decoder-only", action="store_true", help="with --start: latents stay what they are")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--measure", type=int, default=8, help="whole clips to measure on at the end; 0 for none")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long; run again to go on")
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    if given.decoder_only and not given.start:
        parser.error("--decoder-only needs --start: a decoder of its own would fit no encoder")
    torch.set_num_threads(given.threads)
    from diffusers import AutoencoderKLWan

    torch.manual_seed(0)
    vae: Any = AutoencoderKLWan(**CONFIG)
    vae.train()
    if given.start:
        begun = AutoencoderKLWan.from_pretrained(given.start, torch_dtype=torch.float32)
        vae.load_state_dict(begun.state_dict())
        vae.register_to_config(latents_mean=begun.config.latents_mean, latents_std=begun.config.latents_std)
    else:
        start_gently(vae)
    if given.decoder_only:
        hold_encoder(vae)
    vae.to(given.device)
    run = Run(given.out, vae, steps=given.steps, peak=given.rate)

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((1, step))
        torch.manual_seed(step)
        stills = step < STILLS_PART * given.steps and not given.start
        diet = STILLS if stills else MIXED
        frames, side, count, _ = diet[int(rng.choice(len(diet), p=[share for *_, share in diet]))]
        video, mask = (part.to(given.device) for part in sample_batch(rng, frames, side, count))
        frozen = given.decoder_only or step >= ENCODER_PART * given.steps
        if frozen and vae.encoder.conv_in.weight.requires_grad:
            freeze_encoder(vae, run, given.out / "encoder")
        with torch.autocast(video.device.type, torch.bfloat16):
            with torch.set_grad_enabled(not frozen):
                posterior = vae.encode(video).latent_dist
            latents = posterior.mode() if frozen else posterior.sample()
            level = float(rng.uniform(0, LATENT_NOISE)) * latents.std()
            again = vae.decode(latents + level * torch.randn_like(latents)).sample
        error = again.float() - video
        weight = 1 + FOREGROUND_WEIGHT * mask
        pixel = ((error.abs() + 2 * error.square()) * weight).mean() / weight.mean()
        divergence = posterior.kl().mean() / video[0, 0].numel()
        return pixel + 1e-5 * divergence, {"psnr": psnr(again.detach(), video), "kl": float(divergence.detach())}

    for row in run.train(loss_of, seconds=given.seconds):
        print(" ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
        if run.step % 1000 == 0:
            vae.eval()
            print(json.dumps(measure(vae)), flush=True)
            vae.train()
    ended(run)
    run.load_averaged()
    vae.eval()
    vae.to(torch.bfloat16).save_pretrained(given.out / "vae")
    if given.measure:
        (given.out / "psnr.json").write_text(json.dumps(found := measure(vae, count=given.measure)) + "\n")
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
