"""Windows of a clip as tensors: what is known of each, and all of them averaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from einops import rearrange
from torch import Tensor

from model.condition import Condition
from model.denoising import Denoiser, VelocityOf
from model.long.pieces import LongPlan, Piece
from model.sampler import Walk

AfterWindow = Callable[[Tensor], None]


def cut(condition: Condition | None, positions: Sequence[int]) -> Condition | None:
    """What is known of a clip, at these latents of it."""
    if condition is None:
        return None
    at = list(positions)
    original = None if condition.original is None else condition.original[:, :, at]
    return replace(condition, latents=condition.latents[:, :, at], mask=condition.mask[:, :, at], original=original)


def condition_of(
    plan: LongPlan, piece: Piece, made: Mapping[str, Tensor], condition: Condition | None
) -> Condition | None:
    """What a piece knows: the take's own condition, and the latents of the pieces that it needs.

    Args:
        made: by piece id, (1, c, makes, h, w).
        condition: of the whole clip.
    """
    window = cut(condition, piece.positions)
    if not piece.known:
        return window
    if window is None:
        like = made[piece.needs[0]]
        grid = (len(piece.positions), *like.shape[3:])
        window = Condition(like.new_zeros(1, like.shape[1], *grid), like.new_zeros(1, 1, *grid))
    latents, mask, truth = window.latents.clone(), window.mask.clone(), window.truth.clone()
    own = set(piece.makes)
    for place, position in enumerate(piece.positions):
        if position not in own:
            source = plan.source(piece, position)
            latents[:, :, place] = made[source][:, :, plan.by_id[source].makes.index(position)]
            truth[:, :, place] = latents[:, :, place]
            mask[:, :, place] = 1.0
    original = None if window.original is None else truth
    return replace(window, latents=latents, mask=mask, original=original, imposed=True)


def known_whole(condition: Condition | None) -> frozenset[int]:
    """Latents of the clip that the condition leaves nothing to be made of."""
    if condition is None:
        return frozenset()
    whole = rearrange(condition.known, "1 1 t h w -> t (h w)").amin(dim=1) >= 1.0
    return frozenset(torch.nonzero(whole).flatten().tolist())


def assemble(plan: LongPlan, made: Mapping[str, Tensor]) -> Tensor:
    """The clip (1, c, t, h, w) of all its pieces, a later one of the plan over an earlier one."""
    like = next(iter(made.values()))
    clip = like.new_zeros(1, like.shape[1], plan.latents, *like.shape[3:])
    for piece in plan.pieces:
        clip[:, :, list(piece.makes)] = made[piece.id]
    return clip


def averaged(
    denoiser: Denoiser, walk: Walk, windows: Sequence[Sequence[int]], condition: Condition | None, latents: int,
    after: AfterWindow,
) -> VelocityOf:  # fmt: skip
    """The velocity of a whole clip: that of all its windows, each counting less towards its ends.

    Args:
        windows: positions of each.
        condition: of the whole clip.
        latents: of the clip, along time.
        after: called with each window's velocity, which may raise.
    """
    parts = [denoiser.velocity(walk, cut(condition, window)) for window in windows]
    tapers = [_taper(len(window)) for window in windows]
    total = torch.zeros(latents)
    for window, taper in zip(windows, tapers, strict=True):
        total[list(window)] += taper

    def velocity(clip: Tensor, time: Tensor) -> Tensor:
        mean = torch.zeros_like(clip)
        for window, part, taper in zip(windows, parts, tapers, strict=True):
            at = list(window)
            share = rearrange(taper / total[at], "t -> 1 1 t 1 1").to(clip.device)
            found = part(clip[:, :, at], time)
            after(found)
            mean[:, :, at] += share * found
        return mean

    return velocity


def ringed(velocity: VelocityOf) -> VelocityOf:
    """The velocity of a clip whose first and last latents are one and the same: the first follows the last."""

    def both_ends(clip: Tensor, time: Tensor) -> Tensor:
        found = velocity(clip, time)
        found[:, :, 0] = found[:, :, -1]
        return found

    return both_ends


def _taper(length: int) -> Tensor:
    """1, 2, 3, .. up to the middle and down again: (length,), fp32."""
    rise = torch.arange(1, length + 1, dtype=torch.float32)
    return torch.minimum(rise, rise.flip(0))
