"""Keys of a long clip as pictures that stand still.

A model that is shown the keys' places in a row makes them as if they followed one another: each of them is a group of
frames in which things go as far as they will go until the next key, a minute's way in a second. Left as they are,
things would stand still in the gaps and dart in the keys. So of each key one picture is kept, the middle one of its
group, for as long as the group lasts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from model.pipeline import Pipeline


def held(pipeline: Pipeline, window: Tensor, places: list[int]) -> Tensor:
    """Latents (1, c, places, h, w) of a window (1, c, t, h, w), each of the picture in its middle.

    The window's first latent is one picture, which stands as it is.

    Args:
        places: of the window.

    Raises:
        NonFinite: as `Pipeline.decode`.
    """
    stride = pipeline.folder.frame_stride
    frames = pipeline.decode(window).astype(np.uint8)
    stands = []
    for place in places:
        if place == 0:
            stands.append(window[:, :, :1])
            continue
        middle = frames[1 + (place - 1) * stride + stride // 2]
        stands.append(pipeline.encode(np.repeat(middle[None], 1 + stride, axis=0))[:, :, 1:])
    return torch.cat([latent.to(window) for latent in stands], dim=2)
