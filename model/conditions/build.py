"""The condition of a task, built from pixels that are given.

What is known of a latent is the share of its pixels that is given: only a latent that is given whole is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange, reduce, repeat
from numpy.typing import NDArray
from torch import Tensor

from model.condition import Condition
from model.conditions.canvas import Canvas, laid
from model.conditions.given import Film, Given, Mask
from model.conditions.overlay import GivenFrames, Overlay
from model.conditions.pixels import checked
from model.conditions.spans import Clip
from model.velocity import Form

if TYPE_CHECKING:
    from model.autoencoder import Autoencoder, ImageEncoder


@dataclass(frozen=True)
class Told:
    """A condition, and what is done with its source afterwards.

    Attributes:
        overlay: pixels of the source that are laid over the decoded frames, if any.
        given: frames that are given whole, if any; they are laid over where they came back badly.
        background: whether it is the background of what is laid over that is made anew (`surround`).
    """

    condition: Condition
    overlay: Overlay | None = None
    given: GivenFrames | None = None
    background: bool = False


def build(
    task: str,
    given: Given,
    clip: Clip,
    *,
    form: Form,
    patch: tuple[int, int, int],
    autoencoder: Autoencoder,
    image_encoder: ImageEncoder | None = None,
    two_images: bool = False,
) -> Told | None:
    """The condition of a task, or None for one that is given nothing.

    Args:
        task: of the catalog.
        given: pixels of the clip's size.
        form: how the checkpoint is told.
        patch: latent frames, rows and columns of a token.
        image_encoder: of a checkpoint that attends to image tokens.
        two_images: whether it attends to those of a first and a last image.

    Raises:
        InputError: something that the task needs is not given, or is of another size or kind.
    """
    canvas = laid(task, checked(task, given, clip), clip, form)
    if canvas is None:
        return None
    sourced = task in ("v2v", "edit")
    # At strength 0 nothing is sampled (see `takes`), so that a condition need not say so.
    strength = (given.strength if sourced else None) or 1.0
    known = canvas.known
    if task == "v2v":
        known = np.zeros((clip.frames, 1, 1), bool)
    last_known = int(np.nonzero(known.any(axis=(1, 2)))[0].max(initial=0))
    latents = _encoded(autoencoder, canvas.film, None if sourced or form is Form.CHANNELS else last_known, clip)
    share = _shares(known, clip, autoencoder.spatial_stride).to(latents.device)
    if task == "edit" and not canvas.background:
        share = _known_whole(share, patch if form is Form.TIMESTEPS else (1, 1, 1))
    if form is not Form.CHANNELS:
        mask = share.mean(dim=1, keepdim=True)
        return Told(Condition(latents, mask, strength), canvas.overlay, _whole_frames(canvas, known), canvas.background)
    grey = np.where(known[..., None], canvas.film, 0).astype(np.float32) / 127.5 - known[..., None]
    shown = autoencoder.encode(_tensor(grey))
    tokens = None
    if image_encoder is not None:
        ends = np.nonzero(known.any(axis=(1, 2)))[0] if known.any() else np.array([0])
        frames = [canvas.film[ends[0]], canvas.film[ends[-1]]] if two_images else [canvas.film[ends[0]]]
        tokens = torch.cat([image_encoder.encode(frame) for frame in frames])
    condition = Condition(
        shown,
        (share >= 1.0).float(),
        strength,
        tokens,
        original=latents,
        imposed=task not in ("i2v", "flf2v"),
    )
    whole = _whole_frames(canvas, known) if condition.imposed else None
    return Told(condition, canvas.overlay, whole, canvas.background)


def _whole_frames(canvas: Canvas, known: Mask) -> GivenFrames | None:
    whole = np.asarray(known.all(axis=(1, 2)))
    return GivenFrames(canvas.film, whole) if whole.any() else None


def _tensor(values: NDArray[np.float32]) -> Tensor:
    return rearrange(torch.from_numpy(np.ascontiguousarray(values)), "t h w c -> 1 c t h w")


def _encoded(autoencoder: Autoencoder, film: Film, last: int | None, clip: Clip) -> Tensor:
    """Latents (1, c, t, h, w) of a film; up to frame `last` only, and zeros after it, where that is given.

    The autoencoder is causal: what comes later changes nothing.
    """
    groups = clip.groups if last is None else -(-last // clip.stride) + 1
    pixels = film[: clip.stride * (groups - 1) + 1].astype(np.float32) / 127.5 - 1.0
    latents = autoencoder.encode(_tensor(pixels)).float()
    whole = latents.new_zeros(1, latents.shape[1], clip.groups, *latents.shape[3:])
    whole[:, :, :groups] = latents
    return whole


def _known_whole(share: Tensor, cell: tuple[int, int, int]) -> Tensor:
    """Mask (1, 1, t, h, w) of latents that lie in cells known whole, of shares (1, stride, t, h, w) of latents.

    What lies across the edge of what is made anew shows some of what was there; held to it, the model makes more of
    that. What of such a cell stays is laid over the film.
    """
    i, j, k = cell
    tokens = reduce(share.amin(dim=1, keepdim=True), "b 1 (t i) (h j) (w k) -> b 1 t h w", "min", i=i, j=j, k=k)
    return repeat((tokens >= 1.0).float(), "b 1 t h w -> b 1 (t i) (h j) (w k)", i=i, j=j, k=k)


def _shares(known: NDArray[np.bool_], clip: Clip, spatial_stride: int) -> Tensor:
    """The share of each latent's pixels that is known, frame by frame: (1, stride, t, h, w) in 0..1."""
    rows, columns = clip.height // spatial_stride, clip.width // spatial_stride
    pixels = torch.from_numpy(np.ascontiguousarray(known)).float()
    if pixels.shape[1:] == (1, 1):
        blocks = repeat(pixels, "t 1 1 -> t h w", h=rows, w=columns)
    else:
        blocks = reduce(pixels, "t (h i) (w j) -> t h w", "mean", i=spatial_stride, j=spatial_stride)
    first = repeat(blocks[:1], "1 h w -> 1 s 1 h w", s=clip.stride)
    return torch.cat([first, rearrange(blocks[1:], "(t s) h w -> 1 s t h w", s=clip.stride)], dim=2)
