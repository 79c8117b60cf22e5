"""How pictures are made: transformer, sampler, text, autoencoder, conditions and the ranks that work together.

Names load when they are first used, so that `import model` and `model.facts` need neither torch nor diffusers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.condition import Condition as Condition
    from model.facts import read_facts as read_facts
    from model.parallel import Layout as Layout
    from model.parallel import ParallelGroup as ParallelGroup
    from model.pipeline import Pipeline as Pipeline
    from model.transformer import Transformer as Transformer

_HOMES = {
    "Condition": "model.condition",
    "Layout": "model.parallel",
    "ParallelGroup": "model.parallel",
    "Pipeline": "model.pipeline",
    "Transformer": "model.transformer",
    "read_facts": "model.facts",
}
__all__ = ["Condition", "Layout", "ParallelGroup", "Pipeline", "Transformer", "read_facts"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
