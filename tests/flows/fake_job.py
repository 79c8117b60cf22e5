"""A job with the fake renderer, run as a user's process would run it: `python -m tests.flows.fake_job FOLDER
[options]`.

FOLDER holds catalog.json (a list of shots) and gets the store. The report is printed as JSON; the exit code is the
job's.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalogs import plan, read
from flows.command import leave
from flows.manifest import quarantine_records
from flows.planned import Planned
from flows.render import RenderOptions, run_job
from flows.report import JobReport
from flows.verbs.origin import Origin
from infra.settings import Settings
from infra.store import open_store
from infra.store.commits import committed_keys
from tests.actors.farm import FACTS, FAKE, LIMITS

JOB = "Demo.job"
ROOT = Path(__file__).parents[2]


def write_catalog(folder: Path, shots: Sequence[Mapping[str, Any]]) -> None:
    """Put the catalog of a job into its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "catalog.json").write_text(json.dumps(list(shots)))


def store_of(folder: Path) -> str:
    """URL of the folder's store."""
    return open_store(folder / "store").url


def planned_job(folder: Path, settings: Settings) -> Planned:
    """Plan the folder's catalog into its store."""
    rows = json.loads((folder / "catalog.json").read_text())
    names = dict.fromkeys(name for row in rows for name in row)
    catalog = folder / "catalog.parquet"
    pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), catalog)
    store = open_store(folder / "store", settings.store)
    made = plan(read(str(catalog)), FACTS, committed_keys(store), shard_takes=settings.farm.shard_takes)
    return Planned(
        plan=made,
        job_id=JOB,
        store=store,
        facts=FACTS,
        origin=Origin(catalog=str(catalog), catalog_sha256="0" * 64, roots=(str(folder),)),
        quarantined=frozenset(quarantine_records(store, JOB)),
    )


def fake_settings(**farm: Any) -> Settings:
    """Settings for a small farm on this machine, with patience short enough for tests."""
    limits = {**LIMITS, "gangs_max": 1, "cancel_poll_s": 1.0, "heartbeat_lapse_s": 15.0, **farm}
    return Settings.load(
        farm=limits,
        media={"preset": "ultrafast"},
        ray={"auth": "disabled", "num_cpus": 2},
        prefect={"progress_s": 1.0},
        price={"gpu_hour": 3600.0, "currency": "EUR"},
    )


def run_here(
    folder: Path, *, api: str | None = None, home: Path | None = None, budget: float | None = None
) -> JobReport:
    """Run the folder's job in this process."""
    settings = fake_settings()
    settings = settings.model_copy(update={"prefect": settings.prefect.model_copy(update={"api_url": api})})
    options = RenderOptions(renderer=FAKE, prefect_home=home)
    return run_job(planned_job(folder, settings), settings, budget_gpu_s=budget, options=options)


def start(
    folder: Path, *, api: str | None = None, home: Path | None = None, budget: float | None = None
) -> subprocess.Popen[str]:
    """Run the folder's job in a process of its own, in a session of its own; its log is in the folder."""
    command = ["tests.flows.fake_job", str(folder)]
    command += ["--api", api] if api else []
    command += ["--home", str(home)] if home else []
    command += ["--budget", str(budget)] if budget else []
    return start_module(command, folder)


def start_module(command: Sequence[str], folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Run a module of the tests; the log is in the folder."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_API")}
    with (folder / f"log.{len(list(folder.glob('log.*')))}").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env={**kept, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )


@dataclass(frozen=True)
class Ended:
    """How a started job ended."""

    code: int
    report: dict[str, Any]


def finish(process: subprocess.Popen[str], timeout_s: float = 120.0) -> Ended:
    """Wait for a started job."""
    out, _ = process.communicate(timeout=timeout_s)
    return Ended(process.returncode, json.loads(out))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--api")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--budget", type=float)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    report = run_here(arguments.folder, api=arguments.api, home=arguments.home, budget=arguments.budget)
    print(json.dumps(report.as_dict()))
    return 4 if report.exit is None else int(report.exit)


if __name__ == "__main__":
    leave(main())
