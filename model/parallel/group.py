"""The process groups of one gang, as one object that is made, passed on and closed.

torch keeps one default process group per process, so a process can be in one gang at a time; `create` says so when it
finds another. No call relies on that default: every exchange names its group. A gang that lost a rank is closed on the
survivors and built anew through a fresh store or a fresh port.

gloo on CPUs is tested with 2, 3 and 4 ranks. For GPUs, `backend="nccl"` puts tensors on NCCL and control messages
(`agree`, objects) on gloo. No machine with several GPUs has checked the NCCL side yet.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from model.errors import PeerFailed
from model.parallel.layout import Layout
from model.parallel.sequence import SequenceGroup
from model.parallel.wire import Wire, peers

VALUES_APART = 1e-3
"""Share by which the figures that ranks have of the same thing may differ: devices of two kinds round differently."""
BACKENDS = {"gloo": "gloo", "nccl": "cpu:gloo,cuda:nccl"}


def serve_store(host: str = "127.0.0.1", *, timeout_s: float = 30.0) -> dist.TCPStore:
    """A meeting place on a port that is free for certain, because the system chooses it: give `.port` to the others.

    Keep it alive for as long as the gang lives; one store can serve one gang after another under different prefixes
    (torch.distributed.PrefixStore).
    """
    return dist.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=timeout_s))


def join_store(host: str, port: int, *, timeout_s: float = 30.0) -> dist.TCPStore:
    """The same meeting place, seen from another process."""
    with peers("meeting"):
        return dist.TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=timeout_s))


class ParallelGroup:
    """This rank's place in its gang. Make one with `create`, or `single` where there is one rank.

    Attributes:
        layout: cfg x ring x ulysses.
        rank, size: this rank among all ranks of the gang.
        device: where tensors from other ranks arrive.
        sequence: the ranks that share this rank's forward, or None when this rank does it alone.
        cfg_rank, cfg_size: which forward this rank does. With cfg_size 2, 0 is the conditional and 1 the unconditional.
        left_together: whether the last that the ranks did together was to leave, in `agree`.
    """

    def __init__(
        self,
        layout: Layout,
        rank: int,
        *,
        world: dist.ProcessGroup | None,
        sequence: SequenceGroup | None,
        cfg: Wire,
        device: torch.device,
    ) -> None:
        self.layout, self.rank, self.size, self.device = layout, rank, layout.size, device
        self.sequence, self._cfg, self._world = sequence, cfg, world
        self.left_together = False

    @classmethod
    def single(cls, device: str | torch.device = "cpu") -> ParallelGroup:
        """A gang of one: every verb returns at once and torch.distributed is not touched."""
        return cls(Layout(), 0, world=None, sequence=None, cfg=Wire(None), device=torch.device(device))

    @classmethod
    def create(
        cls,
        layout: Layout,
        rank: int,
        world_size: int,
        *,
        init_method: str | None = None,
        store: dist.Store | None = None,
        backend: str = "gloo",
        timeout_s: float = 30.0,
        device: str | torch.device | None = None,
    ) -> ParallelGroup:
        """Meets the other ranks and makes the groups of every axis. All ranks must call it.

        Args:
            layout: must be for `world_size` ranks.
            init_method: "tcp://host:port" of a port that is free on rank 0's host; or
            store: a store that all ranks share (`serve_store`, `join_store`). Exactly one of the two.
            backend: "gloo" or "nccl".
            timeout_s: for the meeting and for every exchange.
            device: default "cpu" for gloo, the current CUDA device for nccl.

        Raises:
            LayoutError: with the layouts that fit.
            PeerFailed: when the ranks do not meet in time.
        """
        layout.check(world_size)
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not one of {world_size}: 0 to {world_size - 1}")
        if backend not in BACKENDS:
            raise ValueError(f"backend {backend!r}: must be one of {', '.join(BACKENDS)}")
        if world_size == 1:
            return cls.single(device or ("cpu" if backend == "gloo" else "cuda"))
        if (init_method is None) == (store is None):
            raise ValueError("give either init_method or store")
        if dist.is_initialized():
            raise RuntimeError("this process is in a gang already: close that group first")
        if device is None:
            device = "cpu" if backend == "gloo" else torch.device("cuda", torch.cuda.current_device())
        device = torch.device(device)
        if backend == "nccl":
            torch.cuda.set_device(device)  # batched point-to-point on NCCL hangs without it
        timeout = timedelta(seconds=timeout_s)
        try:
            with peers("meeting"):
                dist.init_process_group(
                    BACKENDS[backend], init_method, timeout=timeout, world_size=world_size, rank=rank, store=store
                )
                wires = _wires(layout, rank, timeout)
                for axis in wires.values():
                    axis.warm_up(device)
        except BaseException:
            if dist.is_initialized():
                dist.destroy_process_group()
            raise
        sequence = (
            SequenceGroup(wires["ulysses"], wires["ring"], wires["sequence"]) if layout.sequence_size > 1 else None
        )
        return cls(layout, rank, world=dist.group.WORLD, sequence=sequence, cfg=wires["cfg"], device=device)

    @property
    def cfg_rank(self) -> int:
        return self._cfg.rank

    @property
    def cfg_size(self) -> int:
        return self._cfg.size

    def broadcast(self, value: Any, src: int = 0) -> Any:
        """Rank src's value on every rank; what the others pass is not looked at.

        A tensor goes as it is and arrives on `device`; anything else is pickled, so it must be small and the ranks must
        trust each other, as the ranks of a gang do.
        """
        if self._world is None:
            return value
        mine = self.rank == src
        is_tensor = isinstance(value, Tensor)
        header: list[Any] = [None]
        if mine:
            header = [(True, value.dtype, tuple(value.shape)) if is_tensor else (False, value, None)]
        with peers("broadcast"):
            dist.broadcast_object_list(header, src=src, group=self._world, device=torch.device("cpu"))
            arrives_as_tensor, content, shape = header[0]
            if not arrives_as_tensor:
                return value if mine else content
            if mine:
                tensor = value.to(self.device).contiguous()
            else:
                tensor = torch.empty(shape, dtype=content, device=self.device)
            dist.broadcast(tensor, src=src, group=self._world)
        return tensor

    def agree(self, error: str | None = None, *, step: int = 0, value: float = 0.0) -> None:
        """All ranks leave a step together. Every rank calls it, with its own error or None.

        Returns on every rank when none failed. When some did, it returns on those (they raise their own error) and
        raises PeerFailed, with their ranks and errors, on the healthy ones.

        step, value: where this rank is, and a figure of what it has there. When they are not the same on all ranks,
        value within `VALUES_APART`, all raise PeerFailed: nothing that they make together is worth having.
        """
        if self._world is None:
            if self.size > 1:
                raise PeerFailed("agree with the other ranks failed: this rank has left the gang")
            return
        self.left_together = False
        with peers("agree"):
            at, size = (0.0, 0.0) if error is not None else (float(step), value)
            mine = torch.tensor([at, -at, size, -size, float(error is not None)], dtype=torch.float64)
            dist.all_reduce(mine, dist.ReduceOp.MAX, group=self._world)
            most_step, least_step, most, least, failed = mine.tolist()
            if not failed and most_step == -least_step and most + least <= VALUES_APART * max(most, 0.0):
                return
            errors: list[Any] = [None] * self.size
            dist.all_gather_object(errors, error if failed else f"step {step}, {value:.6g}", group=self._world)
        self.left_together = True
        said = "; ".join(f"rank {rank}: {text}" for rank, text in enumerate(errors) if text is not None)
        if not failed:
            raise PeerFailed(f"the ranks disagree: {said}")
        if error is None:
            raise PeerFailed(said)

    def exchange_cfg(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """Every cfg rank's tensor, in the order of cfg ranks: (conditional, unconditional) with cfg_size 2."""
        return tuple(self._cfg.all_gather(tensor.contiguous()))

    def abandon(self, error: BaseException) -> None:
        """Leaves the gang in the middle of whatever it does, so that the others' exchanges with this rank break.

        A connection is closed when nobody holds its group any more, not even the frames that `error` came through:
        their variables are cleared. On NCCL this does nothing: its calls end by their time limit, or with the process.
        """
        if self.device.type != "cpu" or self._world is None:
            return
        self.close()
        seen: set[int] = set()
        link: BaseException | None = error
        while link is not None and id(link) not in seen:
            seen.add(id(link))
            traceback.clear_frames(link.__traceback__)
            link = link.__cause__ or link.__context__
        gc.collect()

    def close(self) -> None:
        """Leaves the gang. May be called twice, and after another rank has died."""
        if self._world is not None:
            self._world = None
            wires = [self._cfg]
            if self.sequence is not None:
                wires += [self.sequence.ulysses, self.sequence.ring, self.sequence.everyone]
            for wire in wires:
                wire.cut()
            dist.destroy_process_group()

    def __enter__(self) -> ParallelGroup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _wires(layout: Layout, rank: int, timeout: timedelta) -> dict[str, Wire]:
    """This rank's wire on each axis. Every rank makes every group, in the same order, as torch asks."""
    every = torch.arange(layout.size).view(layout.cfg, layout.ring, layout.ulysses)
    lines = {
        "cfg": every.permute(1, 2, 0).reshape(-1, layout.cfg),
        "ring": every.permute(0, 2, 1).reshape(-1, layout.ring),
        "ulysses": every.reshape(-1, layout.ulysses),
        "sequence": every.reshape(layout.cfg, -1),
    }
    made: dict[tuple[int, ...], Wire] = {}
    wires = {}
    for axis, members in lines.items():
        for ranks in members.tolist():
            key = tuple(ranks)
            if key not in made:  # two axes over the same ranks share one group
                made[key] = _wire(ranks, rank, layout.size, timeout)
            if rank in ranks:
                wires[axis] = made[key]
    return wires


def _wire(ranks: Sequence[int], rank: int, world_size: int, timeout: timedelta) -> Wire:
    place = ranks.index(rank) if rank in ranks else 0
    if len(ranks) == 1:
        return Wire(None)
    group = dist.group.WORLD if len(ranks) == world_size else dist.new_group(list(ranks), timeout=timeout)
    return Wire(group, place, len(ranks))
