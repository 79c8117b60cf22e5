"""A node's scratch disk: folders for files on their way into the store, bounded together, and cleaned after crashes.

    scratch = Scratch(limit=10 * 2**30)
    scratch.clean()                                    # once, when a process starts
    with scratch.room("finish", 40 * 2**20) as folder: # gone when the block ends
        ...

All processes of one user on a node share one place. Each has a folder there that is named after its pid and start time,
so that a folder whose process is gone can be told from one that is in use, also when the pid is used again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Self

import psutil

from infra.store.lease import host_id, process_lives

_log = logging.getLogger(__name__)
WAIT_S = 60.0
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_POLL_S = 0.2
_PROCESS = re.compile(r"([0-9a-f]{8})-(\d+)-(\d+)")  # host, pid, start time in milliseconds
_ROOM = re.compile(r"[a-z]+-(\d+)-[0-9a-f]{32}")  # what for, bytes that were asked for


class ScratchFull(OSError):
    """There is no room below the limit. The farm's fault, as a full disk is: `errno` says so."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.ENOSPC, message)

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (str(self.strerror),)


class ScratchUnusable(OSError):
    """Nothing can be put there. The node's fault, as that of a broken disk is: `errno` says so."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.EIO, message)

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (str(self.strerror),)


class Scratch:
    """Room on a node's scratch disk. Cheap to make; threads may share it."""

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, limit: int | None = None, *, wait_s: float = WAIT_S
    ) -> None:
        """Args:
        folder: where; else the system's folder for temporary files.
        limit: bytes that all processes of this user on this node may hold there together; else what the disk holds.
        wait_s: seconds to wait for others to give room back.
        """
        self.root = Path(folder or tempfile.gettempdir()) / f"rushes-scratch-{os.getuid()}"
        self._limit, self._wait_s = limit, wait_s

    @contextlib.contextmanager
    def room(self, what: str, size: int) -> Iterator[Path]:
        """A new folder for files of `size` bytes together, as far as can be told; it is removed when the block ends.

        Raises ScratchFull where the limit leaves no room for so long, OSError where the disk itself is full, and
        ScratchUnusable where it cannot be written at all.
        """
        try:
            folder = self._take(what, max(0, int(size)))
        except OSError as error:
            if error.errno in _FULL:
                raise
            # A file in its place, no right to write: nothing of that is about what is to be put there.
            raise ScratchUnusable(f"{self.root} cannot be written ({error}): see to it, or set farm.scratch") from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def clean(self) -> int:
        """Remove the folders of processes of this machine that are gone. Returns how many there were."""
        removed = 0
        for folder in self._processes():
            if _is_left(folder.name):
                shutil.rmtree(folder, ignore_errors=True)
                removed += not folder.exists()
        if removed:
            _log.info("%s: removed what %d processes left that are gone", self.root, removed)
        return removed

    def used(self) -> int:
        """Bytes that are held here now: of each room what was asked for, or what lies there if that is more."""
        return sum(_held(room) for folder in self._processes() for room in _children(folder))

    def _take(self, what: str, size: int) -> Path:
        if self._limit is not None and size > self._limit:
            raise ScratchFull(f"{size} bytes are needed in {self.root}, farm.scratch_bytes is {self._limit}")
        mine = self.root / _own_name()
        room = mine / f"{what}-{size}-{uuid.uuid4().hex}"
        gives_up = time.monotonic() + self._wait_s
        while True:
            mine.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._locked():  # two that look at the same time would both find the last room
                if self._limit is None or self.used() + size <= self._limit:
                    room.mkdir()
                    return room
            if time.monotonic() > gives_up:
                raise ScratchFull(f"no room for {size} bytes in {self.root}: farm.scratch_bytes is {self._limit}")
            time.sleep(_POLL_S)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.root / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _processes(self) -> list[Path]:
        return [folder for folder in _children(self.root) if _PROCESS.fullmatch(folder.name)]


def film_bytes(width: int, height: int, frames: int) -> int:
    """No film of 8-bit 4:2:0 frames, and no still, is larger than its frames are without any compression."""
    return width * height * 3 * (frames + 1) // (1 if frames == 1 else 2) + 2**20


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # removed by its owner just now
        return []


def _held(room: Path) -> int:
    asked = _ROOM.fullmatch(room.name)
    lies = 0
    for folder, _, names in os.walk(room):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # removed by its owner just now
                lies += os.stat(os.path.join(folder, name)).st_size
    return max(int(asked[1]) if asked else 0, lies)


@cache
def _host() -> str:
    return hashlib.sha256(host_id().encode()).hexdigest()[:8]


def _own_name() -> str:
    pid = os.getpid()
    return f"{_host()}-{pid}-{round(psutil.Process(pid).create_time() * 1000)}"


def _is_left(name: str) -> bool:
    """Whether a folder's process is gone. Another machine's, or another container's, is none of ours."""
    found = _PROCESS.fullmatch(name)
    return found is not None and found[1] == _host() and not process_lives(int(found[2]), int(found[3]) / 1000)
