"""A node's scratch disk is bounded, and what crashed processes left there goes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from actors.errors import classify
from infra.scratch import Scratch, ScratchFull, ScratchUnusable, film_bytes
from infra.store.errors import StoreUnavailable
from infra.store.s3_errors import mapped

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, time
from infra.scratch import Scratch
with Scratch(sys.argv[1]).room("finish", 400) as folder:
    (folder / "take.mp4").write_bytes(bytes(1000))
    print(folder, flush=True)
    time.sleep(600)
"""


def hold(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process in the middle of its film, and where that lies."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_room_is_gone_when_its_block_ends(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)

    def fail_in(folder: Path) -> None:
        (folder / "film").write_bytes(bytes(50))
        assert scratch.used() == 100, "what was asked for counts from the start"
        (folder / "film").write_bytes(bytes(150))
        assert scratch.used() == 150, "and what lies there, where it is more"
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"), scratch.room("finish", 100) as folder:
        fail_in(folder)
    assert folder.is_relative_to(tmp_path)
    assert scratch.used() == 0 and not folder.exists()


def test_what_a_killed_process_left_goes_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, limit=1500, wait_s=0)
    process, lies = hold(tmp_path)
    with process:
        assert scratch.clean() == 0
        assert scratch.used() == 1000, "the bound is the node's, not the process's"
        with pytest.raises(ScratchFull), scratch.room("finish", 501):
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        assert lies.exists(), "it had no time to remove it"
    assert scratch.clean() == 1
    assert not lies.exists() and scratch.used() == 0
    with scratch.room("finish", 1500):
        pass


def test_a_pid_that_is_used_again_and_other_machines_folders(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    with scratch.room("finish", 1) as folder:
        host, pid, started = folder.parent.name.split("-")
        earlier = scratch.root / f"{host}-{pid}-{int(started) - 60_000}"
        elsewhere = scratch.root / f"00000000-{pid}-{int(started) - 60_000}"
        strange = scratch.root / "not-ours"
        for other in (earlier, elsewhere, strange):
            other.mkdir()
        assert scratch.clean() == 1
        assert not earlier.exists() and elsewhere.exists() and strange.exists() and folder.exists()


def test_the_next_film_waits_for_room(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, limit=100, wait_s=30)
    has_room = threading.Event()

    def second() -> None:
        with scratch.room("finish", 60):
            has_room.set()

    waiting = threading.Thread(target=second)
    with scratch.room("finish", 60):
        waiting.start()
        assert not has_room.wait(0.5)
    assert has_room.wait(20)
    waiting.join(10)


def test_no_room_is_a_full_disk_and_the_farms_fault(tmp_path: Path) -> None:
    with pytest.raises(ScratchFull, match=r"200 bytes .* farm.scratch_bytes is 100") as caught:
        Scratch(tmp_path, limit=100).room("finish", 200).__enter__()
    assert caught.value.errno == errno.ENOSPC
    assert tuple(classify(caught.value)) == ("disk", "farm")


def test_a_place_that_cannot_be_written_is_the_nodes_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "file", Path("/proc/nothing")):
        words = f"{place}/rushes-scratch-.* cannot be written .* set farm.scratch"
        with pytest.raises(ScratchUnusable, match=words) as caught:
            Scratch(place).room("finish", 10).__enter__()
        assert tuple(classify(caught.value)) == ("node", "farm")


def test_a_film_fits_into_what_is_asked_for_it() -> None:
    assert film_bytes(64, 48, 17) > 64 * 48 * 17 * 3 // 2
    assert film_bytes(64, 48, 1) > 64 * 48 * 3


def test_a_full_disk_here_is_not_taken_for_a_fault_of_the_store() -> None:
    """A film is fetched into a folder that is full: asking the store again would not help."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with pytest.raises(OSError, match="No space left") as caught, mapped("get_object", "shots/film"):
        Path("/dev/full").write_bytes(b"film")
    assert tuple(classify(caught.value)) == ("disk", "farm")


def test_the_stores_own_full_disk_is_tried_again() -> None:
    error = StoreUnavailable("write a: No space left on device")
    assert tuple(classify(error)) == ("store", "farm")
