"""The scheduler of a pipeline folder, made anew for each take: its steps, its noise levels and its update."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.errors import InputError, ModelError
from model.facts import describe_sampler
from model.folder import read_json


class Sampler:
    """Describes how clips are sampled; `start` gives the walk of one take.

    Any scheduler of diffusers that follows a flow will do (UniPCMultistep, FlowMatchEulerDiscrete, DPMSolverMultistep).
    """

    def __init__(self, config: Mapping[str, Any], *, flow_shift: float | None = None) -> None:
        """
        Args:
            config: a `scheduler_config.json`.
            flow_shift: takes the place of the folder's own shift of the noise levels.

        Raises:
            ModelError: the scheduler is unknown or does not follow a flow.
        """
        import diffusers

        name = str(config.get("_class_name", ""))
        kind = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
        if kind is None:
            raise ModelError(f"diffusers has no scheduler called {name!r}")
        flows = name.startswith("FlowMatch") or config.get("prediction_type") == "flow_prediction"
        if not flows or (not name.startswith("FlowMatch") and not config.get("use_flow_sigmas")):
            raise ModelError(
                f"{name} with prediction_type {config.get('prediction_type')!r} and use_flow_sigmas "
                f"{config.get('use_flow_sigmas', False)} does not follow a flow, as Wan's transformer does"
            )
        if config.get("use_dynamic_shifting"):
            raise ModelError(f"{name} shifts its noise levels by the size of the clip, which Wan's checkpoints do not")
        self._kind, self._config = kind, dict(config)
        if flow_shift is not None:
            if not flow_shift > 0:
                raise InputError(f"flow_shift is {flow_shift}; it is above 0")
            self._config["shift" if name.startswith("FlowMatch") else "flow_shift"] = float(flow_shift)
        self.description = describe_sampler(self._config)

    @classmethod
    def from_pretrained(cls, folder: Path, *, flow_shift: float | None = None) -> Sampler:
        """The sampler of a local pipeline folder."""
        return cls(read_json(folder / "scheduler" / "scheduler_config.json"), flow_shift=flow_shift)

    def start(self, steps: int, *, device: torch.device | str = "cpu", strength: float = 1.0, first: int = 0) -> Walk:
        """A fresh walk of `steps` steps from pure noise, or of the last `strength` of them.

        `first`: steps of those that were walked before, for a walk that goes on elsewhere. A solver that remembers
        earlier steps begins anew there.

        Raises:
            InputError: there would be no step to do.
        """
        if steps < 1:
            raise InputError(f"steps is {steps}; at least 1 is needed")
        scheduler = self._kind.from_config(self._config)
        scheduler.set_timesteps(steps, device=device)
        order = int(getattr(scheduler, "order", 1))
        skipped = (steps - int(min(steps * strength, steps)) + first) * order
        if skipped >= len(scheduler.timesteps):
            raise InputError(f"{steps} steps at strength {strength:g} leave no step to do")
        # Two time steps may round to the same integer: counting by index, never by value, keeps them apart.
        scheduler.set_begin_index(skipped)
        return Walk(scheduler, skipped)


class Walk:
    """The sampling steps of one take. `step` must be called once for each of `times`, in order."""

    def __init__(self, scheduler: Any, first: int) -> None:
        self._scheduler, self._first = scheduler, first
        self._takes_generator = "generator" in inspect.signature(scheduler.step).parameters
        self.times: Tensor = scheduler.timesteps[first:]
        self.train_steps = int(scheduler.config.num_train_timesteps)

    def __len__(self) -> int:
        return len(self.times)

    def noise_level(self, index: int) -> float:
        """Sigma before step `index`: the share of noise in the latents; after the last step that is 0."""
        return float(self._scheduler.sigmas[self._first + index])

    def noised(self, latents: Tensor, noise: Tensor, index: int) -> Tensor:
        """Clean `latents` as they stand before step `index` on the straight way from `noise`."""
        sigma = self.noise_level(index)
        return sigma * noise + (1.0 - sigma) * latents

    def step(self, velocity: Tensor, index: int, latents: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Latents after step `index`, given the model's velocity (noise - clean) for them. All (1, c, t, h, w)."""
        options = {"generator": generator} if self._takes_generator else {}
        after: Tensor = self._scheduler.step(velocity, self.times[index], latents, return_dict=False, **options)[0]
        return after
