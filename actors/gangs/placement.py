"""How gangs begin and end: what the cluster can hold, one placement group per gang, and confirmed ends."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from actors.errors import ErrorClass, PlacementImpossible, classify
from actors.gangs.gang import Gang
from actors.gangs.rank import RankActor
from actors.job import GangShape, JobSpec, render_setup, setup_of
from actors.processes import ProcessId, confirm_gone

_TINY = 1e-6


class NoRoom(Exception):
    """The cluster holds other gangs now. Worth trying again when one has ended."""


class JobOver(Exception):
    """The job is stopping or gone: it gets no more gangs."""


class GangNotBuilt(Exception):
    """A gang did not come up.

    Attributes:
        error: the class of what went wrong.
        final: the model or the layout cannot be used at all; another try would end the same way.
    """

    def __init__(self, message: str, error: ErrorClass, final: bool) -> None:
        super().__init__(message, error, final)
        self.message, self.error, self.final = message, error, final

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Cluster:
    """What the living nodes hold in all, whatever is in use."""

    nodes: Mapping[str, Mapping[str, float]]

    @classmethod
    def now(cls) -> Cluster:
        return cls({node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]})

    @property
    def has_gpus(self) -> bool:
        return any(resources.get("GPU", 0) >= 1 for resources in self.nodes.values())

    def ranks_per_node(self, bundle: Mapping[str, float]) -> list[int]:
        """How many ranks each node could hold if it were empty, most first."""
        counts = [
            min(int(resources.get(name, 0.0) / amount + _TINY) for name, amount in bundle.items() if amount > 0)
            for resources in self.nodes.values()
        ]
        return sorted(counts, reverse=True)

    def gangs(self, size: int, bundle: Mapping[str, float]) -> int:
        """How many gangs of a size an empty cluster holds; a gang spans nodes only where none can hold it."""
        counts = self.ranks_per_node(bundle)
        inside = sum(count // size for count in counts)
        return inside or sum(counts) // size


def shape_for(spec: JobSpec, cluster: Cluster) -> tuple[GangShape, int]:
    """The shape of a job's gangs, and how many of them may run at once.

    Raises PlacementImpossible, with the sizes that can be placed, for a gang that this cluster could never hold.
    """
    farm = spec.farm
    per_gpu = farm.gpus_per_rank if farm.gpus_per_rank is not None else float(cluster.has_gpus)
    bundle = {"GPU": per_gpu} if per_gpu > 0 else {"CPU": farm.cpus_per_rank}
    fit = cluster.gangs(spec.gang, bundle)
    if fit < 1:
        most = sum(cluster.ranks_per_node(bundle))
        what = " and ".join(f"{amount:g} {name}" for name, amount in bundle.items())
        possible = f"1 to {most}" if most > 1 else "1" if most else "none at all"
        raise PlacementImpossible(
            f"a gang of {spec.gang} can never be placed on this cluster: a rank reserves {what}, so the sizes that "
            f"can are {possible}"
        )
    threads = 1
    if not per_gpu:
        # A reservation may be half a core, but every rank that computes wants a whole one.
        cores = int(sum(resources.get("CPU", 0.0) for resources in cluster.nodes.values()))
        fit = max(1, min(fit, cores // spec.gang))
    at_once = min(fit, spec.gangs_max or fit)
    if not per_gpu:
        threads = max(1, cores // (spec.gang * at_once))
    return GangShape(spec.gang, tuple(bundle.items()), threads, spec.renderer, setup_of(spec)), at_once


@dataclass(frozen=True)
class Placed:
    """A placement group that holds its bundles. ``one_node``: all of them on the same node."""

    group: PlacementGroup
    one_node: bool


async def place(shape: GangShape, *, patience_s: float) -> Placed:
    """Reserves what a gang needs, all or nothing. Raises NoRoom when that did not work out in time."""
    one_node = max(Cluster.now().ranks_per_node(shape.bundle), default=0) >= shape.size
    group = placement_group([shape.bundle] * shape.size, strategy="STRICT_PACK" if one_node else "PACK")
    try:
        placed = await asyncio.to_thread(group.wait, patience_s)
    except BaseException:
        await _remove(group)
        raise
    if not placed:
        await _remove(group)
        raise NoRoom(f"no room for a gang of {shape.size} now")
    return Placed(group, one_node)


async def start(shape: GangShape, placed: Placed, *, load_s: float) -> Gang:
    """Starts the ranks in their places, loads the model and lets the ranks meet.

    Raises GangNotBuilt; nothing is left then.
    """
    processes: list[ProcessId] = []
    try:
        async with asyncio.timeout(load_s):
            ranks = [_start_rank(shape, placed.group, rank) for rank in range(shape.size)]
            processes = list(await _all(rank.identity.remote() for rank in ranks))
            await _all(rank.load.remote() for rank in ranks)
            address = await ranks[0].serve.remote(placed.one_node) if shape.size > 1 else None
            layouts = await _all(rank.join.remote(address) for rank in ranks)
    except BaseException as error:
        await _remove(placed.group)
        await confirm_ended(processes)
        if isinstance(error, asyncio.CancelledError):
            raise
        raise _not_built(error, load_s) from error
    return Gang(uuid.uuid4().hex[:8], shape, layouts[0], placed.group, tuple(ranks), tuple(processes))


async def release(placed: Placed) -> None:
    """Gives back what was reserved, and ends whatever runs there. More than once does no harm."""
    await _remove(placed.group)


async def end(gang: Gang) -> list[ProcessId]:
    """Removes the gang's placement group, which kills its ranks, and confirms that they are gone.

    Returns the processes that could not be confirmed gone (their node does not answer and is not known to be dead).
    """
    await _remove(gang.placement)
    return await confirm_ended(gang.processes)


async def confirm_ended(processes: Iterable[ProcessId], *, timeout_s: float = 10.0) -> list[ProcessId]:
    """Waits until none of these processes lives, on whichever node, and returns those that may still."""
    by_node: dict[str, list[ProcessId]] = defaultdict(list)
    for process in processes:
        by_node[process.node_id].append(process)
    here = ray.get_runtime_context().get_node_id()
    alive = Cluster.now().nodes
    checks = [
        asyncio.to_thread(confirm_gone, group, timeout_s=timeout_s)
        if node == here
        else _confirm_there(node, group, timeout_s)
        for node, group in by_node.items()
        if node in alive  # the processes of a dead node are gone with its raylet
    ]
    return [process for left in await asyncio.gather(*checks) for process in left]


async def responsive(gang: Gang, timeout_s: float = 5.0) -> bool:
    """Whether every rank of an idle gang answers."""
    try:
        async with asyncio.timeout(timeout_s):
            await _all(rank.progress.remote() for rank in gang.ranks)
    except (ray.exceptions.RayError, TimeoutError):
        return False
    return True


def _start_rank(shape: GangShape, placement: PlacementGroup, rank: int) -> Any:
    bundle = shape.bundle
    return RankActor.options(
        num_cpus=bundle.get("CPU", 0),
        num_gpus=bundle.get("GPU", 0),
        scheduling_strategy=PlacementGroupSchedulingStrategy(placement, placement_group_bundle_index=rank),
    ).remote(shape.renderer, render_setup(shape, rank))


async def _all(refs: Iterable[Any]) -> list[Any]:
    async def value(ref: Any) -> Any:
        return await ref

    return list(await asyncio.gather(*(value(ref) for ref in refs)))


async def _remove(placement: PlacementGroup) -> None:
    # Whoever waits for it may be cancelled, as with the dispatcher that called: the place is given back all the same.
    await asyncio.shield(asyncio.to_thread(remove_placement_group, placement))


@ray.remote(num_cpus=0, max_retries=0)
def _confirm(processes: list[ProcessId], timeout_s: float) -> list[ProcessId]:
    return confirm_gone(processes, timeout_s=timeout_s)


async def _confirm_there(node: str, processes: list[ProcessId], timeout_s: float) -> list[ProcessId]:
    pinned = _confirm.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
    try:
        async with asyncio.timeout(timeout_s + 10):
            left: list[ProcessId] = await pinned.remote(processes, timeout_s)
            return left
    except (ray.exceptions.RayError, TimeoutError):
        return processes if node in Cluster.now().nodes else []


def _not_built(error: BaseException, load_s: float) -> GangNotBuilt:
    if isinstance(error, TimeoutError) and not isinstance(error, ray.exceptions.RayError):
        return GangNotBuilt(f"the gang was not ready within {load_s:.0f} s", ErrorClass.GANG_LOST, False)
    kind = classify(error).error
    cause = getattr(error, "cause", None) or error
    # An error of the model's code (no such folder, one that may not be read, a layout that does not fit) comes back.
    own = kind in (ErrorClass.INTERNAL, ErrorClass.INPUT) or isinstance(cause, PermissionError)
    final = own and isinstance(error, ray.exceptions.RayTaskError)
    return GangNotBuilt(f"{type(cause).__name__}: {str(cause).strip()[:1500]}", kind, final)
