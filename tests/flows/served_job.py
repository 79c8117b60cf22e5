"""The fake job as a Prefect deployment: `python -m tests.flows.served_job FOLDER NAME` serves it until it is ended."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State

from flows.farm import RenderOptions
from flows.served import render_here
from tests.actors.farm import FAKE
from tests.flows.fake_job import fake_settings, planned_job


@flow(name="rushes-render", persist_result=False)
async def served(folder: str, store: str) -> State:
    """As `flows.served.render_catalog`, with a catalog and a renderer that need no model."""
    logging.getLogger("rushes").setLevel(logging.INFO)
    settings = fake_settings()
    return await render_here(planned_job(Path(folder), settings), settings, RenderOptions(renderer=FAKE))


if __name__ == "__main__":
    from tests.flows.fake_job import store_of

    served.serve(sys.argv[2], parameters={"folder": sys.argv[1], "store": store_of(Path(sys.argv[1]))})
