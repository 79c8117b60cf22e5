"""Collectives of one process group, with byte counts and errors that name the verb.

Every call passes `group=` and every group has a time-out, so that a rank that died or hangs becomes `PeerFailed` on the
others instead of a wait. Written for gloo (CPU) and NCCL (GPU). The NCCL side has not been run: no machine with several
GPUs has checked it yet. On NCCL a time-out is raised by torch's watchdog, which may end the process instead of raising.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from model.errors import PeerFailed


@contextmanager
def peers(verb: str) -> Iterator[None]:
    """Turns what torch.distributed raises when a peer is gone or late into PeerFailed."""
    try:
        yield
    except RuntimeError as error:  # dist.DistError is one too; gloo raises the plain class
        raise PeerFailed(f"{verb} with the other ranks failed: {str(error).strip()}") from error


class Wire:
    """One process group and what went over it.

    Attributes:
        group: the torch process group, or None for a group of one rank, on which every verb is a copy or nothing.
        rank, size: this rank's place in the group.
        sent: bytes that this rank sent to others, by verb.
    """

    def __init__(self, group: dist.ProcessGroup | None, rank: int = 0, size: int = 1) -> None:
        self.group, self.rank, self.size = group, rank, size
        self.sent: Counter[str] = Counter()
        self._cut = False

    def cut(self) -> None:
        """Lets go of the process group: every later call on a wire between ranks raises PeerFailed."""
        self._cut = self.group is not None or self._cut
        self.group = None

    @property
    def _alone(self) -> bool:
        if self._cut:
            raise PeerFailed("this rank has left the gang")
        return self.group is None

    def warm_up(self, device: torch.device) -> None:
        """One tiny exchange: connections are made now, and NCCL wants all ranks in a group's first call."""
        if not self._alone:
            dist.all_reduce(torch.zeros(1, device=device), group=self.group)

    def all_to_all(self, whole: Tensor, counts: Sequence[int], shapes: Sequence[Sequence[int]]) -> list[Tensor]:
        """Sends the next counts[i] rows of `whole` to rank i; returns what rank i sent, of shape shapes[i].

        counts and shapes may hold zeros; each rank must know what the others send it.
        """
        whole = whole.contiguous()
        if self._alone:
            return [whole]
        row = _count(whole.shape[1:])
        sizes = [_count(shape) for shape in shapes]
        received = whole.new_empty(sum(sizes))
        with peers("all_to_all"):
            dist.all_to_all_single(received, whole.view(-1), sizes, [row * rows for rows in counts], group=self.group)
        self.sent["all_to_all"] += (whole.shape[0] - counts[self.rank]) * row * whole.element_size()
        return [piece.view(*shape) for piece, shape in zip(received.split(sizes), shapes, strict=True)]

    def all_gather(self, part: Tensor) -> list[Tensor]:
        """Every rank's tensor, in the order of ranks. All must have the same shape."""
        if self._alone:
            return [part]
        gathered = part.new_empty(self.size * part.numel())
        with peers("all_gather"):
            _all_gather()(gathered, part.reshape(-1), group=self.group)
        self.sent["all_gather"] += _bytes(part) * (self.size - 1)
        return [piece.view(part.shape) for piece in gathered.chunk(self.size)]

    def shift(self, outgoing: Tensor, incoming: Tensor) -> list[dist.Work]:
        """Begins to send to the next rank and to receive from the one before; what is empty does not travel.

        Both must be contiguous and must not be touched until `finish` has been called with what this returns.
        """
        calls: list[dist.P2POp] = []
        if self._alone:
            return []
        if outgoing.numel():
            calls.append(dist.P2POp(dist.isend, outgoing, group=self.group, group_peer=(self.rank + 1) % self.size))
            self.sent["point_to_point"] += _bytes(outgoing)
        if incoming.numel():
            calls.append(dist.P2POp(dist.irecv, incoming, group=self.group, group_peer=(self.rank - 1) % self.size))
        if not calls:
            return []
        with peers("send and receive"):
            return list(dist.batch_isend_irecv(calls))

    @staticmethod
    def finish(works: Sequence[dist.Work]) -> None:
        """Waits for what `shift` began."""
        with peers("send and receive"):
            for work in works:
                work.wait()


def _all_gather() -> Callable[..., object]:
    """The one-tensor all-gather, under its name since torch 2.13 where it has that."""
    return getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


def _count(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
