"""From noise to latents: the sampling walk over one window, with what all windows of a take share.

A clip that the model renders at once is one window. A long one is many (`model.long`), and each is walked as here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.condition import Condition
from model.gang import OnStep, end_step
from model.sampler import Sampler, Walk
from model.velocity import Form, Guidance, Velocity

if TYPE_CHECKING:
    from model.parallel import ParallelGroup
    from model.transformer import Transformer

VelocityOf = Callable[[Tensor, Tensor], Tensor]
"""Velocity (1, c, t, h, w), fp32, of latents at a scalar time step."""


@dataclass(frozen=True)
class Denoiser:
    """What every window of a take has in common. The same on all ranks of a gang.

    Attributes:
        experts: the transformer, or the high-noise and the low-noise one.
        sampler: how steps are laid out and done.
        form: how the experts are told what is known.
        frame_stride: frames of one latent frame.
        boundary_ratio: share of the time steps above which the high-noise expert works; None with one transformer.
        texts: states (tokens, width) of the prompt and, where guidance wants it, of the negative prompt.
        guidance: its scales.
        steps: of a walk from pure noise.
        device: where everything is computed.
        group: the ranks that work together, or None.
        on_expert: told which expert is about to be asked, by its number.
    """

    experts: Sequence[Transformer]
    sampler: Sampler
    form: Form
    frame_stride: int
    boundary_ratio: float | None
    texts: Sequence[Tensor]
    guidance: Guidance
    steps: int
    device: torch.device
    group: ParallelGroup | None = None
    on_expert: Callable[[int], None] | None = None

    def start(self, strength: float = 1.0, *, first: int = 0) -> Walk:
        """A fresh walk; see `Sampler.start`."""
        return self.sampler.start(self.steps, device=self.device, strength=strength, first=first)

    def velocity(self, walk: Walk, condition: Condition | None) -> Velocity:
        """What the transformer says of a window of which `condition` is known."""
        return Velocity(
            self.experts,
            boundary=None if self.boundary_ratio is None else self.boundary_ratio * walk.train_steps,
            form=self.form,
            frame_stride=self.frame_stride,
            texts=self.texts,
            guidance=self.guidance,
            condition=condition,
            group=self.group,
            on_expert=self.on_expert,
        )

    def run(
        self, noise: Tensor, condition: Condition | None, *, generator: torch.Generator, on_step: OnStep | None = None
    ) -> Tensor:
        """Latents of one window.

        Args:
            noise: (1, c, t, h, w), fp32, on the device.
            condition: what is known of the window, on the device, or None.
            generator: for samplers that draw more noise on their way.
            on_step: called with (steps done, steps) after each one; may raise to stop, and then all ranks leave.

        Raises:
            NonFinite, PeerFailed: as `model.gang.end_step`.
        """
        walk = self.start(1.0 if condition is None else condition.strength)
        return self.walk(
            walk, self.first_latents(walk, noise, condition), noise, condition, self.velocity(walk, condition),
            generator=generator, on_step=on_step,
        )  # fmt: skip

    def first_latents(self, walk: Walk, noise: Tensor, condition: Condition | None) -> Tensor:
        """Where a walk begins: the noise, or the noised source where the condition has less than full strength."""
        if condition is not None and condition.strength < 1.0:
            return walk.noised(condition.truth, noise, 0)
        return noise

    def walk(
        self, walk: Walk, latents: Tensor, noise: Tensor, condition: Condition | None, velocity: VelocityOf, *,
        generator: torch.Generator, on_step: OnStep | None = None, stop: int | None = None,
    ) -> Tensor:  # fmt: skip
        """Latents after the steps of `walk`, up to step `stop` of it where that is given; known ones put back."""
        kept = condition if condition is not None and condition.keeps_something else None
        if kept is not None and self.form is Form.CHANNELS and not kept.imposed:
            kept = None
        each_step = kept is not None and self._imposes(kept)
        steps = len(walk) if stop is None else stop
        for index in range(steps):
            if kept is not None and each_step:
                held = kept.held(walk.noise_level(index))
                latents = impose(latents, walk.noised(kept.truth, noise, index), held)
            latents = walk.step(velocity(latents, walk.times[index]), index, latents, generator)
            end_step(self.group, latents, index, len(walk), on_step)
        return latents if kept is None or steps < len(walk) else impose(latents, kept.truth, kept.known)

    def _imposes(self, kept: Condition) -> bool:
        """Whether latents are put back at each step: always, but for tokens that are told by their time step alone."""
        if self.form is not Form.TIMESTEPS:
            return True
        return not torch.equal(kept.held(1.0), kept.told(self.experts[0].config.patch_size))


def impose(latents: Tensor, known: Tensor, mask: Tensor) -> Tensor:
    """`known` where the mask is 1, `latents` where it is 0."""
    return mask * known + (1.0 - mask) * latents
