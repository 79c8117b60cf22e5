"""`--enhance`: what makes prompts richer before they are encoded, by its name."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from importlib import import_module

from flows.verbs.failure import Failure

Enhance = Callable[[str], str]
RULES = "rules"


def load_enhancer(name: str | None) -> Enhance | None:
    """The function that `--enhance` names: `rules`, or `module:function` for one of your own, say a language model's.

    The function takes a prompt and returns the one to encode; it must give the same for the same, because what is
    encoded enters the take's key. It runs once for each different prompt, while the job is planned.

    Raises:
        Failure: there is no such function.
    """
    if name is None:
        return None
    if name == RULES:
        from model.enhance import dense

        return _guarded(name, dense)
    module, colon, function = name.partition(":")
    if not colon or not module or not function:
        raise Failure(f"--enhance {name!r} is neither {RULES!r} nor module:function")
    # As `python -m` has it: a module beside the catalog is found without being installed.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(import_module(module), function)
    except Exception as error:  # whatever a module raises that is not ours
        raise Failure(f"--enhance {name}: {error}", hint=f"Known by name: {RULES}.") from error
    if not callable(found):
        raise Failure(f"--enhance {name} is {type(found).__name__}, not a function")
    return _guarded(name, found)


def _guarded(name: str, function: Enhance) -> Enhance:
    def enhance(prompt: str) -> str:
        try:
            richer = function(prompt)
        except Exception as error:
            raise Failure(f"--enhance {name} failed for the prompt {prompt[:80]!r}: {error}") from error
        if not isinstance(richer, str) or not richer.strip() or not _is_text(richer):
            raise Failure(f"--enhance {name} gave {richer!r} for the prompt {prompt[:80]!r}, not a text")
        return richer

    return enhance


def _is_text(prompt: str) -> bool:
    """Whether it is what a catalog's prompt may be: UTF-8, and no control character but tab and line breaks."""
    from catalogs.schema import CONTROL_PATTERN

    try:
        prompt.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return re.search(CONTROL_PATTERN, prompt) is None
