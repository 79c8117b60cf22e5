"""A store that goes away in the middle of a job, on a real S3 server behind a proxy that breaks connections."""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import SecretStr

from actors.client import Connection
from infra.store import StoreOptions, open_store
from tests.actors.farm import assert_whole, commits, eventually, job, kinds, shot
from tests.servers.faultproxy import FaultProxy, Rule
from tests.servers.seaweedfs import SeaweedFS

OUTAGE_S = 8.0


def test_an_outage_costs_time_and_nothing_else(
    farm: Connection, tmp_path: Path, s3: SeaweedFS, fault_proxy: FaultProxy
) -> None:
    patient = StoreOptions(
        endpoint_url=fault_proxy.url,
        region=s3.region,
        access_key_id=SecretStr(s3.key),
        secret_access_key=SecretStr(s3.secret),
    )
    # The server's first objects take it seconds: it lays out its volumes.
    open_store(s3.bucket_url("outage"), patient).probe()
    store = open_store(s3.bucket_url("outage"), patient.model_copy(update={"retry_s": 1.0, "timeout_s": 2.0}))
    spec = job(tmp_path, [shot(n, "sleep=0.3") for n in range(8)], store=store)
    running = farm.submit(spec)
    eventually(lambda: commits(spec))
    before = running.status()["takes"]["committed"]
    assert before < 8
    gangs = {gang["id"] for gang in farm.describe()["gangs"] if gang["job"] == "job"}
    fault_proxy.rule = Rule(drop_reply=True)  # every request, on connections that stand as on new ones
    time.sleep(OUTAGE_S)
    during = running.status()
    assert fault_proxy.hits > 0
    assert during["state"] == "running"
    assert during["takes"]["quarantined"] == 0
    assert gangs <= {gang["id"] for gang in farm.describe()["gangs"]}, "an outage never ends a gang"
    fault_proxy.clear()
    events: list = []
    status = running.wait(on_events=events.extend, poll_s=0.2)
    assert status["state"] == "done"
    takes = status["takes"]
    assert (takes["committed"] + takes["cached"], takes["quarantined"]) == (8, 0)
    assert "gang_lost" not in kinds(events)
    assert status["gpu_s"]["failed"] == 0.0, "films wait with the finisher, nothing is rendered twice"
    assert_whole(spec, 8)
