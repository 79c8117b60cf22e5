"""The walk of a take is the scheduler's own, step for step, and starts anew each time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from model.errors import InputError, ModelError
from model.sampler import Sampler

UNIPC = {"_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction", "use_flow_sigmas": True}
EULER = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
DPM = {**UNIPC, "_class_name": "DPMSolverMultistepScheduler"}
SHAPE = (1, 4, 2, 4, 4)


def walk(sampler: Sampler, steps: int, velocities: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    own = sampler.start(steps)
    latents = noise
    for index in range(len(own)):
        latents = own.step(velocities[index], index, latents)
    return latents


@pytest.mark.parametrize("shift", [3.0, 5.0, 12.0, 16.0])
@pytest.mark.parametrize("config", [UNIPC, EULER, DPM], ids=["unipc", "euler", "dpm"])
def test_ten_steps_are_diffusers_own(config: dict[str, Any], shift: float) -> None:
    import diffusers

    rng = torch.Generator().manual_seed(0)
    noise, velocities = torch.randn(SHAPE, generator=rng), torch.randn(10, *SHAPE, generator=rng)
    key = "shift" if config is EULER else "flow_shift"
    scheduler = getattr(diffusers, config["_class_name"])(
        **{key: shift}, **{name: value for name, value in config.items() if not name.startswith("_")}
    )
    scheduler.set_timesteps(10)
    sampler = Sampler(config, flow_shift=shift)
    own = sampler.start(10)
    assert torch.equal(own.times, scheduler.timesteps)
    assert [own.noise_level(index) for index in range(11)] == scheduler.sigmas.tolist()
    assert f"shift={shift:g}" in sampler.description
    latents = noise
    for time, velocity in zip(scheduler.timesteps, velocities, strict=True):
        latents = scheduler.step(velocity, time, latents, return_dict=False)[0]
    for _ in range(2):
        assert torch.equal(walk(sampler, 10, velocities, noise), latents)


def test_times_that_round_to_the_same_integer_are_different_steps() -> None:
    sampler = Sampler({**UNIPC, "flow_shift": 16.0})
    own = sampler.start(400)
    assert len(set(own.times.tolist())) < 400
    clean, noise = torch.randn(SHAPE), torch.randn(SHAPE)
    found = walk(sampler, 400, (noise - clean).expand(400, *SHAPE), noise)
    assert torch.allclose(found, clean, atol=1e-3), "a straight way ends where it leads"


def test_noised_lies_on_the_straight_way() -> None:
    own = Sampler({**EULER, "shift": 3.0}).start(4)
    clean, noise = torch.randn(SHAPE), torch.randn(SHAPE)
    assert torch.allclose(own.noised(clean, noise, 0), noise)
    assert torch.allclose(own.noised(clean, noise, 4), clean)


def test_strength_walks_the_last_part() -> None:
    sampler = Sampler({**UNIPC, "flow_shift": 3.0})
    whole, part = sampler.start(10), sampler.start(10, strength=0.35)
    assert len(part) == 3
    assert torch.equal(part.times, whole.times[7:])
    assert part.noise_level(0) == whole.noise_level(7)
    with pytest.raises(InputError, match="leave no step"):
        sampler.start(10, strength=0.05)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"_class_name": "NoSuchScheduler"}, "NoSuchScheduler"),
        ({"_class_name": "WanPipeline"}, "WanPipeline"),
        ({}, "''"),
        ({"_class_name": "UniPCMultistepScheduler"}, "does not follow a flow"),
        ({**UNIPC, "use_flow_sigmas": False}, "does not follow a flow"),
        ({"_class_name": "DDIMScheduler"}, "does not follow a flow"),
        ({**EULER, "use_dynamic_shifting": True}, "by the size of the clip"),
    ],
)
def test_schedulers_that_are_not_for_a_flow(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        Sampler(config)


def test_a_shift_of_nothing_is_an_input_error() -> None:
    with pytest.raises(InputError, match="flow_shift"):
        Sampler(EULER, flow_shift=0.0)
