"""The process that owns a job, as `rushes render` would be, but with a renderer that can be stopped at its phases.

    python -m tests.chaos.flow FOLDER

FOLDER holds order.json (`Order`). The report goes to standard output as JSON; the exit code is the job's.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ORDER = "order.json"


@dataclass(frozen=True)
class Order:
    """What one job is rendered from, with what.

    Attributes:
        settings: flags by group, for `Settings.load`.
        gates: folder of the gates (`tests.chaos.gates`).
    """

    catalog: str
    store: str
    job: str
    renderer: str
    gates: str
    settings: dict[str, dict[str, Any]]

    def write(self, folder: Path) -> None:
        """Put it where the process looks for it."""
        (folder / ORDER).write_text(json.dumps(asdict(self)))


def main(folder: Path) -> int:
    order = Order(**json.loads((folder / ORDER).read_text()))
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    from flows.farm import RenderOptions
    from flows.render import run_job
    from flows.verbs.failure import explain
    from flows.verbs.plan import make_plan
    from infra.settings import Settings

    try:
        settings = Settings.load(**order.settings)
        planned = make_plan(order.catalog, order.store, settings, job=order.job)
        # The name of the job makes the gangs its own: every job loads, and so can be killed while it does.
        options = RenderOptions(renderer=order.renderer, renderer_options={"gates": order.gates, "job": order.job})
        report = run_job(planned, settings, options=options)
    except Exception as error:
        failure = explain(error)
        if failure is None:
            raise
        print(failure, file=sys.stderr)
        return int(failure.exit_code)
    print(json.dumps(report.as_dict()), flush=True)
    return 4 if report.exit is None else int(report.exit)


if __name__ == "__main__":
    from flows.command import leave

    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    leave(main(Path(sys.argv[1])))
