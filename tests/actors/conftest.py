"""One Ray for all tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from actors.client import Connection, connect


@pytest.fixture(scope="package")
def farm() -> Iterator[Connection]:
    """A pool on a cluster of its own with two cores, of which a rank reserves a quarter: see ``farm.LIMITS``."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    # Ray's workers run at nice 15 otherwise, and whatever else this machine does makes tests of time limits wait.
    os.environ.update({"RAY_worker_niceness": "0"})
    with connect(num_cpus=2, auth="disabled") as connection:
        yield connection


@pytest.fixture(autouse=True)
def close_jobs(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that fails leaves no job behind for the next one."""
    yield
    if "farm" in request.fixturenames:
        request.getfixturevalue("farm").close_jobs()
