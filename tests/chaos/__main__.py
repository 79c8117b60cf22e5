"""`python -m tests.chaos run --seed 7 --kills 100 --out tests/chaos/results`, and `python -m tests.chaos table`.

Exit code 1 when an audit found something.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.campaign import MODEL, MODEL_LIMITS, run_job
from tests.chaos.results import PAGE, RESULTS, append, put_table, table
from tests.chaos.schedule import Kind, model_slice, schedule
from tests.chaos.world import World


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description="Kills processes of a running farm, and audits.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="kill, audit, and append to the results")
    run.add_argument("--seed", type=int, required=True)
    run.add_argument("--kills", type=int, default=100)
    run.add_argument("--out", type=Path, default=RESULTS)
    run.add_argument("--minutes", type=float, default=28.0, help="no new job is begun after that")
    run.add_argument("--first", type=int, default=0, help="the job to begin with, to go on with a campaign")
    run.add_argument("--kinds", default=",".join(Kind), help="which processes")
    run.add_argument("--no-model", action="store_true", help="leave out the slice with the shipped model")
    verbs.add_parser("table", help="sum the results up in the reliability page").add_argument(
        "--page", type=Path, default=PAGE
    )
    arguments = parser.parse_args()
    if arguments.verb == "table":
        put_table(arguments.page)
        return 0
    return campaign(arguments)


def campaign(arguments: argparse.Namespace) -> int:
    """All jobs of a seed. Logs of jobs that went wrong stay in the temporary folder that is named."""
    folder = Path(tempfile.mkdtemp(prefix="rushes-chaos-"))
    results = arguments.out / f"seed-{arguments.seed}.jsonl"
    began, wrong = time.monotonic(), 0
    kinds = [Kind(name) for name in arguments.kinds.split(",")]
    planned = schedule(arguments.seed, arguments.kills, kinds)[arguments.first :]
    jobs = [(strikes, {}) for strikes in planned]
    if not arguments.no_model:
        jobs.insert(
            1,
            (
                model_slice(arguments.first + len(jobs), arguments.kills),
                {"renderer": MODEL, "takes": 14, "limits": MODEL_LIMITS},
            ),
        )

    def say(words: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {words}", flush=True)

    world = World.started(folder)
    lines: list[dict[str, object]] = []
    try:
        with world:
            for strikes, more in jobs:
                if time.monotonic() - began > 60 * arguments.minutes:
                    say(f"the time is over: {len(jobs)} jobs were planned")
                    break
                found = run_job(world, folder / f"job-{strikes[0].job}", strikes, seed=arguments.seed, say=say, **more)
                append(results, found)
                lines += found
                wrong += found[-1]["outcome"] != "clean"
                if found[-1]["wrong"]:
                    break  # the farm is not in a state to go on with
        strays = world.strays()
        if strays:
            wrong += 1
            say(f"left over when everything had ended: {strays}")
    finally:
        world.stop_servers()
    print(table(lines))
    if arguments.out.resolve() == RESULTS:
        put_table()
    if wrong:
        print(f"logs: {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
