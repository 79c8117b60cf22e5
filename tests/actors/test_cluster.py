"""A cluster that was there before, joined by address with Ray's token authentication on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.servers.process import free_ports, wait_until_up

ROOT = Path(__file__).parents[2]
DRIVER = f"""
    import json, sys
    sys.path.insert(0, {str(ROOT)!r})
    from pathlib import Path
    from actors.client import connect, render_job
    from tests.actors.farm import job, shot
    place = Path(sys.argv[2])
    place.mkdir()
    with connect(sys.argv[1]) as farm:
        status = render_job(farm, job(place, [shot(0), shot(1)], gang=2))
        ranks = [pid for gang in farm.describe()["gangs"] for _, pid in gang["processes"]]
    print(json.dumps({{"takes": status["takes"], "state": status["state"], "ranks": ranks}}))
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Address and environment of a cluster that asks for a token; ended by its own processes, never by `ray stop`."""
    token = tmp_path / "token"
    token.write_text("a-token-for-this-test-only-0123456789abcdef")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }
    port = free_ports(1, low=22_001, high=32_000)  # Ray gives workers ports up to 19,999
    folder = tempfile.mkdtemp(prefix="rushes-ray-", dir="/tmp")  # short: Ray's sockets lie in it
    log = (tmp_path / "head.log").open("wb")
    head = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}", "--num-cpus=2",
            "--include-dashboard=false", "--object-store-memory=200000000", f"--temp-dir={folder}",
        ],
        env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until_up(head, lambda: answers(port), log=tmp_path / "head.log", timeout_s=60)
        yield f"127.0.0.1:{port}", environment
    finally:
        tree = psutil.Process(head.pid).children(recursive=True) if head.poll() is None else []
        head.send_signal(signal.SIGTERM)
        _, living = psutil.wait_procs(tree, timeout=5)
        for process in living:
            with suppress(psutil.NoSuchProcess):  # it may end between the two lines
                process.kill()
        head.kill()
        head.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def answers(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def drive(address: str, environment: Mapping[str, str], place: Path) -> subprocess.CompletedProcess[str]:
    """Runs a job from a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DRIVER), address, str(place)],
        env=dict(environment), capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_jobs_of_two_processes_use_one_warm_gang(cluster: tuple[str, Mapping[str, str]], tmp_path: Path) -> None:
    address, environment = cluster
    results = []
    for name in ("first", "second"):
        done = drive(address, environment, tmp_path / name)
        assert done.returncode == 0, done.stderr[-3000:]
        results.append(json.loads(done.stdout.splitlines()[-1]))
    for result in results:
        assert (result["state"], result["takes"]["committed"]) == ("done", 2)
    assert results[0]["ranks"] == results[1]["ranks"], "the gang outlives the process that asked for it"
    assert len(results[0]["ranks"]) == 2

    stranger = drive(address, {**environment, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")}, tmp_path / "stranger")
    assert stranger.returncode != 0
