"""Extra targets while training, without which a small transformer learns motion very late.

Rotary embeddings tell tokens only how far apart they are. At high noise, where the place of the shape is settled, a
token sees nothing that would tell it where in the frame it is itself; and without that, the word for a direction says
nothing about where to draw. A model finds its way out, from how attention ends at the borders, but only after
thousands of steps in which direction counts for nothing. So a few blocks are read out by a linear layer each, and
have to know:

- the token's own place;
- how the thing of the token's side, and the camera, move by the caption;
- what that thing looks like by the caption at the token's own time, else of two things either gets the attributes of
  both, and one that turns blue is blue from the start, or never;
- where its centre is;
- how far the camera has come, and what of a textured background that brings into the token: else the thing goes where
  it should, and the checks behind it lose their way;
- which of the token's pixels things cover, without which circles and squares stay alike for as long.

The read-outs are thrown away after training; the transformer itself stays Wan's to the last weight.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from model.training.given import Grid
from model.training.known import GROUND, LOOKS, MOTION, OUTLINE_SIDE, TONE_SIDE, Known, cut_windows
from model.transformer import Transformer

# Which block is read for what, from the first; each can build on the one before.
BLOCKS = {"place": 1, "motion": 2, "looks": 2, "centre": 3, "ground": 3, "outline": 4, "tone": 4}
WIDTHS = {
    "place": 3, "motion": MOTION, "looks": len(LOOKS), "centre": 2, "ground": GROUND, "outline": OUTLINE_SIDE**2,
    "tone": TONE_SIDE**2,
}  # fmt: skip


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
        errors["motion"] = errors["motion"] * told[:, None, None]
        errors["looks"] = errors["looks"] * named[:, None, None]
        return {name: error.mean() for name, error in errors.items()}


class Truth(NamedTuple):
    """What a batch of clips shows, as its tokens have to know it.

    Attributes:
        place: (1, tokens, 3).
        motion, looks, centre: (batch, tokens, ...), as in `Known`, of the thing on the token's side.
        ground: (batch, tokens, ...), as in `Known`.
        outline, tone: (batch, tokens, spots).
    """

    place: Tensor
    motion: Tensor
    looks: Tensor
    centre: Tensor
    ground: Tensor
    outline: Tensor
    tone: Tensor


def truth(clips: Known, grid: Grid, first: int = 0, windows: Tensor | None = None) -> Truth:
    """Args:
    clips: as they were before they were cut.
    grid: (frames, height, width) in tokens, of what is left of them.
    first: the first latent frame that is left.
    windows: (batch, 2), where in the frame the part that is left begins, (y, x) in tokens; None for the whole frame.
    """
    frames, height, width = grid
    centre, ground, outline, tone = (
        values[:, first : first + frames] for values in (clips.centre, clips.ground, clips.outline, clips.tone)
    )
    columns = torch.arange(width, device=centre.device)[None].expand(len(centre), -1)
    half = width / 2
    if windows is not None:
        whole = torch.tensor(outline.shape[3:1:-1], device=centre.device)
        part = torch.tensor([width, height], device=centre.device)
        centre = ((centre + 1) / 2 * whole - windows.flip(1)[:, None, None]) / part * 2 - 1
        columns, half = columns + windows[:, 1:], outline.shape[3] / 2
        outline, tone = (cut_windows(values, windows, (height, width)) for values in (outline, tone))
    side = (columns >= half).long()
    index = torch.arange(len(centre), device=centre.device)[:, None]

    def of_side(values: Tensor) -> Tensor:
        return repeat(values[index, :, side], "b w t c -> b (t h w) c", h=height)

    def of_spots(values: Tensor) -> Tensor:
        return rearrange(values.float() / 255, "b t h w c -> b (t h w) c")

    return Truth(
        rearrange(places(grid).to(centre.device), "t h w c -> 1 (t h w) c"),
        of_side(clips.motion[:, first : first + frames]),
        of_side(clips.looks[:, first : first + frames].float() / 255),
        of_side(centre),
        repeat(ground, "b t c -> b (t h w) c", h=height, w=width),
        of_spots(outline),
        of_spots(tone),
    )


def places(grid: Grid) -> Tensor:
    """Each token's own place, (frames, height, width, 3) as (t, y, x), each in -1..1."""
    axes = [(torch.arange(count) + 0.5) / count * 2 - 1 for count in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
