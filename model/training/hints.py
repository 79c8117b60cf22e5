"""Extra targets while training, without which a small transformer learns motion very late.

Rotary embeddings tell tokens only how far apart they are. At high noise, where the place of the shape is settled, a
token sees nothing that would tell it where in the frame it is itself; and without that, the word for a direction says
nothing about where to draw. A model finds its way out, from how attention ends at the borders, but only after
thousands of steps in which direction counts for nothing. So a few blocks are read out by a linear layer each, and
have to know: the token's own place, the velocity that the caption asks for, the centre of the shape in its frame, and
which of the token's pixels the shape covers, without which circles and squares stay alike for as long.
The read-outs are thrown away after training; the transformer itself stays Wan's to the last weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange, reduce, repeat
from torch import Tensor, nn

from model.training.given import Grid
from model.training.world import SPEED_PER_SECOND, Scene, coverage, on_screen
from model.transformer import Transformer

TOKEN_SIDE = 16  # pixels: patches of 2 x 2 latents, each of 8 x 8 pixels
# Which block is read for what, from the first; each can build on the one before.
BLOCKS = {"place": 1, "velocity": 2, "centre": 3, "outline": 4}
OUTLINE_SIDE = 8  # the outline is told at half the resolution of the picture
WIDTHS = {"place": 3, "velocity": 2, "centre": 2, "outline": OUTLINE_SIDE**2}


class Hints(nn.Module):
    """Linear read-outs of the blocks of `transformer`, whose last outputs it keeps by forward hooks."""

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        width = transformer.config.width
        self.heads = nn.ModuleDict(
            {name: nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size)) for name, size in WIDTHS.items()}
        )
        self._seen: dict[str, Tensor] = {}
        for name, index in BLOCKS.items():
            transformer.blocks[index].register_forward_hook(self._keeper(name))

    def _keeper(self, name: str) -> Any:
        def keep(_module: nn.Module, _arguments: Any, output: Tensor) -> None:
            self._seen[name] = output

        return keep

    def losses(self, told: Tensor, target: Truth) -> dict[str, Tensor]:
        """Mean squared errors, by name, of what the blocks knew in the transformer's last forward pass.

        told: (batch,), 1 where the caption names the motion.
        """
        targets = target._asdict()
        errors = {name: (head(self._seen[name]).cpu() - targets[name]).square() for name, head in self.heads.items()}
        # Several things have no one velocity or centre.
        errors["velocity"] = errors["velocity"] * (told * target.alone)[:, None, None]
        errors["centre"] = errors["centre"] * target.alone[:, None, None]
        return {name: error.mean() for name, error in errors.items()}


class Truth(NamedTuple):
    """What a batch of clips shows, as its tokens have to know it.

    Attributes:
        place: (1, tokens, 3). velocity: (batch, 1, 2). centre: (batch, tokens, 2). outline: (batch, tokens, spots).
        alone: (batch,), 1 where a clip shows one thing that moves as one word says.
    """

    place: Tensor
    velocity: Tensor
    centre: Tensor
    outline: Tensor
    alone: Tensor


def truth(scenes: Sequence[Scene], grid: Grid, first: int = 0, windows: Tensor | None = None) -> Truth:
    """Args:
    scenes: as the clips show them before they were cut.
    grid: (frames, height, width) in tokens, of what is left of them.
    first: the first latent frame that is left.
    windows: (batch, 2), where in the frame the part that is left begins, (y, x) in tokens; None for the whole frame.
    """
    frames, height, width = grid
    centre = latent_centres(scenes, frames, first)
    if windows is not None:
        whole = torch.tensor([[scene.width, scene.height] for scene in scenes])[:, None] / TOKEN_SIDE
        part = torch.tensor([width, height])
        centre = ((centre + 1) / 2 * whole - windows.flip(1)[:, None]) / part * 2 - 1
    return Truth(
        rearrange(places(grid), "t h w c -> 1 (t h w) c"),
        rearrange(velocities(scenes), "b c -> b 1 c"),
        repeat(centre, "b t c -> b (t h w) c", h=height, w=width),
        outlines(scenes, grid, first, windows),
        torch.tensor([float(scene.alone) for scene in scenes]),
    )


def places(grid: Grid) -> Tensor:
    """Each token's own place, (frames, height, width, 3) as (t, y, x), each in -1..1."""
    axes = [(torch.arange(count) + 0.5) / count * 2 - 1 for count in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def velocities(scenes: Sequence[Scene]) -> Tensor:
    """Of each scene's first thing, (scenes, 2) as (x, y), in the world's top speed."""
    tops = [SPEED_PER_SECOND[1] * min(scene.width, scene.height) / scene.fps for scene in scenes]
    pairs = zip(scenes, tops, strict=True)
    return torch.tensor([[part / top for part in scene.things[0].motion.velocity] for scene, top in pairs])


def latent_centres(scenes: Sequence[Scene], count: int, first: int = 0) -> Tensor:
    """Centre of the first thing in `count` latent frames from `first` on, (scenes, count, 2), (x, y) in -1..1.

    The clip's first latent frame is one picture and each further one four, whose mean counts.
    """
    return torch.from_numpy(np.stack([_centres(scene)[first : first + count] for scene in scenes]))


@cache
def _centres(scene: Scene) -> np.ndarray:
    path, _ = on_screen(scene)
    seen = path[0] / np.asarray([scene.width, scene.height]) * 2 - 1
    return np.concatenate([seen[:1], reduce(seen[1:], "(t f) c -> t c", "mean", f=4)]).astype(np.float32)


def outlines(scenes: Sequence[Scene], grid: Grid, first: int = 0, windows: Tensor | None = None) -> Tensor:
    """How much of each spot things cover, mean over a latent frame's pictures: (scenes, tokens, spots) in 0..1."""
    frames, height, width = grid
    corners = [(0, 0)] * len(scenes) if windows is None else [(int(y), int(x)) for y, x in windows]
    found = np.stack(
        [
            _outline(scene)[first : first + frames, y : y + height, x : x + width]
            for scene, (y, x) in zip(scenes, corners, strict=True)
        ]
    )
    return rearrange(torch.from_numpy(found).float() / 255, "b t h w c -> b (t h w) c")


@cache  # a clip comes up many times, and drawing costs more than keeping 30 kB
def _outline(scene: Scene) -> np.ndarray:
    """(latent frames, height and width in tokens, spots), uint8."""
    height, width = scene.height // TOKEN_SIDE, scene.width // TOKEN_SIDE
    layout = "t (h p r) (w q s) -> t h w (p q)"
    spots = reduce(coverage(scene), layout, "mean", h=height, w=width, p=OUTLINE_SIDE, q=OUTLINE_SIDE)
    if len(spots) > 1:
        spots = np.concatenate([spots[:1], reduce(spots[1:], "(t f) h w c -> t h w c", "mean", f=4)])
    return np.rint(spots * 255).astype(np.uint8)
