"""Child processes that do not outlive this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_LAUNCHER = str(Path(__file__).with_name("_die_with_parent.py"))


def start(program: str, *args: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start `program` (an absolute path) with its standard error as a pipe and its output thrown away.

    On Linux the kernel kills it when the calling *thread* ends, so the thread that starts it must also wait for it.
    Elsewhere it ends when its standard input does.
    """
    return subprocess.Popen(
        _command(program, args),
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # Out of the terminal's process group: Ctrl-C is for us to act on, not for ffmpeg.
        start_new_session=True,
    )


def _command(program: str, args: Sequence[str]) -> list[str]:
    if sys.platform != "linux":
        return [program, *args]
    return [sys.executable, "-I", "-S", _LAUNCHER, str(os.getpid()), program, *args]
