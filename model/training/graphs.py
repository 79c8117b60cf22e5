"""Modules called through CUDA graphs: a small model on a large GPU otherwise waits for its kernels to be launched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Graphed:
    """Calls a module of tensors; on a GPU its forward and backward passes are recorded once for each set of shapes.

    Args:
        make: gives the module, a new one each time, whose parameters are those to train: recording rewrites a module.
        device: of the tensors.
        record: whether to, on a GPU.

    What is returned lies in buffers that the next call writes to again. The module must keep nothing between calls, and
    take no decision that depends on values.
    """

    def __init__(self, make: Callable[[], nn.Module], device: str, *, record: bool = True) -> None:
        self._make, self._plain = make, make()
        self._records = record and torch.device(device).type == "cuda"
        self._pool = torch.cuda.graph_pool_handle() if self._records else None
        self._recorded: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def __call__(self, *given: Tensor) -> Any:
        if not self._records:
            return self._plain(*given)
        # A parameter that stopped training since asks for another backward pass.
        trained = sum(parameter.requires_grad for parameter in self._plain.parameters())
        key = (trained, *((value.shape, value.dtype, value.requires_grad) for value in given))
        if key not in self._recorded:
            samples = tuple(value.detach().clone().requires_grad_(value.requires_grad) for value in given)
            self._recorded[key] = torch.cuda.make_graphed_callables(
                self._make(), samples, allow_unused_input=True, pool=self._pool
            )
        return self._recorded[key](*given)
