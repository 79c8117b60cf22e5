"""Less memory on the device: only the parts of a pipeline that are at work stand there."""

from __future__ import annotations

import gc
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import torch


class Movable(Protocol):
    """What can be moved between devices, as a torch module can."""

    def to(self, device: Any) -> Any: ...


class Offload:
    """Which parts stand on the device.

    Args:
        parts: modules by the name of the part that they make up.
        device: where they work.
    """

    def __init__(self, parts: Mapping[str, Sequence[Movable]], device: torch.device) -> None:
        self._parts, self._device = {name: tuple(modules) for name, modules in parts.items()}, device
        self._here = set(self._parts)

    @property
    def here(self) -> frozenset[str]:
        """The parts that stand on the device now."""
        return frozenset(self._here)

    def only(self, *names: str) -> None:
        """These parts come to the device, all others leave it first. A part that is not there is none."""
        wanted = self._parts.keys() & set(names)
        self._move(self._here - wanted, torch.device("cpu"))
        self._move(wanted - self._here, self._device)
        self._here = set(wanted)

    def restore(self) -> None:
        """All parts come back."""
        self.only(*self._parts)

    def _move(self, names: Collection[str], device: torch.device) -> None:
        for name in sorted(names):
            for module in self._parts[name]:
                module.to(device)
        if names and self._device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
