"""A new background behind what stays: how it looks right up to the edge.

A token across the edge of what stays is held to the source, old background and all, until little noise is left; of that
the model makes more of the thing. So the background is taken from where no such token lies and drawn in up to the edge,
and the whole is looked at once more at moderate noise, now with a source that shows what is wanted.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from model.autoencoder import Frames

AGAIN = 0.4
"""Strength of the second look: enough to smooth out what was drawn in, too little to make things anew."""
AROUND = 0.8
"""Share of the frame's border that is made anew, at least, where it is the background that is replaced."""


def is_background(stays: NDArray[np.bool_]) -> bool:
    """Whether an edit replaces what is behind something, and not something before its background.

    Args:
        stays: pixels that stay, (frames, h, w).
    """
    border = [stays[:, 0], stays[:, -1], stays[:, 1:-1, 0], stays[:, 1:-1, -1]]
    anew = 1.0 - float(np.concatenate([part.ravel() for part in border]).mean())
    return bool(stays.any()) and anew >= AROUND


def drawn_in(frames: Frames, source: NDArray[np.uint8], stays: NDArray[np.bool_], reach: int) -> NDArray[np.uint8]:
    """What stays of `source` over decoded frames, whose background is drawn in up to its edge: (frames, h, w, 3).

    Args:
        frames: decoded, 8 bits, (frames, h, w, 3).
        stays: pixels of the source that stay, (frames, h, w).
        reach: pixels around them that are drawn in; a frame without any beyond those is left as it is.
    """
    made = np.empty_like(source)
    for place, (frame, kept) in enumerate(zip(frames, stays, strict=True)):
        picture = rearrange(torch.from_numpy(frame.astype(np.float32)), "h w c -> 1 c h w")
        far = torch.from_numpy(~around(kept[None], reach))[None]
        filled = _spread(picture, far, most=2 * reach)
        made[place] = rearrange(filled, "1 c h w -> h w c").round().numpy()
    np.copyto(made, source, where=stays[..., None])
    return made


def around(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """A mask (frames, h, w), and what is up to `reach` rows and columns away from it."""
    grown = torch.from_numpy(mask.astype(np.float32))[:, None]
    for rows, columns in ((reach, 0), (0, reach)):
        grown = F.max_pool2d(grown, (2 * rows + 1, 2 * columns + 1), stride=1, padding=(rows, columns))
    return np.asarray(grown[:, 0].numpy() > 0)


def _spread(picture: Tensor, have: Tensor, most: int) -> Tensor:
    """A picture (1, c, h, w) whose other pixels, ring by ring, are means of those that it has (1, 1, h, w)."""
    held, values = have.float(), picture * have
    for _ in range(most):
        count, total = (F.avg_pool2d(part, 3, stride=1, padding=1) for part in (held, values))
        new = (held == 0) & (count > 0)
        if not new.any():
            break
        values = torch.where(new, total / count.clamp_min(1e-6), values)
        held = torch.where(new, 1.0, held)
    return torch.where(held > 0, values, picture)
