"""What the ranks of a gang do together around a take: share what rank 0 prepared, and leave when one of them must."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from model.errors import NonFinite

if TYPE_CHECKING:
    from model.parallel import ParallelGroup

OnStep = Callable[[int, int], None]
T = TypeVar("T")


def share(group: ParallelGroup | None, prepare: Callable[[], T]) -> T:
    """What rank 0 prepares, on every rank. When that fails, rank 0 raises its error and the others PeerFailed."""
    if group is None or group.size == 1:
        return prepare()
    prepared: T | None = None
    failure: BaseException | None = None
    if group.rank == 0:
        try:
            prepared = prepare()
        except BaseException as error:  # the other ranks wait for a word, whatever it is
            failure = error
    _agree(group, failure)
    shared: T = group.broadcast(prepared)
    return shared


def end_step(group: ParallelGroup | None, latents: Tensor, index: int, steps: int, on_step: OnStep | None) -> None:
    """Looks at the latents that step `index` of `steps` left, and tells `on_step`. An error on any rank ends them all.

    Raises:
        NonFinite: NaN or infinity among the latents.
        PeerFailed: another rank left.
    """
    failure: BaseException | None = None
    try:
        if not bool(torch.isfinite(latents).all()):
            raise NonFinite(index, "latents")
        if on_step is not None:
            on_step(index + 1, steps)
    except BaseException as error:  # a cancel may come as any exception, and the other ranks wait for this one's word
        failure = error
    if group is not None and group.size > 1:
        _agree(group, failure)
    elif failure is not None:
        raise failure


def _agree(group: ParallelGroup, failure: BaseException | None) -> None:
    group.agree(None if failure is None else f"{type(failure).__name__}: {failure}")
    if failure is not None:
        raise failure
