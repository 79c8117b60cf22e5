"""Which tokens of training clips are given clean: the masks of every task, at random.

Open-Sora 1.1 gives frames in half of its batches, and found a third to be worse; about half are given here too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor

Grid = tuple[int, int, int]
ONE_GIVING = 32  # clips of a batch that share one mask, at most
KEYS_SHARE = 0.6  # of the batches of slow clips: some of what lies between the ends is given as well
THINGS_SHARE = 0.06  # of the batches of clips: what things cover is given, or all but that


def draw_masks(rng: np.random.Generator, grid: Grid, outline: Tensor) -> Tensor | None:
    """A mask for each clip of a batch, (batch, frames, height, width), 1 where a token is given; None where none is.

    Args:
        outline: (batch, tokens, spots), how much of each spot things cover, in 0..1.
    """
    if grid[0] > 1 and rng.random() < THINGS_SHARE:
        return things_given(rng, outline, grid)
    drawn = [draw_given(rng, grid) for _ in range(-(-len(outline) // ONE_GIVING))]
    if all(mask is None for mask in drawn):
        return None
    stacked = torch.stack([torch.zeros(grid) if mask is None else mask for mask in drawn])
    return repeat(stacked, "m t h w -> (m n) t h w", n=ONE_GIVING)[: len(outline)].to(outline.device)


def keys_given(rng: np.random.Generator, count: int, grid: Grid) -> Tensor:
    """A mask for a batch, (batch, frames, height, width): its first and last latent frames are given, and often keys.

    So does a window of a long film look, in which every third or fourth latent is known.
    """
    mask = torch.zeros(count, *grid)
    mask[:, 0] = mask[:, -1] = 1
    if rng.random() < KEYS_SHARE:
        mask[:, :: int(rng.integers(2, 5))] = 1
    return mask


def draw_given(rng: np.random.Generator, grid: Grid) -> Tensor | None:
    """A mask (frames, height, width) over the tokens of a clip, 1 where they are given; None where none is.

    Args:
        grid: frames, height and width in tokens. A still is never given in part of its frames.
    """
    masks = _STILL_MASKS if grid[0] == 1 else _CLIP_MASKS
    draw = rng.random()
    for share, make in masks:
        if draw < share:
            mask = torch.zeros(grid)
            make(rng, mask)
            return mask if 0 < float(mask.sum()) < mask.numel() else None
        draw -= share
    return None


def _first(_: np.random.Generator, mask: Tensor) -> None:
    mask[0] = 1


def _ends(_: np.random.Generator, mask: Tensor) -> None:
    mask[0] = mask[-1] = 1


def _head(rng: np.random.Generator, mask: Tensor) -> None:
    mask[: int(rng.integers(1, max(2, len(mask) - 1)))] = 1


def _tail(rng: np.random.Generator, mask: Tensor) -> None:
    mask[-int(rng.integers(1, max(2, len(mask) - 1))) :] = 1


def _frames(rng: np.random.Generator, mask: Tensor) -> None:
    mask[torch.from_numpy(rng.random(len(mask)) < rng.uniform(0.2, 0.7))] = 1


def _region(rng: np.random.Generator, mask: Tensor) -> None:
    """All but a box that may move, or the box alone; often the first frame whole as well, as when a box is animated."""
    frames, height, width = mask.shape
    h, w = (int(rng.integers(1, max(2, side))) for side in (height, width))
    ends = rng.random((2, 2)) * [height - h, width - w]
    if rng.random() < 0.5:
        ends[1] = ends[0]
    for frame in range(frames):
        y, x = np.rint(ends[0] + (ends[1] - ends[0]) * frame / max(frames - 1, 1)).astype(int)
        mask[frame, y : y + h, x : x + w] = 1
    if rng.random() < 0.5:
        mask.copy_(1 - mask)
    if frames > 1 and rng.random() < 0.5:
        mask[0] = 1


def things_given(rng: np.random.Generator, outline: Tensor, grid: Grid) -> Tensor:
    """The tokens that things cover, or all others: as when a background is replaced behind its subject, or a subject.

    Args:
        outline: (batch, tokens, spots), how much of each spot things cover, in 0..1.

    Returns:
        (batch, frames, height, width), 1 where they are given.
    """
    frames, height, width = grid
    covered = rearrange(outline, "b (t h w) c -> b t h w c", t=frames, h=height, w=width).mean(dim=-1)
    mask = (covered > rng.choice([0.0, 0.5])).float()
    return 1 - mask if rng.random() < 0.3 else mask


_Maker = Callable[[np.random.Generator, Tensor], None]
_STILL_MASKS: tuple[tuple[float, _Maker], ...] = ((0.15, _region),)
_CLIP_MASKS: tuple[tuple[float, _Maker], ...] = (
    (0.15, _first),
    (0.07, _ends),
    (0.05, _head),
    (0.05, _tail),
    (0.05, _frames),
    (0.10, _region),
)
