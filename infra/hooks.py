"""Functions of an operator's own, named in the settings as `module:function`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def function_of(path: str, setting: str, error: type[Exception], *, secret: bool = False) -> Callable[..., Any]:
    """The function that `path` names; raises `error` where there is none, saying which setting named it.

    secret: whether what the module said while it was imported may hold one, and is not repeated.
    """
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except Exception as cause:  # whatever a module does while it is imported
        if secret:
            raise error(f"{setting} = {path}: cannot be loaded ({type(cause).__name__})") from None
        raise error(f"{setting} = {path}: {type(cause).__name__}: {cause}") from cause
    if not callable(found):
        raise error(f"{setting} = {path}: that is no function")
    function: Callable[..., Any] = found
    return function
