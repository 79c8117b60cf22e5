"""Processes killed with -9 in the middle of a write."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.store import Store, open_store
from tests.servers.faultproxy import FaultProxy, Rule

ROOT = Path(__file__).parents[2]


def start(store: Store, script: str, tmp_path: Path) -> subprocess.Popen[str]:
    """A process that runs `script` with `store`."""
    (tmp_path / "store.pickle").write_bytes(pickle.dumps(store))
    head = (
        f"import os, pickle, sys, time\nstore = pickle.loads(open({str(tmp_path / 'store.pickle')!r}, 'rb').read())\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(script)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def kill_when(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not ready():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)


@pytest.mark.parametrize(("verb", "call"), [("create", "link"), ("write", "replace"), ("write_file", "replace")])
def test_killed_between_temporary_and_name(tmp_path: Path, film: Path, verb: str, call: str) -> None:
    """The process stops for ever in the very call that would give the file its name, and is killed there."""
    store = open_store(tmp_path / "store")
    store.write("commits/other", b"x")
    script = f"""
        def stop(*_, **__):
            print("here", flush=True)
            time.sleep(60)
        os.{call} = stop
        what = {str(film)!r} if {verb!r} == "write_file" else b"half"
        store.{verb}("commits/a", what)
    """
    with start(store, script, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    left = [path.name for path in (tmp_path / "store" / "commits").iterdir() if path.name != "other"]
    assert len(left) == 1, "the temporary is there, so the fault did happen"
    assert [found.path for found in store.list()] == ["commits/other"]
    assert store.stat("commits/a") is None
    store.create("commits/a", b"whole")
    assert store.sweep(3600) == 0, "it could still be somebody's"
    assert store.sweep(-1) == 1
    assert sorted(path.name for path in (tmp_path / "store" / "commits").iterdir()) == ["a", "other"]


def test_killed_while_it_holds_the_lock(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    script = """
        def stop(*_, **__):
            print("here", flush=True)
            time.sleep(60)
        os.replace = stop
        store.write("a", b"half")
    """
    with start(store, script, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    tag = store.write("a", b"whole")
    store.replace("a", b"more", tag)


def test_killed_in_the_middle_of_a_multipart_upload(
    s3_store: Store, proxied: Store, fault_proxy: FaultProxy, tmp_path: Path
) -> None:
    film = tmp_path / "film"
    film.write_bytes(bytes(33 * 2**20))
    fault_proxy.rule = Rule(match=b"partNumber=3", hang=True)
    with start(proxied, f"store.write_file('shots/film', {str(film)!r})", tmp_path) as process:
        kill_when(process, lambda: fault_proxy.hits > 0)
    fault_proxy.clear()
    assert s3_store.stat("shots/film") is None
    assert list(s3_store.list()) == []
    assert s3_store.sweep(3600) == 0, "it could still be somebody's"
    assert s3_store.sweep(-60) == 1
    s3_store.write_file("shots/film", film)
    assert s3_store.sweep(-60) == 0
