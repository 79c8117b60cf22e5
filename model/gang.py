"""What the ranks of a gang do together around a take: share what rank 0 prepared, and leave when one of them must."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from model.errors import InputError, NonFinite

if TYPE_CHECKING:
    from model.parallel import ParallelGroup

AT_WORK_S = 1.0
"""Seconds between two words of a rank that others wait for; a gang's time limit is longer."""
OnStep = Callable[[int, int], None]
T = TypeVar("T")


@contextmanager
def together(group: ParallelGroup | None) -> Iterator[None]:
    """Around what the ranks of a gang do together: when one leaves it alone, the others need not wait for it in vain.

    An error that `share` or `end_step` met has taken all ranks out already. Any other (memory, a fault of a kernel)
    may find the others in the middle of an exchange: this rank's end of it is closed, and theirs breaks at once instead
    of at its time limit. Such a gang has to be made anew.
    """
    try:
        yield
    except (InputError, NonFinite):  # met by all ranks, at the same place
        raise
    except BaseException as error:
        if group is not None and not group.left_together:
            group.abandon(error)
        raise


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


def share_slowly(group: ParallelGroup | None, prepare: Callable[[], T]) -> T:
    """As `share`, where that may take longer than ranks wait for one another: they hear that rank 0 is at work."""
    if group is None or group.size == 1:
        return prepare()
    if group.rank != 0:
        while group.broadcast(None):
            pass
        return share(group, prepare)
    done = Event()

    def say() -> None:
        while not done.wait(AT_WORK_S):
            group.broadcast(True)
        group.broadcast(False)

    with ThreadPoolExecutor(1, thread_name_prefix="rushes-at-work") as pool:
        said = pool.submit(say)
        prepared: Future[T] = Future()
        try:
            prepared.set_result(prepare())
        except BaseException as error:
            prepared.set_exception(error)
        finally:
            done.set()
        said.result()
    return share(group, prepared.result)


def end_step(group: ParallelGroup | None, latents: Tensor, index: int, steps: int, on_step: OnStep | None) -> None:
    """Looks at the latents that step `index` of `steps` left, and tells `on_step`. An error on any rank ends them all.

    Raises:
        NonFinite: NaN or infinity among the latents.
        PeerFailed: another rank left, or the ranks disagree: they are at different steps, or have other latents.
    """
    failure: BaseException | None = None
    size = 0.0
    try:
        size = float(latents.abs().mean())
        if not bool(torch.isfinite(latents).all()):
            raise NonFinite(index, "latents")
        if on_step is not None:
            on_step(index + 1, steps)
    except BaseException as error:  # a cancel may come as any exception, and the other ranks wait for this one's word
        failure = error
    if group is not None and group.size > 1:
        _agree(group, failure, step=index + 1, value=size)
    elif failure is not None:
        raise failure


def _agree(group: ParallelGroup, failure: BaseException | None, *, step: int = 0, value: float = 0.0) -> None:
    group.agree(None if failure is None else f"{type(failure).__name__}: {failure}", step=step, value=value)
    if failure is not None:
        raise failure
