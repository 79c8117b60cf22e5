"""What the transformer says of noisy latents: guidance, experts, and the three ways to tell it what is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.condition import Condition
from model.errors import InputError
from model.text import compact

if TYPE_CHECKING:
    from model.parallel import ParallelGroup
    from model.transformer import Transformer

BATCHED_TOKENS = 4096
"""Up to so many tokens, both halves of guidance go through the transformer in one forward.

A small model then spends its time on numbers and not on calls; a large clip would only need twice the memory. It
depends on the clip alone, so that a take does not depend on where it is rendered.
"""


NOISE_TIME = 1000.0
"""Time step of pure noise: it is this many times the noise level."""


class Form(Enum):
    """How a checkpoint is told what is known."""

    TIMESTEPS = "known tokens have the time step 0 (Wan 2.2 TI2V)"
    CHANNELS = "mask and latents are further input channels (Wan I2V)"
    IMPOSED = "the known latents, noised to the level of the step, replace the sampled ones (any other)"


@dataclass(frozen=True)
class Guidance:
    """Scales of classifier-free guidance: for the only or high-noise expert, and for the low-noise one."""

    scale: float
    low_noise: float

    def __post_init__(self) -> None:
        for scale in (self.scale, self.low_noise):
            if not math.isfinite(scale):
                raise InputError(f"the guidance scale is {scale}; it is a number, of which 1 or less is no guidance")

    @property
    def wanted(self) -> bool:
        """Whether any step needs the negative prompt."""
        return self.scale > 1.0 or self.low_noise > 1.0


class Velocity:
    """Velocity of one take's latents at any time. Made once for a take, called once for each step.

    Args:
        experts: the transformer, or the high-noise and the low-noise one.
        boundary: time step (0..1000) from which on the high-noise expert works; None with one transformer.
        form: how the experts are told what is known.
        frame_stride: frames of one latent frame.
        texts: states (tokens, width) of the prompt and, where guidance wants it, of the negative prompt.
        guidance: its scales.
        condition: what is known, or None.
        group: the ranks that work together, or None.
        on_expert: told which expert is about to be asked, by its number.
    """

    def __init__(
        self,
        experts: Sequence[Transformer],
        *,
        boundary: float | None,
        form: Form,
        frame_stride: int,
        texts: Sequence[Tensor],
        guidance: Guidance,
        condition: Condition | None,
        group: ParallelGroup | None = None,
        on_expert: Callable[[int], None] | None = None,
    ) -> None:
        self.experts, self.boundary, self.form, self.guidance = experts, boundary, form, guidance
        self.group, self.condition, self.on_expert = group, condition, on_expert
        self.texts = list(texts)
        self.image_tokens = None if condition is None else condition.image_tokens
        self.tells = condition is not None and form is Form.TIMESTEPS and condition.keeps_something
        self.channels: Tensor | None = None
        if condition is not None and form is Form.CHANNELS:
            self.channels = torch.cat([condition.frame_mask(frame_stride), condition.latents], dim=1)

    def __call__(self, latents: Tensor, time: Tensor) -> Tensor:
        """Velocity (noise - clean), (1, c, t, h, w) in fp32, of `latents` at the scalar time step `time`."""
        high = self.boundary is None or bool(time >= self.boundary)
        number = 0 if high else 1
        if self.on_expert is not None:
            self.on_expert(number)
        expert = self.experts[number]
        scale = self.guidance.scale if high else self.guidance.low_noise
        seen = self._seen(latents, float(time) / NOISE_TIME)
        times = time.float().reshape(1)
        if self.condition is not None and self.tells:
            known = self.condition.token_mask(expert.config.patch_size, float(time) / NOISE_TIME)
            times = (1.0 - known) * times
        if scale <= 1.0:
            return self._forward(expert, seen, times, self.texts[:1]).float()
        group = self.group
        if group is not None and group.cfg_size > 1:
            mine = self._forward(expert, seen, times, [self.texts[group.cfg_rank]])
            positive, negative = group.exchange_cfg(mine)
        elif seen[0, 0].numel() <= BATCHED_TOKENS * math.prod(expert.config.patch_size):
            positive, negative = self._forward(expert, seen, times, self.texts).chunk(2)
        else:
            positive, negative = (self._forward(expert, seen, times, [text]) for text in self.texts)
        negative = negative.float()
        return negative + scale * (positive.float() - negative)

    def _seen(self, latents: Tensor, noise_level: float) -> Tensor:
        """The transformer's input for these latents, before it is batched."""
        if self.condition is not None and self.tells:
            told = self.condition.told(self.experts[0].config.patch_size, noise_level)
            return told * self.condition.latents + (1.0 - told) * latents
        return latents if self.channels is None else torch.cat([latents, self.channels], dim=1)

    def _forward(self, expert: Transformer, seen: Tensor, times: Tensor, texts: Sequence[Tensor]) -> Tensor:
        count, dtype, image = len(texts), expert.dtype, self.image_tokens
        states, multiplicity = compact(texts)
        velocity: Tensor = expert(
            seen.to(dtype).expand(count, *seen.shape[1:]),
            times.expand(count, *times.shape[1:]),
            states.to(dtype),
            None if image is None else image.to(dtype).repeat(count, 1, 1),
            group=None if self.group is None else self.group.sequence,
            encoder_multiplicity=multiplicity,
        )
        return velocity
