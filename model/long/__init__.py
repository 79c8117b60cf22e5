"""Clips longer than a model's own: many windows over one clip of latents, in pieces that can be kept and shared out.

The plan of pieces is plain data and needs no torch; `denoise_long` does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from model.long.choose import choose_method, long_facts, story_of
from model.long.pieces import METHODS, LongPlan, Piece
from model.long.planning import plan_pieces

if TYPE_CHECKING:
    from model.long.run import Keeper as Keeper
    from model.long.run import Long as Long
    from model.long.run import denoise_long as denoise_long

__all__ = [
    "METHODS", "Keeper", "Long", "LongPlan", "Piece", "choose_method", "denoise_long", "long_facts", "plan_pieces",
    "story_of",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in ("Keeper", "Long", "denoise_long"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module("model.long.run"), name)
    globals()[name] = value
    return value
