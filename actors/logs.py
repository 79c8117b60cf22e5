"""The log of one attempt: what happened to it, in order, as one text object in the store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

LINES_MOST = 2000


def stamp(at: datetime | None = None) -> str:
    """UTC time with milliseconds, as every line of a log begins."""
    return (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class AttemptLog:
    """Lines of one attempt, kept in the dispatcher until the attempt ends."""

    def __init__(self, title: str) -> None:
        self._lines = [f"{stamp()} {title}"]

    def say(self, text: str) -> None:
        self._lines.extend(f"{stamp()} {line}" for line in text.splitlines())

    def extend(self, lines: tuple[str, ...] | list[str]) -> None:
        """Lines that bear their own time."""
        self._lines.extend(lines)

    def encode(self) -> bytes:
        kept = self._lines
        if len(kept) > LINES_MOST:
            cut = len(kept) - LINES_MOST
            kept = [*kept[: LINES_MOST // 2], f"… {cut} lines left out …", *kept[-LINES_MOST // 2 :]]
        return ("\n".join(kept) + "\n").encode()


class _Collector(logging.Handler):
    def __init__(self, lines: list[str], thread: int) -> None:
        super().__init__(logging.INFO)
        self._lines, self._thread = lines, thread

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread and len(self._lines) < LINES_MOST:
            at = datetime.fromtimestamp(record.created, UTC)
            self._lines.append(f"{stamp(at)} {record.levelname} {record.name}: {record.getMessage()}")


@contextmanager
def captured() -> Iterator[list[str]]:
    """Collects what the calling thread logs at INFO or above."""
    lines: list[str] = []
    handler = _Collector(lines, threading.get_ident())
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield lines
    finally:
        root.removeHandler(handler)
