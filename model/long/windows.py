"""Windows of a clip as tensors: what is known of each, and all of them averaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from model.condition import Condition
from model.denoising import Denoiser, VelocityOf
from model.long.pieces import LongPlan, Piece
from model.sampler import Walk

AfterWindow = Callable[[Tensor], None]

NEAR, FAR = 0.5, 0.9
"""Change from one known latent to the next, of what stands out in them: things that come less far than a latent is wide
change in part, those that come further change wholly."""
FAINT = 0.3
"""Of what stands out most in a window, what counts as a thing at all."""
EASE = 0.6
"""Share of a piece's strength that is left where what it knows is near: there the straight way is nearly the truth."""


def cut(condition: Condition | None, positions: Sequence[int]) -> Condition | None:
    """What is known of a clip, at these latents of it."""
    if condition is None:
        return None
    at = list(positions)
    original = None if condition.original is None else condition.original[:, :, at]
    return replace(condition, latents=condition.latents[:, :, at], mask=condition.mask[:, :, at], original=original)


def condition_of(
    plan: LongPlan,
    piece: Piece,
    made: Mapping[str, Tensor],
    condition: Condition | None,
    *,
    strength: float = 1.0,
    first: Tensor | None = None,
) -> Condition | None:
    """What a piece knows: the take's own condition, and the latents of the pieces that it needs.

    Args:
        made: by piece id, (1, c, makes, h, w).
        condition: of the whole clip.
        strength: share of the noise that the piece starts from; below 1, it starts from the noised way between the
            latents that it or the take's own condition knows whole. The condition's strength comes first.
        first: (1, c, 1, h, w), from where that way begins, in place of the first latent: a clip's own is of one frame,
            and nothing lies half-way between it and one of four.
    """
    window = cut(condition, piece.positions)
    if not piece.known:
        return window
    if window is None:
        like = made[piece.needs[0]]
        grid = (len(piece.positions), *like.shape[3:])
        window = Condition(like.new_zeros(1, like.shape[1], *grid), like.new_zeros(1, 1, *grid))
    latents, mask, truth = window.latents.clone(), window.mask.clone(), window.truth.clone()
    for position in piece.known:
        place, source = piece.positions.index(position), plan.source(piece, position)
        latents[:, :, place] = made[source][:, :, plan.by_id[source].makes.index(position)]
        truth[:, :, place] = latents[:, :, place]
        mask[:, :, place] = 1.0
    if strength < 1.0 and window.strength == 1.0:
        ends = truth if first is None else torch.cat([first, truth[:, :, 1:]], dim=2)
        stands = [piece.positions.index(position) for position in piece.known]
        belongs = [place - piece.positions[0] for place in piece.places] or stands
        given = {index: float(index) for index in known_whole(window)}
        way = _way(ends, dict(zip(stands, belongs, strict=True)) | given)
        truth = torch.where(mask.amax(dim=1, keepdim=True) > 0, truth, way)
        return replace(window, latents=latents, mask=mask, original=truth, imposed=True, strength=strength)
    original = None if window.original is None else truth
    return replace(window, latents=latents, mask=mask, original=original, imposed=True)


def _way(latents: Tensor, places: Mapping[int, float]) -> Tensor:
    """Latents (1, c, t, h, w) that go straight from each known one to the next, from the first to the last of them.

    places: where each is passed, near its index.
    """
    way = latents.clone()
    for (before, left), (after, right) in pairwise(sorted(places.items())):
        steps = torch.arange(before + 1, after, device=way.device)
        share = rearrange(((steps - left) / (right - left)).clamp(0, 1), "t -> 1 1 t 1 1")
        way[:, :, before + 1 : after] = torch.lerp(latents[:, :, [before]], latents[:, :, [after]], share)
    return way


def eased(window: Condition, first: Tensor | None = None) -> float:
    """The share of its strength that a window needs which starts from the way between known latents, EASE to 1.

    first: as for `condition_of`.
    """
    latents = window.truth if first is None else torch.cat([first, window.truth[:, :, 1:]], dim=2)
    known = latents[0, :, sorted(known_whole(window))]
    ground = rearrange(known, "c t h w -> c t (h w)").median(dim=2).values[:, :, None, None]
    stands_out = (known - ground).norm(dim=0)
    # Of what is at that place: beside a strong thing that stands a faint one moves unseen, and what hardly stands out
    # at all is noise.
    there = F.max_pool2d(stands_out[:, None], 3, stride=1, padding=1)[:, 0].clamp_min(FAINT * float(stands_out.max()))
    change = known.diff(dim=1).norm(dim=0)
    most = float((change / torch.maximum(there[1:], there[:-1]).clamp_min(1e-6)).max())
    return EASE + (1.0 - EASE) * min(1.0, max(0.0, (most - NEAR) / (FAR - NEAR)))


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
