"""A campaign: jobs after jobs under fire, each audited, all written down."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.media.ffmpeg import ffmpeg_path
from tests.chaos.audit import Found, audit_job
from tests.chaos.flow import Order
from tests.chaos.gates import Gates, write_encoder
from tests.chaos.schedule import Strike
from tests.chaos.striking import JobUnderFire, Stuck, told
from tests.chaos.world import GANG, GANGS, World

FAKE = "tests.chaos.renderer:ChaosRenderer"
MODEL = "tests.chaos.renderer:ChaosPipeline"
TAKES_PER_KILL = 4
LIMITS: dict[str, Any] = {
    "gang": GANG,
    "gangs_max": GANGS,
    "cpus_per_rank": 1.0,
    "step_timeout_s": 120.0,
    "load_timeout_s": 180.0,
    "collective_timeout_s": 30.0,
    # A take may be killed as often as chance has it: that these caps hold is tested elsewhere.
    "take_deaths": 100,
    "slot_deaths": 101,
    "breaker_faults": 1000,
}

MODEL_LIMITS: dict[str, Any] = {"collective_timeout_s": 60.0, "gangs_max": 1}
"""For the slice with the shipped model: two gangs of two would want more memory than a small machine has."""

Say = Callable[[str], None]


def run_job(
    world: World, folder: Path, strikes: Sequence[Strike], *, seed: int, say: Say = print, renderer: str = FAKE,
    takes: int | None = None, limits: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """One job under fire, from its catalog to its audit. Returns its lines of the results: kills, then the audit."""
    number = strikes[0].job if strikes else 0
    job_id = f"chaos-{seed}-{number}"
    url = world.s3.bucket_url(f"{job_id}-{uuid.uuid4().hex[:6]}")
    folder.mkdir(parents=True)
    gates = Gates(folder / "gates")
    gates.make()
    catalog = _write_catalog(folder, takes or TAKES_PER_KILL * len(strikes) + 4, seed, number)
    encoder = write_encoder(folder / "encoder.sh", gates.folder, ffmpeg_path())
    Order(
        catalog, url, job_id, renderer, str(gates.folder), _settings(world, encoder, {**LIMITS, **(limits or {})})
    ).write(folder)
    job = JobUnderFire(world, folder, gates, seed, job_id, url, random.Random(f"{seed}/{number}"), say)
    began, wrong, found, code = time.monotonic(), "", None, None
    try:
        code = job.run(list(strikes))
        report = _report(folder)
        found = audit_job(world, url, job_id, gates, report)
        wrong = f"the last run ended with {code}" if code else ""
    except Stuck as error:
        wrong = str(error)
    summary = _summary(seed, number, wrong, found, job.exits, time.monotonic() - began)
    say(told(summary))
    return [{"kind": "kill", **asdict(strike)} for strike in job.struck] + [{"kind": "job", **summary}]


def _write_catalog(folder: Path, takes: int, seed: int, number: int) -> str:
    names = [f"s{shot:03d}" for shot in range(takes)]
    catalog = folder / "shots.parquet"
    columns = {
        "shot_id": names,
        "prompt": [f"seed {seed} job {number} shot {name}" for name in names],
        "width": pa.array([64] * takes, pa.int32()),
        "height": pa.array([64] * takes, pa.int32()),
        "fps": pa.array([8.0] * takes, pa.float32()),
        "duration_s": pa.array([0.625] * takes, pa.float32()),
        "steps": pa.array([4] * takes, pa.int32()),
    }
    pq.write_table(pa.table(columns), catalog)
    return str(catalog)


def _settings(world: World, encoder: Path, limits: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    options = world.store_options()
    return {
        "farm": dict(limits),
        "media": {"preset": "ultrafast", "ffmpeg": str(encoder)},
        "ray": {"auth": "disabled", "address": world.ray_address},
        "prefect": {"api_url": world.prefect.url, "progress_s": 1.0},
        "store": {
            "endpoint_url": options.endpoint_url,
            "region": options.region,
            "access_key_id": world.s3.key,
            "secret_access_key": world.s3.secret,
        },
    }


def _report(folder: Path) -> dict[str, Any]:
    newest = max(folder.glob("report.*"), key=lambda path: int(path.suffix[1:]))
    try:
        return dict(json.loads(newest.read_text()))
    except ValueError:
        log = (folder / newest.name.replace("report", "log")).read_text(errors="replace")
        raise Stuck(f"the last run left no report; its log ends with: {log[-1500:]}") from None


def _summary(
    seed: int, number: int, wrong: str, found: Found | None, exits: Sequence[int], wall_s: float
) -> dict[str, Any]:
    audit = asdict(found) if found is not None else {}
    return {
        "seed": seed,
        "job": number,
        "outcome": "clean" if found is not None and found.clean and not wrong else "broken",
        "wrong": wrong,
        **audit,
        "exits": list(exits),
        "wall_s": round(wall_s, 1),
    }
