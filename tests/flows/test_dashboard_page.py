"""A job's run as a person sees it: Prefect's own pages in a real browser, with a real server behind them.

To look at the screenshots: `pytest --basetemp FOLDER` leaves them in FOLDER/screenshots.
"""

from __future__ import annotations

import io
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flows.artifacts import slug
from flows.farm import ended
from flows.job_view import Price
from flows.live import LiveJob
from flows.report import ExitCode
from flows.server import prefect_api
from flows.shards import Shard
from flows.view import FlowView
from infra.settings import PrefectSettings
from tests.flows.api import Prefect, eventually

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
JOB = "trailer-0123456789ab"
WAIT_MS = 60_000

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="NO CHROMIUM: no `chromium` on the PATH (apt install chromium)"
)


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("screenshots", numbered=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def poster(shade: int) -> bytes:
    """A small picture."""
    content = io.BytesIO()
    Image.new("RGB", (96, 54), (shade, 90, 255 - shade)).save(content, "JPEG")
    return content.getvalue()


def a_live_job(store: str) -> LiveJob:
    shards = {0: Shard("000: dawn .. dusk (4)", 4), 1: Shard("001: reef .. tide (4)", 4), 2: Shard("002: moon (2)", 2)}
    return LiveJob(
        JOB, store, run=1, shards=shards, takes={"total": 10, "pending": 10}, price=Price(3600.0, "EUR"), board=None
    )


def render_half(live: LiveJob) -> None:
    """Six of ten takes are committed, one is given up, one is at work."""
    for number in range(6):
        event = {"kind": "committed", "shot_id": f"dawn-{number}", "take": 1, "media": f"shots/default/d{number}.mp4"}
        live.add_events([{**event, "gpu_s": 2.0}])
        live.add_picture(f"dawn-{number} take 1", poster(40 * number))
    live.add_events(
        [
            {
                "kind": "quarantined",
                "shot_id": "reef-broken",
                "take": 1,
                "error_class": "nan",
                "message": "latents are not finite | at step <3>",
                "attempt": 2,
                "gpu_s": 1.5,
                "replay": "rushes render --prompt='a | reef'",
            }
        ]
    )
    live.update(
        {
            "takes": {"total": 10, "committed": 6, "quarantined": 1, "running": 1, "pending": 2},
            "gpu_s": {"rendered": 12.0, "failed": 1.5, "duplicate": 0.0, "cached": 0.0},
            "shards": [
                {"shard": 0, "total": 4, "done": 4},
                {"shard": 1, "total": 4, "done": 2, "failed": 1, "running": 1},
            ],
            "running": [{"shot_id": "tide", "take": 1, "step": 3, "steps": 20, "gang": "a1"}],
            "eta_s": 42.0,
        }
    )


def render_rest(live: LiveJob) -> None:
    """The job's end: all is settled, one take was given up."""
    live.update(
        {
            "takes": {"total": 10, "committed": 9, "quarantined": 1, "running": 0, "pending": 0},
            "gpu_s": {"rendered": 18.0, "failed": 1.5, "duplicate": 0.0, "cached": 0.0},
            "shards": [
                {"shard": 0, "total": 4, "done": 4},
                {"shard": 1, "total": 4, "done": 3, "failed": 1},
                {"shard": 2, "total": 2, "done": 2},
            ],
        }
    )


@contextmanager
def shown(live: LiveJob, url: str) -> Iterator[Prefect]:
    """The job in a Prefect server, until its end."""
    with (
        prefect_api(None, url) as resolve,
        FlowView(live, resolve, PrefectSettings(progress_s=1.0), cancel_poll_s=5.0),
    ):
        try:
            yield Prefect(url)
            render_rest(live)
        finally:
            live.finish(ended(live, ExitCode.FAULTS, "finished"), poster(7))


def test_how_far_what_it_cost_and_which_shot_failed_within_one_click(
    browser: Any, prefect_server: str, screenshots: Path
) -> None:
    store = f"file:///tmp/{threading.get_ident()}-{time.time_ns()}"
    live = a_live_job(store)
    render_half(live)
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(WAIT_MS)
    with shown(live, prefect_server) as prefect:
        run = eventually(lambda: next(iter(prefect.runs(store)), None), 90)
        eventually(lambda: f"failures-{slug(JOB)}" in prefect.artifacts(run), 60)
        assert live.run_page is not None
        page.goto(live.run_page)
        # No click: state, shards by name, and the run's log with the sum of it all.
        page.get_by_text("Running", exact=True).first.wait_for()
        page.get_by_text("reef-broken take 1: quarantined, nan").first.wait_for()
        page.get_by_text("70 %: 6 of 10 committed, 1 quarantined").first.wait_for()
        page.screenshot(path=screenshots / "run.png")
        # One click: progress, cost and the failing shot, on the cards of the Artifacts tab.
        page.get_by_role("tab", name="Artifacts").click()
        for text in ("70 %: 6 of 10 committed", "cost 13.5 GPU s, 13.50 EUR", "reef-broken take 1 (nan)"):
            page.get_by_text(text).first.wait_for()
        page.screenshot(path=screenshots / "artifacts.png")
        # From there, by its key and its version, the report: a chart, pictures, and the failure as text, not as markup.
        page.get_by_role("link", name=f"job-{slug(JOB)}").first.click()
        report = prefect.artifacts(run)[f"job-{slug(JOB)}"]
        page.get_by_role("link", name=report["id"][:8]).first.click()
        page.get_by_role("heading", name=f"{JOB}: running").wait_for()
        page.get_by_text("latents are not finite | at step <3>").wait_for()
        page.locator("svg[id^=mermaid]").first.wait_for()
        pictures = page.locator("img[src^='data:image/jpeg']")
        assert pictures.count() == 6
        assert pictures.first.evaluate("image => image.naturalWidth") == 96
        page.set_viewport_size({"width": 1400, "height": 2600})
        page.screenshot(path=screenshots / "report.png")
    # The end: the name of the state says that something failed, and the failing shard is red in the timeline.
    page.set_viewport_size({"width": 1400, "height": 1000})
    page.goto(live.run_page)
    page.get_by_text("CompletedWithFailures").first.wait_for()
    page.get_by_role("tab", name="Task Runs").click()
    page.get_by_text("001: reef .. tide (4)").first.wait_for()
    page.get_by_text("Quarantined", exact=True).first.wait_for()
    page.screenshot(path=screenshots / "end.png")
    page.close()
