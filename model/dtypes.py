"""Dtypes by name, as settings and scripts give them."""

from __future__ import annotations

import torch

from model.errors import ModelError


def as_dtype(name: torch.dtype | str) -> torch.dtype:
    """A floating-point dtype by itself or by name; raises ModelError for what is none."""
    found = getattr(torch, name, None) if isinstance(name, str) else name
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ModelError(f"{name!r} is not a floating-point dtype of torch")
    return found
