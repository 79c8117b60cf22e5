"""Files by which the suite stops renderers and encoders at a phase, and by which they say that they stand there.

The processes that render are started by Ray, on any node of this machine, so a folder is what both sides can see.
Nothing here is known to the product: a gate is passed by the suite's own renderer, and by the program that stands for
ffmpeg.

    hold-PHASE         as long as it is there, whoever comes to the phase waits
    at-PHASE.PID       who waits there
    ticket-N           one take may be rendered; whoever takes it removes it
    open               takes need no tickets any more
    renders.PID        lines of JSON: what each rank rendered, and for how long (the suite's own measure of GPU seconds)
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

_POLL_S = 0.05


class Gates:
    """One folder of gates. Driver and renderers each make an object of their own on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tickets = 0

    # The suite's side

    def make(self) -> None:
        """Make the folder, with every gate open and no ticket."""
        self.folder.mkdir(parents=True)

    def hold(self, phase: str) -> None:
        """Close a gate."""
        for left in self.folder.glob(f"at-{phase}.*"):
            left.unlink(missing_ok=True)
        (self.folder / f"hold-{phase}").touch()

    def release(self, phase: str) -> None:
        """Open a gate."""
        (self.folder / f"hold-{phase}").unlink(missing_ok=True)

    def standing(self, phase: str) -> list[int]:
        """Processes that wait at a closed gate now, by pid. None once it is open."""
        if not (self.folder / f"hold-{phase}").exists():
            return []
        pids = [int(path.name.rpartition(".")[2]) for path in self.folder.glob(f"at-{phase}.*")]
        return sorted(pid for pid in pids if psutil.pid_exists(pid))

    def give_tickets(self, count: int) -> None:
        """Let so many more takes be rendered."""
        for _ in range(count):
            self._tickets += 1
            (self.folder / f"ticket-{self._tickets:05d}").touch()

    def tickets(self) -> int:
        """Tickets that nobody has taken yet."""
        return len(list(self.folder.glob("ticket-*")))

    def open_all(self) -> None:
        """Nobody waits any more, at no gate and for no ticket."""
        (self.folder / "open").touch()
        for gate in self.folder.glob("hold-*"):
            gate.unlink(missing_ok=True)

    def renders(self) -> list[dict[str, Any]]:
        """What ranks have rendered to the end: job, id, attempt, rank, seconds."""
        lines = (line for path in self.folder.glob("renders.*") for line in path.read_text().splitlines())
        return [json.loads(line) for line in lines]

    # The side of those who render

    def pass_through(self, phase: str, beat: Callable[[], None]) -> None:
        """Wait while a gate is closed, and tell of it; `beat` is called meanwhile."""
        gate, mark = self.folder / f"hold-{phase}", self.folder / f"at-{phase}.{os.getpid()}"
        if not gate.exists():
            return
        while gate.exists():
            mark.touch()  # each time: the gate may have been opened and closed again since
            time.sleep(_POLL_S)
            beat()
        mark.unlink(missing_ok=True)

    def take_ticket(self, beat: Callable[[], None]) -> None:
        """Wait until there is a ticket and take it."""
        while not (self.folder / "open").exists():
            for ticket in sorted(self.folder.glob("ticket-*")):
                try:
                    ticket.unlink()
                except FileNotFoundError:  # another gang was faster
                    continue
                return
            time.sleep(_POLL_S)
            beat()

    def note(self, **facts: Any) -> None:
        """Write down what this rank has rendered."""
        with (self.folder / f"renders.{os.getpid()}").open("a") as file:
            file.write(json.dumps(facts) + "\n")


def write_encoder(path: Path, gates: Path, ffmpeg: str) -> Path:
    """A program that is ffmpeg, but waits at the gate `encode` first: for the setting `media.ffmpeg`."""
    path.write_text(
        "#!/bin/sh\n"
        f"if [ -e '{gates}/hold-encode' ]; then\n"
        f"  while [ -e '{gates}/hold-encode' ]; do : > '{gates}'/at-encode.$$; sleep 0.05; done\n"
        f"  rm -f '{gates}'/at-encode.$$\n"
        "fi\n"
        f"exec '{ffmpeg}' \"$@\"\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
