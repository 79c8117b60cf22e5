"""One law for every task: given some of a clip, what is the rest?

A `Condition` is what is known of a clip on its latent grid. How a checkpoint is told of it is the pipeline's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange, reduce, repeat
from torch import Tensor

from model.errors import InputError

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Condition:
    """Known latents, where they hold, and how firmly.

    Attributes:
        latents: normalised latents (1, channels, t, h, w), fp32; looked at where the mask says so. A checkpoint that
            takes the condition as channels is shown all of them.
        mask: (1, m, t, h, w) in 0..1, where 1 is known and 0 is to be made. m is 1, or the number of frames of one
            latent frame, when only some of those are known (a last frame is the last of its group). In between is the
            share of a latent that is known: it steers the early steps and is made anew in the late ones.
        strength: share of the noise to start from, above 0 and up to 1; below 1, sampling starts from the noised
            latents.
        image_tokens: states of an image encoder (1, tokens, width) for a checkpoint that attends to them; (2, tokens,
            width) for one that attends to a first and a last image.
        original: clean latents of the source, like `latents`, where a checkpoint is shown others (grey in place of
            what it is to make).
        imposed: whether a checkpoint that takes the condition as channels has the known latents put back as well;
            its own tasks (i2v, flf2v) go without.
    """

    latents: Tensor
    mask: Tensor
    strength: float = 1.0
    image_tokens: Tensor | None = None
    original: Tensor | None = None
    imposed: bool = False

    def __post_init__(self) -> None:
        if self.latents.ndim != 5 or self.latents.shape[0] != 1:
            raise InputError(f"known latents are {tuple(self.latents.shape)}, not (1, channels, t, h, w)")
        if self.mask.ndim != 5 or self.mask.shape[0] != 1 or self.mask.shape[2:] != self.latents.shape[2:]:
            raise InputError(
                f"a mask of {tuple(self.mask.shape)} does not fit known latents of {tuple(self.latents.shape)}"
            )
        if not self.mask.is_floating_point() or not bool(((self.mask >= 0) & (self.mask <= 1)).all()):
            raise InputError("a mask holds floating-point values from 0 (to be made) to 1 (known)")
        if not bool(torch.isfinite(self.latents).all()):
            raise InputError("known latents hold NaN or infinity")
        if not 0.0 < self.strength <= 1.0:
            raise InputError(f"strength is {self.strength}; it is above 0 and at most 1")
        if self.image_tokens is not None and (self.image_tokens.ndim != 3 or self.image_tokens.shape[0] > 2):
            raise InputError(f"image tokens are {tuple(self.image_tokens.shape)}, not (1 or 2, tokens, width)")
        if self.original is not None and self.original.shape != self.latents.shape:
            raise InputError(f"source latents of {tuple(self.original.shape)} are not {tuple(self.latents.shape)}")

    @classmethod
    def first(cls, latents: Tensor, grid: Grid, *, image_tokens: Tensor | None = None) -> Condition:
        """Image to video: `latents` (1, c, 1, h, w) are the first latent frame of a clip of `grid` (t, h, w)."""
        return cls.at_frames(latents, grid, [0], image_tokens=image_tokens)

    @classmethod
    def at_frames(
        cls, latents: Tensor, grid: Grid, frames: Sequence[int], *, image_tokens: Tensor | None = None
    ) -> Condition:
        """Whole latent frames are known, at these indices of the clip, in their order in `latents` (1, c, n, h, w)."""
        if latents.ndim != 5 or latents.shape[2] != len(frames) or tuple(latents.shape[3:]) != tuple(grid[1:]):
            raise InputError(
                f"latents of {tuple(latents.shape)} are not {len(frames)} frames of a grid of {tuple(grid)}"
            )
        if len(set(frames)) != len(frames) or not all(0 <= index < grid[0] for index in frames):
            raise InputError(f"known latent frames {list(frames)} are not distinct indices below {grid[0]}")
        known = latents.new_zeros(1, latents.shape[1], *grid, dtype=torch.float32)
        mask = latents.new_zeros(1, 1, *grid, dtype=torch.float32)
        known[:, :, list(frames)] = latents.float()
        mask[:, :, list(frames)] = 1.0
        return cls(known, mask, image_tokens=image_tokens)

    @classmethod
    def source(cls, latents: Tensor, *, strength: float) -> Condition:
        """Video to video: nothing is kept, but sampling starts from these noised latents (1, c, t, h, w)."""
        return cls(latents.float(), latents.new_zeros(1, 1, *latents.shape[2:], dtype=torch.float32), strength)

    @property
    def grid(self) -> Grid:
        """Latent frames, rows and columns."""
        t, h, w = self.latents.shape[2:]
        return t, h, w

    @property
    def known(self) -> Tensor:
        """Mask (1, 1, t, h, w), 0 or 1, of latents that are known whole: in every frame of theirs."""
        return (self.mask.amin(dim=1, keepdim=True) >= 1.0).float()

    @property
    def keeps_something(self) -> bool:
        """Whether any latent is known, at least in part, so that sampling must heed it."""
        return bool(self.mask.any())

    @property
    def truth(self) -> Tensor:
        """Clean latents of what is known, and of the source: `original` where it differs from what is shown."""
        return self.latents if self.original is None else self.original

    def held(self, noise_level: float) -> Tensor:
        """Mask (1, 1, t, h, w), 0 or 1, of latents that are held to the source at a noise level from 1 to 0.

        What is known whole is held to the end; what is known in part only while the noise hides the rest.
        """
        return _held(self.mask.mean(dim=1, keepdim=True), noise_level)

    def told(self, patch: tuple[int, int, int], noise_level: float = 0.0) -> Tensor:
        """Mask (1, 1, t, h, w), 0 or 1, of latents whose token is told to be known at a noise level from 1 to 0.

        As `held`, for whole tokens: one that is known in part is told early, so that what is made around it leads up to
        it, and made anew from there.
        """
        t, h, w = patch
        share = self.mask.mean(dim=1, keepdim=True)
        share = reduce(share, "b 1 (t i) (h j) (w k) -> b 1 t h w", "mean", i=t, j=h, k=w)
        return repeat(_held(share, noise_level), "b 1 t h w -> b 1 (t i) (h j) (w k)", i=t, j=h, k=w)

    def to(self, device: torch.device | str) -> Condition:
        """The same condition with its tensors on `device`."""
        tokens = None if self.image_tokens is None else self.image_tokens.to(device)
        original = None if self.original is None else self.original.to(device)
        return replace(
            self, latents=self.latents.to(device), mask=self.mask.to(device), image_tokens=tokens, original=original
        )

    def frame_mask(self, frame_stride: int) -> Tensor:
        """The mask with one channel for each frame of a latent frame: (1, frame_stride, t, h, w)."""
        if self.mask.shape[1] == frame_stride:
            return self.mask
        if self.mask.shape[1] != 1:
            raise InputError(f"a mask of {self.mask.shape[1]} frames a latent does not fit a stride of {frame_stride}")
        return repeat(self.mask, "b 1 t h w -> b stride t h w", stride=frame_stride)

    def token_mask(self, patch: tuple[int, int, int], noise_level: float = 0.0) -> Tensor:
        """Tokens that are told to be known, 0 or 1, in their order: (1, tokens)."""
        t, h, w = patch
        return rearrange(self.told(patch, noise_level)[:, :, ::t, ::h, ::w], "b 1 t h w -> b (t h w)")


def _held(share: Tensor, noise_level: float) -> Tensor:
    return ((share > 0.0) & (share >= 1.0 - noise_level)).float()
