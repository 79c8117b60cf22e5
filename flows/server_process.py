"""The Prefect server as a child that dies with its parent.

Run as a script, by path, so that it needs no import path of ours: `python -P server_process.py PARENT_PID`. Host,
port and database come from the environment that `flows.server` sets. A killed parent cannot clean up, so the child
has to notice by
itself: on Linux the kernel kills it, elsewhere (and should the kernel's promise not hold) a thread sees its parent
    change.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_ORPHAN_POLL_S = 1.0


def die_with(parent: int) -> None:
    """Bind the life of this process to `parent`, the process that started it.

    SIGKILL and not SIGTERM: a server that waits for its open connections would outlive the flow that it served, and
    SQLite's write-ahead log takes a kill without loss of what was committed.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"prctl(PR_SET_PDEATHSIG): {os.strerror(number)}")
    if os.getppid() != parent:  # it died before the lines above took effect
        os._exit(1)
    threading.Thread(target=_exit_when_orphaned, args=(parent,), name="parent-watch", daemon=True).start()


def _exit_when_orphaned(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_ORPHAN_POLL_S)
    os._exit(1)


def main(arguments: list[str]) -> None:
    """Start the server and stay until it ends."""
    die_with(int(arguments[0]))
    sys.argv = ["prefect", "server", "start"]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
