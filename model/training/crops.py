"""What the autoencoder is trained on: crops around the things of drawn clips, with what counts in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.utils.data import Dataset

from model.training.world import SHARES, Part, coverage, draw, on_screen, sample_scene

# (width, height, frames) of the clips that crops are cut from; the longest are as long as the model's own.
CLIPS = ((128, 128, 33), (64, 64, 17), (160, 96, 33))
TRAIL = 8  # frames for which a place that a thing has left counts as more than background


class Shape(NamedTuple):
    """Crops of one shape: frames, side, how many are a batch on a CPU (`crops`), and their share of the steps."""

    frames: int
    side: int
    crops: int
    share: float


# Shapes and colours are learnt twice as fast from stills alone, so that the first part of a run sees nothing else. A
# causal decoder drifts past the lengths that it has seen, so that a part of the diet is as long as a clip can be.
STILLS = (Shape(1, 32, 12, 0.8), Shape(1, 64, 4, 0.2))
MIXED = (
    Shape(5, 48, 4, 0.45), Shape(17, 32, 2, 0.2), Shape(17, 64, 1, 0.15), Shape(33, 48, 1, 0.1), Shape(1, 96, 3, 0.1),
)  # fmt: skip


class Crops(Dataset[tuple[Tensor, Tensor]]):
    """Batch number i is made from i alone: uint8 clips (count, frames, side, side, 3) and what things cover of them,
    uint8 (count, frames, side, side).

    Args:
        stills: how many of the first batches are stills.
        scale: how many times as many crops a batch has as on a CPU.
        shares: of the families of scenes.
    """

    def __init__(self, stills: int, scale: int = 1, shares: Mapping[str, float] = SHARES) -> None:
        self.stills, self.scale, self.shares = stills, scale, shares

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((1, step))
        diet = STILLS if step < self.stills else MIXED
        shape = diet[int(rng.choice(len(diet), p=[one.share for one in diet]))]
        return sample_batch(rng, shape.frames, shape.side, shape.crops * self.scale, self.shares)


def sample_batch(
    rng: np.random.Generator, frames: int, side: int, count: int, shares: Mapping[str, float] = SHARES
) -> tuple[Tensor, Tensor]:
    """Crops at random, most of them of a thing."""
    clips, masks = [], []
    for _ in range(count):
        width, height, length = CLIPS[int(rng.integers(len(CLIPS)))]
        while min(width, height) < side or length < frames:
            width, height, length = CLIPS[int(rng.integers(len(CLIPS)))]
        # Short crops show a short scene, whose motion is that of any part of a long one.
        shown = frames if frames == 1 or rng.random() < 0.3 else length
        scene = sample_scene(rng, width, height, shown, shares=shares)
        first = int(rng.integers(0, scene.frames - frames + 1))
        places, _ = on_screen(scene)
        middle = places[int(rng.integers(len(scene.things))), first + frames // 2]
        x, y = middle + rng.normal(0, side / 5, 2)
        left = int(np.clip(x - side / 2, 0, width - side))
        top = int(np.clip(y - side / 2, 0, height - side))
        part = Part(first, frames, left, top, side, side)
        clips.append(draw(scene, part))
        masks.append(np.rint(coverage(scene, part) * 255).astype(np.uint8))
    return torch.from_numpy(np.stack(clips)), torch.from_numpy(np.stack(masks))


def as_video(clips: Tensor) -> Tensor:
    """uint8 (batch, frames, height, width, 3) -> fp32 (batch, 3, frames, height, width) in -1..1."""
    return rearrange(clips, "b t h w c -> b c t h w").float() / 127.5 - 1


def foreground(masks: Tensor) -> Tensor:
    """How much more each pixel counts than background, (batch, 1, frames, height, width) in 0..1.

    masks: what things cover, uint8 (batch, frames, height, width).

    One pixel around a thing counts as foreground too: an edge is what the eye sees first. Where a thing has just been
    counts half: a causal decoder remembers it there, and leaves a trail.
    """
    front = rearrange(masks, "b t h w -> b 1 t h w").float() / 255
    edge = F.max_pool3d(front, (1, 3, 3), stride=1, padding=(0, 1, 1))
    past = F.max_pool3d(F.pad(edge, (0, 0, 0, 0, TRAIL, 0)), (TRAIL + 1, 1, 1), stride=1)
    return torch.maximum(edge, past / 2)
