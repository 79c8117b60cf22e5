"""Several ranks rendering one take: layouts, the plan by which the transformer is cut, and the exchanges.

`Layout` needs no torch; the rest loads when first used.

| file | subject |
|---|---|
| layout.py | how many ranks do what: cfg x ring x ulysses |
| plan.py | the transformer's parallel plan: what is cut, what is replicated, what is gathered |
| group.py | the process groups of one gang, made and closed as an object |
| sequence.py | one forward's tokens over the ranks of a group: self-attention and gathering |
| ulysses.py | all-to-all around attention |
| ring.py | keys and values that travel round the ranks |
| wire.py | collectives with byte counts and errors that name the verb |
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from model.parallel.layout import Layout, LayoutError

if TYPE_CHECKING:
    from model.parallel.group import ParallelGroup as ParallelGroup
    from model.parallel.group import join_store as join_store
    from model.parallel.group import serve_store as serve_store
    from model.parallel.sequence import SequenceGroup as SequenceGroup

_HOMES = {
    "ParallelGroup": "model.parallel.group",
    "SequenceGroup": "model.parallel.sequence",
    "join_store": "model.parallel.group",
    "serve_store": "model.parallel.group",
}
__all__ = ["Layout", "LayoutError", "ParallelGroup", "SequenceGroup", "join_store", "serve_store"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
