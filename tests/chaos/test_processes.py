"""What the suites take for a process that still runs."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

from tests.processes import command_line, living


def test_a_number_that_was_given_again_is_not_the_process_that_had_it() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process, ends = psutil.Process(child.pid), time.monotonic() + 30
        while "input()" not in command_line(process) and time.monotonic() < ends:  # it is this one's copy at first
            time.sleep(0.05)
        assert "input()" in command_line(process) and living([process])
        earlier = psutil.Process(child.pid)
        earlier._create_time = process.create_time() - 100
        earlier._ident = (child.pid, earlier._create_time)
        assert command_line(earlier) == "" and not living([earlier])
        child.communicate(b"\n")
    assert command_line(process) == ""
