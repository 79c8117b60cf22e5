"""The report on a run's page, as text."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from PIL import Image

from flows.artifacts import (
    MOST_POSTER_BYTES,
    MOST_SHARDS_IN_CHART,
    cost_line,
    failure_rows,
    failures_line,
    progress_line,
    report_markdown,
    slug,
)
from flows.job_view import MOST_FAILURES, Failure, JobView, Price
from flows.live import LiveJob, Outcome
from flows.markdown import cell, code, link, md
from flows.page import REQUESTS_PER_S, Pace, shard_pace
from flows.report import ExitCode
from flows.shards import Shard, shards_of

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
VIEW = JobView(
    job_id="demo-0123456789ab",
    store="file:///srv/out",
    state="running",
    takes={"total": 40, "committed": 29, "quarantined": 1, "running": 2, "pending": 10},
    gpu_s={"rendered": 1800.0, "failed": 30.5, "duplicate": 0.0, "cached": 7200.0},
    shards=[Shard("000: a .. h (8)", 8, done=8), Shard("001: i .. p (8)", 8, done=3, running=1, failed=1)],
    failures=[Failure("dunes take 1", "nan", "latents are not finite at step 3", attempts=2, replay="rushes retry x")],
    failures_total=1,
    running=["sea take 1 · step 3 of 20"],
    posters=[("sea take 1", b"jpeg")],
    board="https://farm.example/board.html",
    price=Price(2.0, "EUR"),
    eta_s=65.0,
    started=START,
    updated=START + timedelta(seconds=125),
)


def test_report_says_how_far_what_it_cost_and_what_failed() -> None:
    text = report_markdown(VIEW)
    assert "**75 %** · 29 of 40 takes committed · **1 quarantined** · 2 running · 10 pending" in text
    assert "running for 2 min 05 s · about 1 min 05 s left" in text
    assert "| rendered | 1,800.0 | 1.00 EUR |" in text
    assert "| **spent** | **1,830.5** | **1.02 EUR** |" in text, "what the cache saved was not spent"
    assert "| dunes take 1 | nan | latents are not finite at step 3 | 2 | `rushes retry x` |" in text
    assert "[Board: all takes, films, logs](https://farm.example/board.html)" in text
    assert '["001: i .. p (8)<br/>3 of 8, 1 quarantined"]:::running' in text
    assert "![sea take 1](data:image/jpeg;base64,anBlZw==)" in text


def test_report_of_a_job_without_price_failures_or_pictures_has_no_empty_parts() -> None:
    text = report_markdown(
        replace(VIEW, price=Price(), failures=[], failures_total=0, posters=[], running=[], shards=[], board=None)
    )
    assert "EUR" not in text
    assert "money" not in text
    assert "## Failures\n\nNone." in text
    assert "Pictures" not in text
    assert "mermaid" not in text
    assert "Board" not in text
    assert "Rendering now" not in text


def test_lines_for_the_cards_begin_with_what_matters() -> None:
    assert progress_line(VIEW).startswith("75 %: 29 of 40 committed, 1 quarantined")
    assert cost_line(VIEW).startswith("cost 1,830.5 GPU s, 1.02 EUR")
    failures = [Failure(f"s{i} take 1", "nan", "") for i in range(5)]
    assert failures_line(failures, 700) == "s0 take 1 (nan), s1 take 1 (nan), s2 take 1 (nan) and 697 more"


@pytest.mark.parametrize(
    "hostile",
    [
        "a | b",
        "x\n| y |",
        "<script>alert(1)</script>",
        "![x](http://evil/)",
        "[x](javascript:alert(1))",
        "`code`",
        "**b**",
    ],
)
def test_text_from_strangers_stays_text(hostile: str) -> None:
    failure = Failure(hostile, "internal", hostile, replay=hostile)
    row = next(line for line in report_markdown(replace(VIEW, failures=[failure])).splitlines() if "internal" in line)
    assert "<script" not in row.replace(cell(hostile), "")
    assert "\n" not in row
    unescaped = row.replace(r"\|", "").replace(cell(hostile), "")
    assert unescaped.count("|") == 6, "a cell never opens another one"
    assert not set("[]*`|<>") & set(re.sub(r"\\.", "", md(hostile)))


def test_links_only_where_a_browser_may_follow_them() -> None:
    assert link("Board", "https://x/y") == "[Board](https://x/y)"
    for url in ("file:///srv/board.html", "s3://bucket/board.html", "javascript:alert(1)", "https://x/)[y"):
        assert link("Board", url) == f"Board: {code(url)}"


def test_slugs_are_keys_that_prefect_takes_and_stay_apart() -> None:
    names = ["demo-0123456789ab", "Demo-0123456789ab", "demo.0123456789ab", "demo_0123456789ab", "a--b"]
    slugs = [slug(name) for name in names]
    assert slugs[0] == names[0]
    assert len(set(slugs)) == len(names)
    assert all(set(s) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for s in slugs)


def test_large_jobs_stay_small_on_the_page() -> None:
    failures = [Failure(f"shot-{i} take 1", "nan", "x" * 5000) for i in range(2 * MOST_FAILURES)]
    shards = [Shard(f"{i:04d}: a .. b (256)", 256, done=256) for i in range(4000)]
    shards[3999] = Shard("3999: last .. last (256)", 256, done=255, failed=1)
    posters = [(f"p{i}", b"x" * 50_000) for i in range(30)]
    text = report_markdown(replace(VIEW, failures=failures, failures_total=1000, shards=shards, posters=posters))
    assert len(text) < 2 * MOST_POSTER_BYTES + 60_000
    assert text.count(":::") == MOST_SHARDS_IN_CHART
    assert "3999: last" in text, "of many shards those with failures are shown"
    rows = failure_rows(failures)
    assert len(rows) == MOST_FAILURES
    assert len(json.dumps(rows)) < 500_000


def test_shards_with_something_left_are_named_by_their_shots() -> None:
    takes = pa.table(
        {
            "show": ["default"] * 5,
            "shot_id": ["a", "b", "c", "d", "e"],
            "take": [1, 1, 1, 1, 1],
            "shard": [0, 0, 0, 1, 2],
            "cached": [False, False, True, True, False],
        }
    )
    shards = shards_of(takes, frozenset({("default", "b", 1)}))
    assert shards == {
        0: Shard("000: a .. c (3)", 3, done=1, failed=1, before=2),
        2: Shard("002: e (1)", 1),
    }
    assert [shard.state for shard in shards.values()] == ["waiting", "waiting"]


def test_a_live_job_keeps_what_its_page_needs_and_no_more() -> None:
    live = LiveJob("j", "file:///s", run=1, shards={0: Shard("000: a (2)", 2)})
    event = {"kind": "committed", "show": "default", "shot_id": "a", "take": 1, "media": "shots/x.mp4"}
    live.add_events([event] * 6000)
    seen, total = live.events(0)
    assert total == 6000
    assert len(seen) == 5000
    assert live.events(total) == ([], total)
    live.add_events([{**event, "kind": "quarantined", "error_class": "nan", "message": "m"}])
    assert [f.what for f in live.view().failures] == ["a take 1"]
    live.update(
        {"takes": {"total": 2, "committed": 1, "quarantined": 1}, "shards": [{"shard": 0, "done": 1, "failed": 1}]}
    )
    assert live.shards()[0].state == "failed"
    assert live.view().percent == 100.0
    live.finish(Outcome(ExitCode.FAULTS, "finished", "m"))
    live.finish(Outcome(ExitCode.FAULT, "failed", "too late"))
    assert live.outcome is not None and live.outcome.exit == ExitCode.FAULTS, "the first outcome counts"


def test_pictures_are_bounded_and_the_newest_stay() -> None:
    live = LiveJob("j", "file:///s", run=1, shards={})
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "JPEG")
    for i in range(40):
        live.add_picture(f"p{i}", picture.getvalue())
    labels = [label for label, _ in live.view().posters]
    assert len(labels) == 24
    assert labels[-1] == "p39"


def test_a_pace_counts_by_its_own_clock() -> None:
    now = 0.0
    pace = Pace(5.0, lambda: now)
    assert pace.due()
    assert not pace.due()
    now = 4.9
    assert not pace.due()
    now = 5.0
    assert pace.due()


@pytest.mark.parametrize("active", [1, 10, 64, 1000])
def test_shards_together_stay_below_the_rate(active: int) -> None:
    assert active / shard_pace(active, 5.0) <= REQUESTS_PER_S
