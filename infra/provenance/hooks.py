"""Functions of an operator, named in the settings as `module:function`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from infra.provenance.errors import ProvenanceError


def function_of(path: str, setting: str, error: type[ProvenanceError]) -> Callable[..., Any]:
    """The function that `path` names. Raises `error` where there is none; what its module said is not repeated."""
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except Exception as cause:  # whatever a module does while it is imported; its words may hold a secret
        raise error(f"{setting} = {path}: cannot be loaded ({type(cause).__name__})") from None
    if not callable(found):
        raise error(f"{setting} = {path}: that is no function")
    function: Callable[..., Any] = found
    return function
