"""A million shots are planned in little memory and time, in a process of its own so that its peak is its own."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

ROWS = 1_000_000
MOST_MIB, MOST_SECONDS = 500, 30

PROGRAM = """
import json, resource, sys, time
start = time.monotonic()
from catalogs import plan, read
planned = plan(read(sys.argv[1]), json.loads(sys.argv[2]))
print(json.dumps({
    "seconds": time.monotonic() - start,
    "cpu": sum(resource.getrusage(resource.RUSAGE_SELF)[:2]),
    # Not ru_maxrss: a child starts with its parent's.
    "mib": int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024,
    "takes": planned.takes.num_rows,
    "refused": len(planned.refused),
    "shards": planned.shards.num_rows,
    "most": max(planned.shards["takes"].to_pylist()),
    "keys": len(set(planned.takes["spec_key"].slice(0, 1000).to_pylist())),
}))
"""


def write_million(path, bad_share: float) -> int:
    """A catalog of a million rows, by whole columns; returns how many of them are bad."""
    rng = np.random.default_rng(0)
    number = pa.array(np.arange(ROWS)).cast(pa.string())
    bad = rng.random(ROWS) < bad_share
    prompt = "a large red circle moving right on a black background in the evening light, number "
    columns = {
        "shot_id": pc.binary_join_element_wise("shot-", number, ""),
        "show": pa.array(["a", "b", "c"]).take(pa.array(rng.integers(0, 3, ROWS))),
        "prompt": pc.binary_join_element_wise(prompt, number, ""),
        "width": pa.array(np.where(bad, 63, rng.choice([64, 96, 128], ROWS)), pa.int64()),
        "height": pa.array(rng.choice([64, 96], ROWS), pa.int32()),
        "steps": pa.array(rng.choice([10, 20, 30], ROWS), pa.int32()),
        "guidance_scale": pa.array(rng.uniform(1, 8, ROWS).round(1)),
        "priority": pa.array(rng.integers(0, 3, ROWS), pa.int32()),
        "client": pc.binary_join_element_wise("client-", number, ""),
    }
    pq.write_table(pa.table(columns), path)
    return int(bad.sum())


@pytest.mark.parametrize("bad_share", [0.01, 1.0], ids=["good", "all-bad"])
def test_a_million_rows(bad_share, tmp_path, facts):
    path = tmp_path / "million.parquet"
    bad = write_million(path, bad_share)
    command = [sys.executable, "-c", PROGRAM, str(path), json.dumps(facts)]
    if bad == ROWS:
        command[2] = PROGRAM.replace("max(planned", "sum(planned")
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(found)
    assert found["takes"] == ROWS - bad
    assert found["refused"] == bad
    assert found["mib"] < MOST_MIB
    # CPU seconds: the machine may be busy with other work, and waiting for it is not this code's doing.
    assert found["cpu"] < MOST_SECONDS
    if bad < ROWS:
        assert found["keys"] == 1000
        assert 1000 < found["shards"] <= 5000
        assert found["most"] <= 512


@pytest.mark.parametrize("ring", [False, True], ids=["good", "all-bad"])
def test_a_million_shots_in_chains(ring, tmp_path, facts):
    path = tmp_path / "chains.parquet"
    order = np.random.default_rng(0).permutation(ROWS)
    upstream = (order + 1) % ROWS if ring else np.where(order % 10 == 9, -1, order + 1)
    starts = pa.array(upstream < 0)
    columns = {
        "shot_id": pc.binary_join_element_wise("shot-", pa.array(order).cast(pa.string()), ""),
        "prompt": pa.array(["a large red circle moving right on a black background"] * ROWS),
        "task": pc.if_else(starts, "t2v", "i2v"),
        "depends_on": pc.if_else(
            starts, None, pc.binary_join_element_wise("shot-", pa.array(upstream).cast(pa.string()), "")
        ),
    }
    pq.write_table(pa.table(columns), path)
    program = PROGRAM.replace('takes["spec_key"]', 'takes["source_shot"]').replace("max(planned", "sum(planned")
    command = [sys.executable, "-c", program, str(path), json.dumps(facts)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(found)
    assert (found["takes"], found["refused"]) == ((0, ROWS) if ring else (ROWS, 0))
    assert ring or found["keys"] > 800  # sources of the first thousand, of which a tenth start by themselves
    assert found["mib"] < MOST_MIB
    assert found["cpu"] < MOST_SECONDS
