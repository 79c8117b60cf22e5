"""Trains the default model's video autoencoder: diffusers' Wan class, small, with patch size 2 (stride 4 x 8 x 8).

    python -m model.training.autoencoder --out runs/autoencoder --steps 6000

Most batches are crops around the shape, where the detail is; a part is full-length, because a causal decoder drifts in
colour past the lengths that it has seen.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.data import DataLoader

from model.training.captions import dense
from model.training.crops import Crops, as_video, foreground
from model.training.graphs import Graphed
from model.training.run import Run, ended
from model.training.shares import add_shares
from model.training.sheet import SHEET, Rows, sheet
from model.training.world import SHARES, coverage, draw, sample_scene

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
STILLS_PART = 0.3  # of a run from nothing
LATENT_NOISE = 0.1  # of a latent's deviation, at most, added for the decoder: a sampler's latents are never quite clean


def psnr(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Peak signal to noise ratio in dB of signals in -1..1, over `weight` where given."""
    error = (a.float() - b.float()).clamp(-2, 2) ** 2
    mean = error.mean() if weight is None else (error * weight).sum() / (weight.sum() * error.shape[1]).clamp_min(1)
    return 10 * torch.log10(4 / mean.clamp_min(1e-10))


def reconstruct(vae: Any, video: Tensor) -> Tensor:
    """Encodes to the mean latents and decodes again, under bf16 autocast."""
    with torch.no_grad(), torch.autocast(video.device.type, torch.bfloat16):
        return vae.decode(vae.encode(video).latent_dist.mode()).sample.float().clamp(-1, 1)


def measure(
    vae: Any, seed: int = 10**6, count: int = 8, size: tuple[int, int, int] = (128, 128, 33)
) -> dict[str, list[float] | float]:
    """PSNR on whole clips that training never saw: overall, on the foreground (each clip's too), and by frame position.

    size: width, height and frames of the clips.
    """
    rng = np.random.default_rng(seed)
    whole, front, frames = [], [], []
    for _ in range(count):
        scene = sample_scene(rng, *size)
        video = rearrange(torch.from_numpy(draw(scene)), "t h w c -> 1 c t h w").float() / 127.5 - 1
        mask = rearrange(torch.from_numpy(coverage(scene)).float(), "t h w -> 1 1 t h w")
        again = reconstruct(vae, video.to(vae.device)).cpu()
        whole.append(float(psnr(again, video)))
        front.append(float(psnr(again, video, mask)))
        frames.append([float(psnr(again[:, :, t], video[:, :, t])) for t in range(size[2])])
    return {
        "psnr": float(np.mean(whole)),
        "psnr_foreground": float(np.mean(front)),
        "psnr_foreground_by_clip": [round(value, 1) for value in front],
        "psnr_by_frame": [round(float(v), 2) for v in np.mean(frames, axis=0)],
    }


def samples(vae: Any, seed: int = 3 * 10**6, count: int = 3) -> Rows:
    """Clips that training never saw, each followed by what the autoencoder gives back of it."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        scene = sample_scene(rng, 128, 128, 17)
        clip = draw(scene)
        again = reconstruct(vae, as_video(torch.from_numpy(clip)[None]).to(vae.device))
        frames = rearrange((again + 1) * 127.5, "1 c t h w -> t h w c").round().to(torch.uint8)
        rows += [(dense(scene), clip), ("given back", frames.cpu().numpy())]
    return rows


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


class Reconstruction(nn.Module):
    """How far the autoencoder is from giving a clip back, in absolute and in squared error."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, video: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the loss, and (PSNR in dB, divergence of the posterior).

        video: (batch, 3, frames, height, width) in -1..1. mask: of `foreground`.
        """
        learns = self.vae.encoder.conv_in.weight.requires_grad
        with torch.autocast(video.device.type, torch.bfloat16, cache_enabled=False):
            with torch.set_grad_enabled(learns):
                posterior = self.vae.encode(video).latent_dist
            latents = posterior.sample() if learns else posterior.mode()
            level = LATENT_NOISE * torch.rand((), device=video.device) * latents.std()
            again = self.vae.decode(latents + level * torch.randn_like(latents)).sample
        error = again.float() - video
        weight = 1 + FOREGROUND_WEIGHT * mask
        pixel = ((error.abs() + 2 * error.square()) * weight).mean() / weight.mean()
        divergence = posterior.kl().mean() / video[0, 0].numel()
        return pixel + 1e-5 * divergence, torch.stack([psnr(again.detach(), video), divergence.detach()])


_ENCODER = ("encoder.", "quant_conv.")


def hold_encoder(vae: Any) -> None:
    """Leaves the encoder out of training."""
    for name, value in vae.named_parameters():
        if name.startswith(_ENCODER):
            value.requires_grad_(False)


def main() -> None:
    """Command line of the trainer; ends by writing a diffusers folder `vae/` under `--out`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a folder of an autoencoder to go on from, stills left out")
    parser.add_argument("--decoder-only", action="store_true", help="with --start: latents stay what they are")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--measure", type=int, default=8, help="whole clips to measure on at the end; 0 for none")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long; run again to go on")
    parser.add_argument("--within", type=float, default=float("inf"), help="have the run done in so many seconds")
    parser.add_argument("--rate", type=float, default=8e-4)
    add_shares(parser)
    parser.add_argument("--scale", type=int, default=1, help="times as many crops a batch; 16 and more on a GPU")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw crops ahead; 0 draws in this one")
    parser.add_argument("--eager", action="store_true", help="without CUDA graphs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    ends = time.monotonic() + given.within
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
    crops = Crops(0 if given.start else int(STILLS_PART * given.steps), given.scale, dict(given.shares) or SHARES)
    ahead = 4 if given.workers else None
    batches = iter(
        DataLoader(
            crops, batch_size=None, sampler=range(run.step, given.steps), num_workers=given.workers,
            prefetch_factor=ahead,
        )
    )  # fmt: skip

    objective = Graphed(lambda: Reconstruction(vae), given.device, record=not given.eager)

    def loss_of(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        torch.manual_seed(step)
        clips, masks = (part.to(given.device) for part in next(batches))
        loss, figures = objective(as_video(clips), foreground(masks))
        return loss, dict(zip(("psnr", "kl"), figures.detach().clone(), strict=True))

    run.within = ends - time.monotonic()
    for row in run.train(loss_of, seconds=given.seconds):
        print(" ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
        if run.step % 1000 == 0:
            vae.eval()
            print(json.dumps(measure(vae)), flush=True)
            vae.train()
    vae.eval()
    sheet(samples(vae)).save(given.out / SHEET)
    ended(run)
    run.load_averaged()
    if not given.decoder_only:
        mean, std = measure_latents(vae)
        vae.register_to_config(latents_mean=mean, latents_std=std)
    vae.to(torch.bfloat16).save_pretrained(given.out / "vae")
    if given.measure:
        (given.out / "psnr.json").write_text(json.dumps(found := measure(vae, count=given.measure)) + "\n")
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
