"""Ray's decorator, without its types: they know neither concurrency groups nor actors made from a class at run time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray

_remote: Any = ray.remote


def actor(cls: type, *, groups: Mapping[str, int] | None = None, **options: Any) -> Any:
    """``cls`` as a Ray actor that is never restarted and whose calls are never repeated.

    groups: concurrency groups with the number of calls that each runs at once.
    """
    if groups is not None:
        options["concurrency_groups"] = dict(groups)
    return _remote(max_restarts=0, max_task_retries=0, **options)(cls)
