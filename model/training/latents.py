"""Encodes clips of the world into latents once, so that training the transformer never waits for the autoencoder.

    python -m model.training.latents --autoencoder runs/autoencoder/encoder --out runs/latents --stills 16384

Each part file holds one shape of clip: `latents` (clips, channels, frames, height, width), normalised as the model sees
them, and in its metadata the scenes that they show. Parts are numbered from `--first`, so that several processes can
work side by side. Stills are parts of their own: one costs a twelfth of a clip, to encode and to learn from, and shows
as much of what does not move.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.training.run import STOPPED
from model.training.world import Scene, draw, from_json, held_out, sample_scene, to_json

# (width, height, frames, share of the parts)
Shapes = tuple[tuple[int, int, int, float], ...]
CLIPS: Shapes = (
    (128, 128, 17, 0.55), (128, 128, 33, 0.25), (160, 96, 17, 0.1), (96, 160, 17, 0.1),
)  # fmt: skip
STILLS: Shapes = ((128, 128, 1, 0.8), (160, 96, 1, 0.1), (96, 160, 1, 0.1))


class Kind(NamedTuple):
    """One kind of part: its files' prefix, seed, shapes, and how many clips a file and a batch hold."""

    prefix: str
    seed: int
    shapes: Shapes
    part: int
    batch: int


KINDS = (Kind("still", 5, STILLS, 512, 32), Kind("part", 3, CLIPS, 64, 2))


def encode(vae: Any, clips: np.ndarray) -> Tensor:
    """Latents (clips, channels, frames, height, width) in fp32, normalised with the autoencoder's own statistics.

    clips: (clips, frames, height, width, 3), uint8.
    """
    video = rearrange(torch.from_numpy(clips), "b t h w c -> b c t h w").to(torch.bfloat16) / 127.5 - 1
    with torch.no_grad():
        latents = vae.encode(video.to(vae.device)).latent_dist.mode().float().cpu()
    mean = rearrange(torch.tensor(vae.config.latents_mean), "c -> 1 c 1 1 1")
    std = rearrange(torch.tensor(vae.config.latents_std), "c -> 1 c 1 1 1")
    return (latents - mean) / std


def read_part(path: Path) -> tuple[Tensor, list[Scene]]:
    """The latents of one part, stored as bf16, and the scenes that they show."""
    with safe_open(str(path), framework="pt") as file:
        return file.get_tensor("latents"), [from_json(text) for text in file.metadata()["scenes"].splitlines()]


def learnt(rng: np.random.Generator, width: int, height: int, frames: int) -> Iterator[Scene]:
    """Scenes without end, less those whose combinations of attributes are kept from training."""
    while True:
        scene = sample_scene(rng, width, height, frames)
        if not held_out(scene):
            yield scene


def parts(folder: Path) -> Iterator[Path]:
    """Finished part files of every kind, lowest number first."""
    for kind in KINDS:
        yield from sorted(folder.glob(f"{kind.prefix}-*.safetensors"))


def main() -> None:
    """Command line: makes `--stills` stills and `--count` clips, skipping the parts that are there already."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--autoencoder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=3000, help="of clips")
    parser.add_argument("--stills", type=int, default=16384)
    parser.add_argument("--first", type=int, default=0, help="number of the first part")
    parser.add_argument("--stride", type=int, default=1, help="make every so-many-th part only")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long; run again to go on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    ends = time.monotonic() + given.seconds
    torch.set_num_threads(given.threads)
    from diffusers import AutoencoderKLWan

    vae = AutoencoderKLWan.from_pretrained(given.autoencoder, torch_dtype=torch.bfloat16).eval()
    vae.to(given.device)
    given.out.mkdir(parents=True, exist_ok=True)
    for kind, count in zip(KINDS, (given.stills, given.count), strict=True):
        for number in range(given.first, -(-count // kind.part), given.stride):
            path = given.out / f"{kind.prefix}-{number:05d}.safetensors"
            if path.exists():
                continue
            if time.monotonic() > ends:
                print(f"stopped before {path.name}: the same command goes on", file=sys.stderr)
                sys.exit(STOPPED)
            write_part(vae, path, kind, number, min(kind.part, count - number * kind.part))


def write_part(vae: Any, path: Path, kind: Kind, number: int, count: int) -> None:
    """Draws and encodes the clips of one part; the file appears when it is whole."""
    rng = np.random.default_rng((kind.seed, number))
    width, height, frames, _ = kind.shapes[int(rng.choice(len(kind.shapes), p=[share for *_, share in kind.shapes]))]
    scenes = list(islice(learnt(rng, width, height, frames), count))
    batches = [scenes[i : i + kind.batch] for i in range(0, len(scenes), kind.batch)]
    latents = torch.cat([encode(vae, np.stack([draw(scene) for scene in batch])) for batch in batches])
    partial = path.with_suffix(".partial")
    told = "\n".join(to_json(scene) for scene in scenes)
    save_file({"latents": latents.to(torch.bfloat16)}, partial, metadata={"scenes": told})
    partial.rename(path)
    print(path.name, tuple(latents.shape), f"std {latents.std():.3f}", flush=True)


if __name__ == "__main__":
    main()
