"""Encodes clips of the world into latents once, so that training the transformer never waits for the autoencoder.

    python -m model.training.latents --autoencoder runs/autoencoder/encoder --out runs/latents --stills 16384

Each part file holds one shape of clip: `latents` (clips, channels, frames, height, width), normalised as the model sees
them, what is known of the clips (`known.Known`), and in its metadata the scenes that they show. Parts are numbered from
`--first`, so that several processes can work side by side; `--workers` processes draw ahead for one that encodes.
Stills are parts of their own: one costs a twelfth of a clip, to encode and to learn from, and shows as much of what
does not move. So are slow clips, which show what lies between two moments of a long film.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model.training import captions
from model.training.crops import as_video
from model.training.known import Known, known
from model.training.run import STOPPED
from model.training.shares import add_shares, part_of_one
from model.training.world import DRESSED, SHARES, Scene, draw, held_out, sample_scene, to_json

# (width, height, frames, share of the parts)
Shapes = tuple[tuple[int, int, int, float], ...]
CLIPS: Shapes = (
    (128, 128, 17, 0.25), (128, 128, 33, 0.55), (160, 96, 17, 0.1), (96, 160, 17, 0.1),
)  # fmt: skip
STILLS: Shapes = ((128, 128, 1, 0.8), (160, 96, 1, 0.1), (96, 160, 1, 0.1))
SLOWS: Shapes = ((128, 128, 37, 1.0),)  # a latent more than a window has: the first of a clip is never seen
# How many times slower, at least and at most, and what is shown so: what falls, bounces or goes round takes a clip's
# time at any pace.
SLOWER = (2.0, 32.0)
# Of stills and clips. Bare: a camera that moves before nothing that shows it, which no check reads but people ask for.
DEFAULT_SHARES: Mapping[str, float] = {**SHARES, "bare": 0.03}
SLOW_SHARES: Mapping[str, float] = {"one": 0.5, "two": 0.15, "count": 0.1, "turning": 0.1, "camera": 0.15}

FPS = 8.0
REWORDINGS = 7  # of each clip's caption


class Kind(NamedTuple):
    """One kind of part: its files' prefix, seed, shapes, and how many clips a file and a batch (on a CPU) hold.

    `slower` tells how many times slower than usual things move and cameras pan, at least and at most.
    """

    prefix: str
    seed: int
    shapes: Shapes
    part: int
    batch: int
    slower: tuple[float, float] = (1.0, 1.0)


STILL = Kind("still", 5, STILLS, 512, 32)
CLIP = Kind("part", 3, CLIPS, 64, 2)
SLOW = Kind("slow", 7, SLOWS, 64, 2, SLOWER)


def encode(vae: Any, clips: Tensor) -> Tensor:
    """Latents (clips, channels, frames, height, width) in fp32, normalised with the autoencoder's own statistics.

    clips: (clips, frames, height, width, 3), uint8.
    """
    with torch.no_grad():
        latents = vae.encode(as_video(clips.to(vae.device)).to(torch.bfloat16)).latent_dist.mode().float().cpu()
    mean = rearrange(torch.tensor(vae.config.latents_mean), "c -> 1 c 1 1 1")
    std = rearrange(torch.tensor(vae.config.latents_std), "c -> 1 c 1 1 1")
    return (latents - mean) / std


def learnt(
    rng: np.random.Generator,
    width: int,
    height: int,
    frames: int,
    shares: Mapping[str, float] = SHARES,
    slower: tuple[float, float] = (1.0, 1.0),
    dressed: float = DRESSED,
) -> Iterator[Scene]:
    """Scenes without end, less those whose combinations of attributes are kept from training."""
    while True:
        times = float(np.exp(rng.uniform(*np.log(slower)))) if slower[1] > 1 else 1.0
        scene = sample_scene(rng, width, height, frames, FPS * times, shares=shares, dressed=dressed)
        if not held_out(scene):
            yield replace(scene, fps=FPS)


class Drawn(NamedTuple):
    """One part before it is encoded.

    Attributes:
        clips: uint8 (clips, frames, height, width, 3).
        captions: 1 + `REWORDINGS` of each clip, the dense one first.
    """

    path: Path
    clips: Tensor
    scenes: list[Scene]
    captions: list[str]
    known: Known


class Part(NamedTuple):
    """One part as it lies on disk: its latents (bf16), and for each clip its captions and what is known of it."""

    latents: Tensor
    captions: list[str]
    known: Known


class Parts(Dataset[Drawn]):
    """The parts of one kind that are still to be made, drawn from their numbers alone."""

    def __init__(
        self,
        folder: Path,
        kind: Kind,
        count: int,
        numbers: Sequence[int],
        shares: Mapping[str, float] = SHARES,
        dressed: float = DRESSED,
    ) -> None:
        self.kind, self.count, self.shares, self.dressed = kind, count, shares, dressed
        paths = {number: folder / f"{kind.prefix}-{number:05d}.safetensors" for number in numbers}
        self.missing = [(number, path) for number, path in paths.items() if not path.exists()]

    def __len__(self) -> int:
        return len(self.missing)

    def __getitem__(self, index: int) -> Drawn:
        number, path = self.missing[index]
        kind = self.kind
        rng = np.random.default_rng((kind.seed, number))
        shares = [share for *_, share in kind.shapes]
        width, height, frames, _ = kind.shapes[int(rng.choice(len(kind.shapes), p=shares))]
        count = min(kind.part, self.count - number * kind.part)
        scenes = list(islice(learnt(rng, width, height, frames, self.shares, kind.slower, self.dressed), count))
        texts = [
            text
            for scene in scenes
            for text in (
                captions.dense(scene, clip=frames > 1),
                *(captions.varied(scene, rng, clip=frames > 1) for _ in range(REWORDINGS)),
            )
        ]
        clips = torch.from_numpy(np.stack([draw(scene) for scene in scenes]))
        return Drawn(path, clips, scenes, texts, known(scenes))


def read_part(path: Path) -> Part:
    """What `write_part` wrote, less the scenes.

    Raises:
        ValueError: the part is of a version that kept less of its clips.
    """
    with safe_open(str(path), framework="pt") as file:
        if missing := {*Known._fields} - {*file.keys()}:
            raise ValueError(f"{path} does not say {', '.join(sorted(missing))} of its clips: make the latents again")
        about = Known(*(file.get_tensor(name) for name in Known._fields))
        return Part(file.get_tensor("latents"), file.metadata()["captions"].splitlines(), about)


def write_part(drawn: Drawn, latents: Tensor) -> None:
    """The file appears when it is whole. Its metadata also holds the scenes that it shows, one a line, as JSON."""
    partial = drawn.path.with_suffix(".partial")
    told = {"scenes": "\n".join(map(to_json, drawn.scenes)), "captions": "\n".join(drawn.captions)}
    save_file({"latents": latents.to(torch.bfloat16), **drawn.known._asdict()}, partial, metadata=told)
    partial.rename(drawn.path)


def finished(folder: Path, kind: Kind) -> Iterator[Path]:
    """Finished part files of a kind, lowest number first."""
    yield from sorted(folder.glob(f"{kind.prefix}-*.safetensors"))


def main() -> None:
    """Command line: makes stills, clips and slow clips, skipping the parts that are there already."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--autoencoder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=3000, help="of clips")
    parser.add_argument("--stills", type=int, default=16384)
    parser.add_argument("--slow", type=int, default=1024, help="clips of the same world, moving slowly")
    parser.add_argument("--first", type=int, default=0, help="number of the first part")
    parser.add_argument("--stride", type=int, default=1, help="make every so-many-th part only")
    add_shares(parser)
    parser.add_argument(
        "--dressed", type=part_of_one, default=DRESSED, help="share of them with a texture, and with a style"
    )
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long; run again to go on")
    parser.add_argument("--scale", type=int, default=1, help="encode times as many at once; 16 and more on a GPU")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw ahead; 0 draws in this one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    ends = time.monotonic() + given.seconds
    torch.set_num_threads(given.threads)
    from diffusers import AutoencoderKLWan

    vae = AutoencoderKLWan.from_pretrained(given.autoencoder, torch_dtype=torch.bfloat16).eval()
    vae.to(given.device)
    given.out.mkdir(parents=True, exist_ok=True)
    shares = dict(given.shares) or DEFAULT_SHARES
    for kind, count, own in (
        (STILL, given.stills, shares),
        (SLOW, given.slow, SLOW_SHARES),
        (CLIP, given.count, shares),
    ):
        numbers = range(given.first, -(-count // kind.part), given.stride)
        parts = Parts(given.out, kind, count, numbers, own, given.dressed)
        drawn = DataLoader(
            parts, batch_size=None, num_workers=given.workers, prefetch_factor=2 if given.workers else None
        )
        for part in drawn:
            latents = torch.cat([encode(vae, batch) for batch in part.clips.split(kind.batch * given.scale)])
            write_part(part, latents)
            print(part.path.name, tuple(latents.shape), f"std {latents.std():.3f}", flush=True)
            if time.monotonic() > ends and part.path != parts.missing[-1][1]:
                print("stopped: the same command goes on", file=sys.stderr)
                sys.exit(STOPPED)


if __name__ == "__main__":
    main()
