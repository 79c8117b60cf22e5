"""Jobs for tests of the farm: a planned catalog in a store, rendered by the fake renderer, and what is left of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from actors.job import JobSpec
from catalogs import plan, read
from infra.store import open_store
from infra.store.commits import committed_keys, read_commits
from infra.store.jobs import put_plan
from tests.processes import command_line, descendants

FACTS: dict[str, Any] = {
    "name": "fake", "folder": "/nowhere", "digest": "0" * 64, "tasks": ["t2v", "still", "i2v"],
    "width": 32, "height": 32, "frames": 5, "fps": 8.0, "steps": 4, "guidance_scale": 3.0, "negative_prompt": None,
    "grid": 16, "frame_stride": 4, "spatial_stride": 8, "patch": [1, 2, 2], "min_size": 16, "max_size": 512,
    "max_frames": 81, "max_tokens": 100_000, "layers": 2, "model_width": 32, "ffn_dim": 64, "sampler": "fake",
    "precision": {"transformer": "float32", "autoencoder": "bfloat16"}, "picture_version": 1, "gpu_s_per_tflop": 1.0,
}  # fmt: skip
LIMITS: dict[str, Any] = {
    "step_timeout_s": 6.0,
    "load_timeout_s": 60.0,
    "collective_timeout_s": 5.0,
    "heartbeat_s": 1.0,
    "heartbeat_lapse_s": 30.0,
    "cpus_per_rank": 0.25,
}
FAKE = "tests.actors.fake_renderer:FakeRenderer"


def job(
    folder: Path, shots: Iterable[Mapping[str, Any]], *, job_id: str = "job", limits: Mapping[str, Any] | None = None,
    **more: Any,
) -> JobSpec:  # fmt: skip
    """Plans shots into ``store``, else into one at folder/store; unset columns get defaults."""
    rows = list(shots)
    names = dict.fromkeys(["shot_id", "prompt", *(name for row in rows for name in row)])
    catalog = folder / f"{job_id}.parquet"
    columns = {name: [row.get(name) for row in rows] for name in names}
    pq.write_table(pa.table(columns), catalog)
    store = more.pop("store", None) or open_store(folder / "store")
    facts = {**FACTS, **more.pop("facts", {})}
    planned = plan(read(str(catalog)), facts, committed_keys(store), digest_input=more.pop("digest_input", None))
    assert not planned.refused, planned.refused
    put_plan(store, job_id, planned.takes)
    return JobSpec(
        **{
            "job_id": job_id,
            "store_url": store.url,
            "store_options": store.options,
            "model_folder": "/nowhere",
            "model_facts": facts,
            "epoch": 1,
            "owner": {"host": "here", "pid": os.getpid(), "token": f"{job_id}-token"},
            "limits": {**LIMITS, **(limits or {})},
            "media": {"preset": "ultrafast"},
            "renderer": FAKE,
            "gangs_max": 1,
            **more,
        }
    )


def shot(number: int, *words: str, **columns: Any) -> dict[str, Any]:
    """A shot whose prompt tells the fake renderer what to do."""
    return {"shot_id": f"s{number:03d}", "prompt": " ".join(words) or "plain", **columns}


def commits(spec: JobSpec) -> list[dict[str, Any]]:
    """Every commit of the store; fails on one that cannot be read."""
    found = list(read_commits(open_store(spec.store_url, spec.store_options)))
    assert all(entry.commit for entry in found), found
    return [entry.commit for entry in found if entry.commit]


def assert_whole(spec: JobSpec, takes: int) -> None:
    """Exactly so many takes are committed, each once, and each one's film has the size and hash of its commit."""
    store = open_store(spec.store_url, spec.store_options)
    made = commits(spec)
    assert len(made) == takes
    assert len({(commit["show"], commit["shot_id"], commit["take"]) for commit in made}) == takes
    for commit in made:
        digest = store.digest(commit["media"]["path"])
        assert (digest.size, digest.sha256) == (commit["media"]["bytes"], commit["media"]["sha256"])


def eventually(check: Callable[[], Any], *, within_s: float = 60.0, every_s: float = 0.1) -> Any:
    """Waits until ``check`` gives something true, and gives that; fails when the time is over."""
    ends = time.monotonic() + within_s
    while time.monotonic() < ends:
        if found := check():
            return found
        time.sleep(every_s)
    raise AssertionError(f"not within {within_s:.0f} s")


def workers(*kinds: str) -> list[psutil.Process]:
    """Living processes of Ray actors of these kinds on this machine that belong to this test's cluster."""
    titles = ((process, command_line(process)) for process in descendants(os.getpid()))
    return [process for process, title in titles if title.startswith("ray::") and any(kind in title for kind in kinds)]


def kinds(events: Iterable[Mapping[str, Any]]) -> list[str]:
    return [event["kind"] for event in events]
