"""Stores for the tests of infra: one on a folder and one on S3, and what a commit is made from."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.store import Store, StoreOptions, open_store
from tests.servers.faultproxy import FaultProxy
from tests.servers.seaweedfs import SeaweedFS

RecordOf = Callable[..., dict[str, Any]]


@pytest.fixture
def s3_options(s3: SeaweedFS) -> StoreOptions:
    """Short limits: a test that waits longer has failed."""
    return StoreOptions(
        endpoint_url=s3.endpoint,
        region=s3.region,
        access_key_id=s3.key,
        secret_access_key=s3.secret,
        timeout_s=4,
        retry_s=6,
    )


@pytest.fixture
def s3_store(s3: SeaweedFS, s3_options: StoreOptions) -> Store:
    """A fresh prefix of the S3 server's bucket."""
    return open_store(s3.bucket_url(), s3_options)


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store, on a folder and on S3."""
    if request.param == "file":
        return open_store(tmp_path / "store")
    found: Store = request.getfixturevalue("s3_store")
    return found


@pytest.fixture
def proxied(s3_store: Store, fault_proxy: FaultProxy) -> Store:
    """The same place as `s3_store`, reached through the fault proxy."""
    return open_store(s3_store.url, s3_store.options.model_copy(update={"endpoint_url": fault_proxy.url}))


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Bytes that stand for a finished film."""
    path = tmp_path / "film.mp4"
    path.write_bytes(uuid.uuid4().bytes * 4096)
    return path


@pytest.fixture
def record_of() -> RecordOf:
    """`record_of("a", take=2)`: what a finisher knows of a take before it is published."""

    def make(shot_id: str = "a", take: int = 1, **more: Any) -> dict[str, Any]:
        key = hashlib.sha256(f"{shot_id}/{take}".encode()).hexdigest()
        record = {
            "spec_key": key,
            "picture_key": hashlib.sha256(key.encode()).hexdigest(),
            "show": "default",
            "shot_id": shot_id,
            "revision": "0011aabb",
            "take": take,
            "seed": 6 + take,
            "media": {"width": 64, "height": 48, "frames": 17, "fps": 8.0},
            "gang": 2,
            "layout": "ulysses=2",
            "attempt": 1,
            "gpu_s": 1.5,
            "epoch": 1,
            "tools": {"rushes": "0.1.0"},
        }
        return record | more

    return make
