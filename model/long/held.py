"""Keys of a long clip: frames of a short one, each made to stand still.

The keys of a minute are one clip of the model's own length, told at the model's own pace, whose frames are spread over
the minute. A frame becomes a latent by being shown for as long as a latent lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from model.pipeline import Pipeline


def held(
    pipeline: Pipeline, window: Tensor, pictures: Sequence[int], at_work: Callable[[], None] = lambda: None
) -> Tensor:
    """Latents (1, c, pictures, h, w), each of one frame of a window (1, c, t, h, w) that stands still.

    Args:
        pictures: frames of the window, from 0.
        at_work: called after each latent that is decoded and each picture that is encoded; may raise to stop.

    Raises:
        NonFinite: as `Pipeline.decode`.
    """
    frames = pipeline.decode(window, on_latent=lambda *_: at_work())
    stands = []
    for picture in pictures:
        still = np.repeat(frames[picture][None], 1 + pipeline.folder.frame_stride, axis=0)
        stands.append(pipeline.encode(still)[:, :, 1:].to(window))
        at_work()
    return torch.cat(stands, dim=2)
