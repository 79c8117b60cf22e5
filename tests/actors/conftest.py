"""One Ray for all tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from actors.client import Connection, connect


@pytest.fixture(scope="package")
def farm() -> Iterator[Connection]:
    """A pool on a cluster of its own, which claims four cores so that two gangs of two fit."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with connect(num_cpus=4, auth="disabled") as connection:
        yield connection
