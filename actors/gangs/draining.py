"""Nodes that are about to go: a spot notice, an autoscaler that shrinks, somebody who runs `ray drain-node`.

Ray starts nothing on such a node any more, but leaves alone what runs there, until the node is ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from actors.gangs.gang import Gang


def draining_nodes() -> dict[str, float]:
    """Nodes that Ray is asked to drain, with the time at which each will be ended (0: nobody said), in seconds since
    the epoch. An RPC; raises what Ray raises where the cluster does not answer.
    """
    # Ray has no public call for it: `ray.nodes()` does not tell. Ray Serve reads it from the same place.
    from ray._private.state import state

    found: Mapping[Any, int] = state.get_draining_nodes()
    return {_hex(node): deadline_ms / 1000.0 for node, deadline_ms in found.items()}


def standing_on(gangs: Iterable[Gang], nodes: Iterable[str]) -> list[Gang]:
    """The gangs of which any rank is on one of these nodes: a gang lives and dies as a whole."""
    gone = set(nodes)
    return [gang for gang in gangs if gone & {process.node_id for process in gang.processes}]


def _hex(node: Any) -> str:
    return node if isinstance(node, str) else str(node.hex())
