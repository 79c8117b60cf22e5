"""A long clip, piece by piece: denoised by one gang, or by several that keep the pieces in one place."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from model.denoising import impose
from model.gang import OnStep, end_step, share, share_slowly, together
from model.long.held import held
from model.long.pieces import LongPlan, Piece
from model.long.planning import plan_pieces
from model.long.windows import assemble, averaged, condition_of, eased, known_whole, ringed
from model.velocity import Form

if TYPE_CHECKING:
    from model.condition import Condition
    from model.pipeline import Begun, Pipeline


class Keeper(Protocol):
    """Where finished pieces are kept, so that whoever goes on with the clip need not make them again.

    Only rank 0's is asked. No call may take long: the other ranks wait.
    """

    def load(self, piece: str, stamp: str) -> Tensor | None:
        """The latents (1, c, makes, h, w) of a piece of the plan with this stamp, or None where none are kept."""

    def listed(self) -> Collection[str]:
        """Pieces of which something is kept."""

    def save(self, piece: str, stamp: str, latents: Tensor) -> None:
        """Keeps them. A keeper that cannot is silent: the piece would be made again, nothing more."""


@dataclass(frozen=True)
class Long:
    """How a long clip is made.

    Attributes:
        method: of `model.long.METHODS`.
        window_frames: frames of one window; as many as the model makes by default.
        keeper: where pieces are looked up before they are made, and kept afterwards.
        helper: this gang only helps another with the same take (numbered from 1): it makes one piece that is not kept
            yet and that the other would come to late, if there is one, and nothing else. Needs a keeper.
    """

    method: str
    window_frames: int | None = None
    keeper: Keeper | None = None
    helper: int | None = None


@torch.no_grad()
def denoise_long(
    pipeline: Pipeline,
    prompt: str,
    long: Long,
    *,
    backward: bool = False,
    closed: bool = False,
    sourced: bool = False,
    ended: bool = False,
    on_step: OnStep | None = None,
    **take: Any,
) -> Tensor | None:
    """Latents (1, c, t, h, w), fp32, of a clip of any length; every rank of a gang gets them.

    Noise is drawn once for the whole clip and each window has its slice, so the clip does not depend on who makes which
    piece, in which order, nor on whether pieces were kept from an earlier try.

    Args:
        long: method, window, and where pieces are kept.
        backward: `overlap` begins at the end of the clip.
        closed: `co_denoise` closes the clip to a ring: its first and last latents come out equal, and the frame after
            the last would be the first. See `Pipeline.decode_ring`.
        sourced: the condition says something of latents anywhere, as a source does that is changed.
        ended: the condition says what the last latent shows. See `plan_pieces`, and `story_of` for all four.
        on_step: called with (steps done, steps) of all pieces; pieces that were kept count as done.
        take: what `Pipeline.begin` takes.

    Returns:
        The clip's latents; None from a helper.

    Raises:
        InputError, NonFinite, PeerFailed: as `Pipeline.denoise`.
    """
    with together(take.get("group")):
        begun = pipeline.begin(prompt, **take)
        frames = pipeline.facts["frames"] if long.window_frames is None else long.window_frames
        walked = len(begun.denoiser.start(_strength_of(begun)))
        window = pipeline.grid_of(*_size(pipeline, begun.noise), frames)[0]
        plan = plan_pieces(
            long.method, begun.noise.shape[2], window, steps=walked, backward=backward, closed=closed, sourced=sourced,
            ended=ended, frame_stride=pipeline.folder.frame_stride,
        )  # fmt: skip
        work = _Work(pipeline, begun, plan, int(take.get("seed", 0)), long.keeper, on_step)
        if long.helper is None:
            work.finish()
            return work.clip()
        work.help(long.helper)
        return None


def _strength_of(begun: Begun) -> float:
    return 1.0 if begun.condition is None else begun.condition.strength


def _size(pipeline: Pipeline, latents: Tensor) -> tuple[int, int]:
    stride = pipeline.folder.spatial_stride
    return latents.shape[4] * stride, latents.shape[3] * stride


class _Work:
    """One gang's work on one clip. `made` holds the pieces that are there, by id."""

    def __init__(
        self, pipeline: Pipeline, begun: Begun, plan: LongPlan, seed: int, keeper: Keeper | None, on_step: OnStep | None
    ) -> None:
        self.plan, self.made, self._pipeline = plan, dict[str, Tensor](), pipeline
        self._denoiser, self._condition, self._seed = begun.denoiser, begun.condition, seed
        self._strength = _strength_of(begun)
        self._noise, self._keeper, self._on_step = begun.noise, keeper, on_step
        if plan.closed:
            self._noise = self._noise.clone()
            self._noise[:, :, 0] = self._noise[:, :, -1]  # one latent, seen from both sides
        self._whole = known_whole(begun.condition)
        self._units = {piece.id: self._units_of(piece) for piece in plan.pieces}
        self._before = 0  # units of the pieces that are done

    def finish(self) -> None:
        """Makes every piece that is not there."""
        for piece in self.plan.pieces:
            self._have(piece)

    def help(self, number: int) -> None:
        """Makes one piece that another gang has not come to, if there is any; see `Long.helper`."""
        kept = {name for name in share(self._denoiser.group, self._listed) if name in self.plan.by_id}
        if not kept:  # the keys are not there yet; or nothing is, any more
            return
        done = kept | {piece.id for piece in self.plan.pieces if self._nothing_to_make(piece)}
        ready = self.plan.ready(done)
        # The gang that is helped comes from the front, and the helpers before this one are at work as well.
        if len(ready) <= number:
            return
        piece = ready[-1 - (number - 1) * len(ready) // 3 % len(ready)]
        for need in piece.needs:
            found = self._found(self.plan.by_id[need])
            if found is None:  # of another plan, or gone since
                return
            self._put(self.plan.by_id[need], found)
        self._have(piece)

    def clip(self) -> Tensor:
        """The whole clip, of all pieces."""
        latents = assemble(self.plan, self.made)
        condition = self._condition
        if condition is not None and self._puts_back:
            at = sorted(self._whole)
            latents[:, :, at] = condition.truth[:, :, at]
        if self.plan.closed:
            latents[:, :, 0] = latents[:, :, -1]
        return latents

    def _units_of(self, piece: Piece) -> int:
        """Windows that go through the transformer for it, at most: a piece whose ends are near takes fewer."""
        if self._nothing_to_make(piece):
            return 0
        if piece.steps is not None:
            return (piece.steps[1] - piece.steps[0]) * max(1, len(self.plan.windows))
        share = self._strength if self._strength < 1.0 else self._whole_steps(piece.strength)
        return len(self._denoiser.start(share))

    def _whole_steps(self, strength: float) -> float:
        """A share of the noise that is of whole steps, at least one."""
        steps = self._denoiser.steps
        return min(1.0, (max(1, round(strength * steps)) + 0.5) / steps)

    def _nothing_to_make(self, piece: Piece) -> bool:
        return piece.steps is None and self._whole.issuperset(piece.makes)

    def _have(self, piece: Piece) -> None:
        """Gets a piece: from the take's own condition, from where it is kept, or by making it."""
        if piece.id in self.made:
            return
        found = self._found(piece)
        if found is None:
            found = self._make(piece)
            if self._keeper is not None and self._rank == 0:
                self._keeper.save(piece.id, self.plan.stamp, found.cpu())
        self._put(piece, found)

    def _put(self, piece: Piece, latents: Tensor | None) -> None:
        if latents is not None:
            self.made[piece.id] = latents
            self._before += self._units[piece.id]

    def _found(self, piece: Piece) -> Tensor | None:
        """A piece that need not be made, on every rank."""
        if self._nothing_to_make(piece):
            assert self._condition is not None
            return self._condition.truth[:, :, list(piece.makes)]
        kept = share(self._denoiser.group, lambda: self._kept(piece))
        return None if kept is None else kept.to(self._noise.device)

    def _kept(self, piece: Piece) -> Tensor | None:
        """What the keeper has of a piece; anything that is not what this piece makes is made again."""
        kept = None if self._keeper is None else self._keeper.load(piece.id, self.plan.stamp)
        shape = (1, self._noise.shape[1], len(piece.makes), *self._noise.shape[3:])
        if kept is None or kept.shape != shape or not bool(torch.isfinite(kept).all()):
            return None
        return kept.float().cpu()

    def _listed(self) -> list[str]:
        return [] if self._keeper is None else sorted(self._keeper.listed())

    def _make(self, piece: Piece) -> Tensor:
        generator = torch.Generator("cpu").manual_seed(self._seed_of(piece))
        if piece.steps is not None:
            return self._make_together(piece, generator)
        latents = self._denoiser.run(
            self._noise[:, :, list(piece.positions)],
            self._condition_of(piece),
            generator=generator,
            on_step=lambda done, steps: self._tell(self._units[piece.id] - steps + done),
        )
        if piece.pictures:
            return self._keys(piece, latents)
        return latents[:, :, [piece.positions.index(position) for position in piece.makes]]

    def _condition_of(self, piece: Piece) -> Condition | None:
        strength = self._whole_steps(piece.strength)
        if strength == 1.0 or self._strength < 1.0:
            return condition_of(self.plan, piece, self.made, self._condition)
        first = None
        if piece.positions[0] == 0:
            first = self._stand(self.made[self.plan.source(piece, 0)][:, :, :1], (0,), 0)
        window = condition_of(self.plan, piece, self.made, self._condition, strength=strength, first=first)
        assert window is not None, "such a piece knows of others"
        share_left = share(self._denoiser.group, lambda: eased(window, first))
        return replace(window, strength=self._whole_steps(piece.strength * share_left))

    def _stand(self, window: Tensor, pictures: Sequence[int], done: int) -> Tensor:
        """Pictures of a window as latents, on every rank; see `held`.

        done: units of the piece that are done meanwhile.
        """
        stand: Tensor = share_slowly(
            self._denoiser.group, lambda: held(self._pipeline, window, pictures, lambda: self._tell(done)).cpu()
        )
        return stand.to(window)

    def _keys(self, piece: Piece, window: Tensor) -> Tensor:
        """The keys that a piece makes: pictures of its window, but for what the take is given of them."""
        stand = self._stand(window, piece.pictures, self._units[piece.id])
        if piece.makes[0] == 0:  # the clip's first latent is one frame, here as there
            stand[:, :, 0] = window[:, :, 0]
        condition, at = self._condition, list(piece.makes)
        if condition is None or not self._puts_back:
            return stand
        return impose(stand, condition.truth[:, :, at], condition.known[:, :, at])

    def _make_together(self, piece: Piece, generator: torch.Generator) -> Tensor:
        """Some steps of all windows."""
        assert piece.steps is not None
        first, end = piece.steps
        denoiser, condition = self._denoiser, self._condition
        walk = denoiser.start(self._strength, first=first)
        latents = self.made[piece.needs[0]] if piece.needs else denoiser.first_latents(walk, self._noise, condition)
        windows = self.plan.windows or (piece.positions,)
        done = 0

        def after(velocity: Tensor) -> None:
            nonlocal done
            step = first + done // len(windows)
            done += 1
            end_step(denoiser.group, velocity, step, end, lambda *_: self._tell(done))

        velocity = averaged(denoiser, walk, windows, condition, self.plan.latents, after)
        if self.plan.closed:
            velocity = ringed(velocity)
        return denoiser.walk(walk, latents, self._noise, condition, velocity, generator=generator, stop=end - first)

    def _seed_of(self, piece: Piece) -> int:
        """Seed of the noise that a sampler may draw on its way: a piece's own, whoever makes it."""
        return int.from_bytes(hashlib.sha256(f"{self._seed}/{piece.id}".encode()).digest()[:7], "big")

    def _tell(self, done: int = 0) -> None:
        if self._on_step is not None:
            self._on_step(self._before + done, sum(self._units.values()))

    @property
    def _puts_back(self) -> bool:
        """Whether known latents are put back into what is made; a checkpoint with channels for them goes without."""
        return self._condition is not None and (self._condition.imposed or self._denoiser.form is not Form.CHANNELS)

    @property
    def _rank(self) -> int:
        return 0 if self._denoiser.group is None else self._denoiser.group.rank
