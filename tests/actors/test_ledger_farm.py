"""The farm on a store that fails a fifth of all requests, and on a node whose scratch disk is small or full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from actors.client import Connection, render_job
from infra.scratch import Scratch, film_bytes
from infra.store import StoreOptions, open_store
from infra.store.jobs import list_quarantine
from infra.store.verify import audit
from tests.actors.farm import assert_whole, job, shot
from tests.servers.flakys3 import FlakyS3
from tests.servers.seaweedfs import SeaweedFS

LEAVES_A_FILM = """
import os, sys
from infra.scratch import Scratch
with Scratch(sys.argv[1]).room("finish", 400) as folder:
    (folder / "take.mp4").write_bytes(bytes(1000))
    print(folder, flush=True)
    os._exit(9)
"""


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A film on the scratch disk whose process is gone."""
    command = [sys.executable, "-c", LEAVES_A_FILM, str(tmp_path / "scratch")]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True, check=False)
    folder = Path(ran.stdout.strip())
    assert (folder / "take.mp4").exists()
    return folder


def test_a_fifth_of_all_requests_fails_and_the_scratch_disk_holds_one_film(
    farm: Connection, tmp_path: Path, s3: SeaweedFS, left: Path
) -> None:
    keys: dict[str, Any] = {"access_key_id": SecretStr(s3.key), "secret_access_key": SecretStr(s3.secret)}
    steady = open_store(s3.bucket_url("flaky"), StoreOptions(endpoint_url=s3.endpoint, region=s3.region, **keys))
    with FlakyS3(s3.port, chance=0.2, seed=20) as flaky:
        options = steady.options.model_copy(update={"endpoint_url": flaky.url, "retry_s": 60.0})
        unsteady = open_store(steady.url, options)
        unsteady.probe()
        limits = {"scratch": tmp_path / "scratch", "scratch_bytes": film_bytes(32, 32, 5) + 1}
        spec = job(tmp_path, [shot(n) for n in range(8)], store=unsteady, gangs_max=2, limits=limits)
        status = render_job(farm, spec, poll_s=0.2)
        assert status["state"] == "done"
        assert (status["takes"]["committed"] + status["takes"]["cached"], status["takes"]["quarantined"]) == (8, 0)
        assert sum(flaky.failed.values()) >= 0.1 * flaky.requests > 8
        flaky.chance = 0.0
        assert_whole(spec, 8)
    assert audit(steady).faults == []
    assert not left.exists(), "what a crashed process left goes when the next one starts"
    assert Scratch(tmp_path / "scratch").used() == 0


def test_a_full_disk_is_the_farms_fault_and_quarantines_nothing(farm: Connection, tmp_path: Path) -> None:
    limits = {"scratch": tmp_path / "scratch", "scratch_bytes": 1, "breaker_faults": 3}
    spec = job(tmp_path, [shot(n) for n in range(2)], limits=limits)
    events: list[dict[str, Any]] = []
    status = render_job(farm, spec, on_events=events.extend, poll_s=0.1)
    assert status["state"] == "failed"
    assert (status["takes"]["quarantined"], status["takes"]["pending"]) == (0, 2)
    assert {event["error_class"] for event in events if event["kind"] == "retry"} == {"disk"}
    assert list_quarantine(open_store(spec.store_url), spec.job_id) == []
    roomy = {**spec.limits, "scratch_bytes": None}
    again = render_job(farm, job(tmp_path, [shot(n) for n in range(2)], limits=roomy), poll_s=0.1)
    assert (again["state"], again["takes"]["committed"]) == ("done", 2), "the same command goes on"
