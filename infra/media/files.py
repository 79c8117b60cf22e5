"""Local files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def appears_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a name in the same folder to write to; renamed to `path` at the end, removed after an error."""
    final = Path(path)
    partial = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield partial
        os.replace(partial, final)
    finally:
        partial.unlink(missing_ok=True)
