"""Encodes clips of the world into latents once, so that training the transformer never waits for the autoencoder.

    python -m model.training.latents --autoencoder runs/autoencoder/encoder --out runs/latents --count 3000

Each part file holds one shape of clip: `latents` (clips, channels, frames, height, width), normalised as the model sees
them, and in its metadata the scenes that they show. Parts are numbered from `--first`, so that several processes can
work side by side.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.training.world import Scene, draw, sample_scene

PART = 64
FRAMES = 17
# (width, height, share of the parts)
SHAPES = ((64, 64, 0.7), (96, 64, 0.3))


def encode(vae: Any, clips: np.ndarray) -> Tensor:
    """Latents (clips, channels, frames, height, width) in fp32, normalised with the autoencoder's own statistics.

    clips: (clips, frames, height, width, 3), uint8.
    """
    video = rearrange(torch.from_numpy(clips), "b t h w c -> b c t h w").to(torch.bfloat16) / 127.5 - 1
    with torch.no_grad():
        latents = vae.encode(video).latent_dist.mode().float()
    mean = rearrange(torch.tensor(vae.config.latents_mean), "c -> 1 c 1 1 1")
    std = rearrange(torch.tensor(vae.config.latents_std), "c -> 1 c 1 1 1")
    return (latents - mean) / std


def read_part(path: Path) -> tuple[Tensor, list[Scene]]:
    """The latents of one part and the scenes that they show."""
    with safe_open(str(path), framework="pt") as file:
        return file.get_tensor("latents").float(), [Scene(**scene) for scene in json.loads(file.metadata()["scenes"])]


def parts(folder: Path) -> Iterator[Path]:
    """Finished part files, oldest number first."""
    yield from sorted(folder.glob("part-*.safetensors"))


def main() -> None:
    """Command line: makes `--count` clips, skipping the parts that are there already."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--autoencoder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--first", type=int, default=0, help="number of the first part")
    parser.add_argument("--stride", type=int, default=1, help="make every so-many-th part only")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    from diffusers import AutoencoderKLWan

    vae = AutoencoderKLWan.from_pretrained(given.autoencoder, torch_dtype=torch.bfloat16).eval()
    given.out.mkdir(parents=True, exist_ok=True)
    for number in range(given.first, given.count // PART, given.stride):
        path = given.out / f"part-{number:05d}.safetensors"
        if path.exists():
            continue
        rng = np.random.default_rng((3, number))
        width, height, _ = SHAPES[int(rng.choice(len(SHAPES), p=[share for *_, share in SHAPES]))]
        scenes = [sample_scene(rng, width, height, FRAMES) for _ in range(PART)]
        batches = [scenes[i : i + 4] for i in range(0, PART, 4)]
        latents = torch.cat([encode(vae, np.stack([draw(s, width, height, FRAMES) for s in b])) for b in batches])
        partial = path.with_suffix(".partial")
        scene_text = json.dumps([asdict(scene) for scene in scenes])
        save_file({"latents": latents.to(torch.bfloat16)}, partial, metadata={"scenes": scene_text})
        partial.rename(path)
        print(path.name, tuple(latents.shape), f"std {latents.std():.3f}", flush=True)


if __name__ == "__main__":
    main()
