"""Extra targets while training, without which a small transformer learns motion very late.

Rotary embeddings tell tokens only how far apart they are. At high noise, where the place of the shape is settled, a
token sees nothing that would tell it where in the frame it is itself; and without that, the word for a direction says
nothing about where to draw. A model finds its way out, from how attention ends at the borders, but only after
thousands of steps in which direction counts for nothing. So a few blocks are read out by a linear layer each, and
have to know: the token's own place, the velocity that the caption asks for, what the thing on the token's side of the
frame looks like by the caption (else of two things either gets the attributes of both), the centre of the shape in its
frame, and which of the token's pixels the shape covers, without which circles and squares stay alike for as long.
The read-outs are thrown away after training; the transformer itself stays Wan's to the last weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange, reduce, repeat
from torch import Tensor, nn

from model.training.given import Grid
from model.training.world import COLORS, KINDS, SIZES, SPEED_PER_SECOND, Scene, coverage, on_screen
from model.transformer import Transformer

TOKEN_SIDE = 16  # pixels: patches of 2 x 2 latents, each of 8 x 8 pixels
WINDOW = 5  # of a window's sides, in tokens; a large thing has 51 pixels
# Which block is read for what, from the first; each can build on the one before.
BLOCKS = {"place": 1, "velocity": 2, "looks": 2, "centre": 3, "outline": 4}
LOOKS = (*KINDS, *COLORS, *SIZES)
OUTLINE_SIDE = 8  # the outline is told at half the resolution of the picture
WIDTHS = {"place": 3, "velocity": 2, "looks": len(LOOKS), "centre": 2, "outline": OUTLINE_SIDE**2}


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

    def losses(self, named: Tensor, told: Tensor, target: Truth) -> dict[str, Tensor]:
        """Mean squared errors, by name, of what the blocks knew in the transformer's last forward pass.

        named: (batch,), 1 where the caption says anything. told: (batch,), 1 where it names the motion.
        """
        targets = target._asdict()
        # Taken out: what is kept would keep its gradients' graph.
        errors = {
            name: (head(self._seen.pop(name)).float() - targets[name]).square() for name, head in self.heads.items()
        }
        # Several things have no one velocity or centre.
        errors["velocity"] = errors["velocity"] * (told * target.alone)[:, None, None]
        errors["looks"] = errors["looks"] * (named * target.lasting)[:, None, None]
        errors["centre"] = errors["centre"] * target.alone[:, None, None]
        return {name: error.mean() for name, error in errors.items()}


class Known(NamedTuple):
    """What is known of clips of one shape: kept beside their latents, because drawing it takes as long as they do.

    Attributes:
        velocity: of the first thing, (clips, 2) as (x, y), in the world's top speed.
        centre: of the first thing, (clips, latent frames, 2) as (x, y) in -1..1. A clip's first latent frame is one
            picture and each further one four, whose mean counts; so it is with outlines.
        outline: how much of each spot things cover, (clips, latent frames, height and width in tokens, spots), uint8.
        looks: what the thing on the left and the one on the right look like, (clips, 2, words of `LOOKS`), uint8.
        alone: (clips,) uint8, 1 where a clip shows one thing that moves as one word says.
        lasting: (clips,) uint8, 1 where `looks` holds from the first frame to the last.
        things: (clips,) uint8, how many it shows.
        window: (clips, 2, 2), the lowest and the highest (y, x), in tokens, at which a window of `WINDOW` tokens holds
            the first frame's first thing whole.
    """

    velocity: Tensor
    centre: Tensor
    outline: Tensor
    looks: Tensor
    alone: Tensor
    lasting: Tensor
    things: Tensor
    window: Tensor


def known(scenes: Sequence[Scene]) -> Known:
    """What scenes of one size and length show."""
    return Known(
        torch.from_numpy(np.stack([_velocity(scene) for scene in scenes])),
        torch.from_numpy(np.stack([_centres(scene) for scene in scenes])),
        torch.from_numpy(np.stack([_outline(scene) for scene in scenes])),
        torch.from_numpy(np.stack([_looks(scene) for scene in scenes])),
        torch.tensor([scene.alone for scene in scenes], dtype=torch.uint8),
        torch.tensor([_lasting(scene) for scene in scenes], dtype=torch.uint8),
        torch.tensor([len(scene.things) for scene in scenes], dtype=torch.uint8),
        torch.from_numpy(np.stack([_window(scene) for scene in scenes])),
    )


class Truth(NamedTuple):
    """What a batch of clips shows, as its tokens have to know it.

    Attributes:
        place: (1, tokens, 3). velocity: (batch, 1, 2). centre: (batch, tokens, 2). outline: (batch, tokens, spots).
        looks: (batch, tokens, words of `LOOKS`), of the thing on the token's side.
        alone, lasting: (batch,), as in `Known`.
    """

    place: Tensor
    velocity: Tensor
    centre: Tensor
    outline: Tensor
    looks: Tensor
    alone: Tensor
    lasting: Tensor


def truth(clips: Known, grid: Grid, first: int = 0, windows: Tensor | None = None) -> Truth:
    """Args:
    clips: as they were before they were cut.
    grid: (frames, height, width) in tokens, of what is left of them.
    first: the first latent frame that is left.
    windows: (batch, 2), where in the frame the part that is left begins, (y, x) in tokens; None for the whole frame.
    """
    frames, height, width = grid
    centre = clips.centre[:, first : first + frames]
    right = torch.arange(width, device=centre.device) >= width / 2
    outline = clips.outline[:, first : first + frames]
    if windows is not None:
        whole = torch.tensor(outline.shape[3:1:-1], device=centre.device)
        part = torch.tensor([width, height], device=centre.device)
        centre = ((centre + 1) / 2 * whole - windows.flip(1)[:, None]) / part * 2 - 1
        outline = cut_windows(outline, windows, (height, width))
    return Truth(
        rearrange(places(grid).to(centre.device), "t h w c -> 1 (t h w) c"),
        rearrange(clips.velocity, "b c -> b 1 c"),
        repeat(centre, "b t c -> b (t h w) c", h=height, w=width),
        rearrange(outline.float() / 255, "b t h w c -> b (t h w) c"),
        repeat(clips.looks[:, right.long()].float(), "b w c -> b (t h w) c", t=frames, h=height),
        clips.alone.float(),
        clips.lasting.float(),
    )


def cut_windows(values: Tensor, windows: Tensor, size: tuple[int, int]) -> Tensor:
    """Of each of (batch, frames, height, width, ...) the window of size (height, width) that begins at its (y, x)."""
    rows, columns = (
        windows[:, axis, None] + torch.arange(side, device=values.device) for axis, side in enumerate(size)
    )
    index = torch.arange(len(values), device=values.device)[:, None, None]
    return rearrange(values[index, :, rows[:, :, None], columns[:, None, :]], "b h w t ... -> b t h w ...")


def places(grid: Grid) -> Tensor:
    """Each token's own place, (frames, height, width, 3) as (t, y, x), each in -1..1."""
    axes = [(torch.arange(count) + 0.5) / count * 2 - 1 for count in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def _looks(scene: Scene) -> np.ndarray:
    things = sorted(scene.things, key=lambda thing: thing.motion.start[0]) if len(scene.things) == 2 else scene.things
    sides = (things[0], things[-1])
    words = [{thing.kind, thing.color, thing.size} for thing in sides]
    return np.array([[word in said for word in LOOKS] for said in words], np.uint8)


def _lasting(scene: Scene) -> bool:
    """Whether each side keeps its thing and that its looks, as captions tell of them."""
    return not scene.events and scene.push is None and all(thing.kind in KINDS for thing in scene.things)


def _window(scene: Scene) -> np.ndarray:
    paths, radii = on_screen(scene)
    middle, radius = paths[0, 0, ::-1], radii[0, 0]
    most = np.maximum(np.array([scene.height, scene.width]) // TOKEN_SIDE - WINDOW, 0)
    low = np.clip(np.ceil((middle + radius) / TOKEN_SIDE) - WINDOW, 0, most)
    high = np.clip(np.floor((middle - radius) / TOKEN_SIDE), low, most)
    return np.stack([low, high]).astype(np.int64)


def _velocity(scene: Scene) -> np.ndarray:
    top = SPEED_PER_SECOND[1] * min(scene.width, scene.height) / scene.fps
    return np.asarray(scene.things[0].motion.velocity, np.float32) / np.float32(top)


def _centres(scene: Scene) -> np.ndarray:
    path, _ = on_screen(scene)
    seen = path[0] / np.asarray([scene.width, scene.height]) * 2 - 1
    return np.concatenate([seen[:1], reduce(seen[1:], "(t f) c -> t c", "mean", f=4)]).astype(np.float32)


def _outline(scene: Scene) -> np.ndarray:
    """(latent frames, height and width in tokens, spots), uint8."""
    height, width = scene.height // TOKEN_SIDE, scene.width // TOKEN_SIDE
    layout = "t (h p r) (w q s) -> t h w (p q)"
    spots = reduce(coverage(scene), layout, "mean", h=height, w=width, p=OUTLINE_SIDE, q=OUTLINE_SIDE)
    if len(spots) > 1:
        spots = np.concatenate([spots[:1], reduce(spots[1:], "(t f) h w c -> t h w c", "mean", f=4)])
    return np.rint(spots * 255).astype(np.uint8)
