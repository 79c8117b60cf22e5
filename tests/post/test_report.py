"""What a job came to: the arithmetic, the trace over time, what is used, and the verb on a store."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flows.artifacts import report_markdown
from flows.costs import Rate, TakeResult, estimates_of, job_costs
from flows.job_view import JobView
from flows.manifest import make_manifest
from flows.result_picture import HEIGHT, WIDTH, result_png
from flows.results import page_result, results
from flows.trace import MOST_SAMPLES, RunTrace, Sample, Trace, decode, read_trace
from infra.store import layout
from infra.store.additions import add
from infra.store.commits import read_commits
from tests.flows.command_samples import commit, json_model, plan_into, quarantine, run, write_catalog

COUNTS = {"total": 6, "committed": 4, "rendered": 3, "cached": 1, "quarantined": 1, "skipped": 1, "pending": 0}


def take(number: int, gpu_s: float, shot: str = "a", **more: Any) -> TakeResult:
    return TakeResult("default", shot, number, f"key-{shot}-{number}", **{"seconds": 2.0, "gpu_s": gpu_s, **more})


TAKES = [
    take(1, 10.0, verdict="retry", reasons=("black", "frozen"), keep=2, retries={"nan": 1, "gang_lost": 1}),
    take(2, 20.0, verdict="pass", keep=2),
    take(1, 30.0, "b", verdict="escalate", reasons=("levels",)),
    take(2, 40.0, "b", cached=True, seconds=4.0),
]


def test_every_figure_follows_from_the_commits() -> None:
    costs = job_costs(
        TAKES, counts=COUNTS, failed=5.0, duplicate=3.0, quarantines=["input", "nan", "input"],
        used={"key-a-2": 2.0, "key-elsewhere-1": 9.0}, used_by="people", rate=Rate(3.6, "EUR"),
    )  # fmt: skip
    assert (costs.rendered, costs.cached, costs.commits_gpu_s) == (60.0, 40.0, 100.0)
    assert (costs.spent, costs.all_in, costs.delivered_s, costs.used_s) == (68.0, 108.0, 10.0, 2.0)
    assert (costs.per_delivered_s, costs.per_used_s) == (10.8, 54.0)
    assert (costs.keep_rate, costs.cached_share) == (0.25, 0.25)
    assert costs.pass_rate == pytest.approx(1 / 3)
    assert costs.retries == {"black": 1, "frozen": 1} and costs.attempts == {"gang_lost": 1, "nan": 1}
    assert costs.quarantines == {"input": 2, "nan": 1}
    assert costs.verdicts == {"escalate": 1, "pass": 1, "retry": 1, "unknown": 1}
    assert costs.escalated == [{"show": "default", "shot_id": "b", "take": 1, "reasons": ["levels"]}]
    assert costs.short == [{"show": "default", "shot_id": "a", "passed": 1, "keep": 2, "committed": 2}]
    told = costs.as_dict()
    assert told["money"]["all"] == 0.108 and told["money"]["per_used_s"] == 0.054
    assert told["commits"] == {"count": 4, "gpu_s": 100.0}
    json.dumps(told, allow_nan=False)


def test_nothing_divided_by_nothing_is_nothing() -> None:
    costs = job_costs([], counts={"total": 0})
    assert (costs.per_delivered_s, costs.per_used_s, costs.keep_rate, costs.pass_rate) == (None, None, None, None)
    assert costs.as_dict()["money"] is None and costs.wall_s is None
    result_png(costs)


def test_a_shot_that_still_has_takes_to_come_is_not_short() -> None:
    assert job_costs(TAKES, counts=COUNTS, open_shots=frozenset({("default", "a")})).short == []


takes = st.lists(
    st.builds(
        lambda n, gpu_s, film, cached, verdict: take(n, gpu_s, f"s{n}", seconds=film, cached=cached, verdict=verdict),
        st.integers(0, 10**6), st.floats(0, 1e5), st.floats(0, 1e3), st.booleans(),
        st.sampled_from(["pass", "retry", "escalate", None]),
    ), max_size=12, unique_by=lambda t: t.spec_key,
)  # fmt: skip


@given(takes, st.floats(0, 1e4), st.floats(0, 1e4), st.data())
def test_seconds_are_counted_once(listed: list[TakeResult], failed: float, duplicate: float, data: Any) -> None:
    used = {t.spec_key: t.seconds for t in listed if data.draw(st.booleans())}
    costs = job_costs(listed, counts={}, failed=failed, duplicate=duplicate, used=used, used_by="people")
    assert costs.rendered + costs.cached == pytest.approx(costs.commits_gpu_s)
    assert costs.all_in == pytest.approx(sum(t.gpu_s for t in listed) + failed + duplicate)
    assert sum(costs.verdicts.values()) == costs.commits == len(listed)
    assert costs.used_s <= costs.delivered_s + 1e-6
    if costs.per_used_s is not None and costs.per_delivered_s is not None:
        assert costs.per_used_s >= costs.per_delivered_s * (1 - 1e-9)  # what is not used has cost, too


def status(settled: int, eta: float | None, total: int = 10) -> dict[str, Any]:
    return {"takes": {"total": total, "committed": settled}, "gpu_s": {"rendered": 2.0 * settled}, "eta_s": eta}


def test_estimates_are_held_against_what_was() -> None:
    trace = Trace(3, [RunTrace(2, "2026-01-01T00:00:00+00:00", wall_s=5.0, exit=130)])
    trace.hear(0.1, {"takes": {}})  # nothing is loaded yet
    for second in range(10):
        trace.hear(float(second), status(second, None if second == 0 else 2.0 * (10 - second)))
    trace.end(10.0, 0)
    runs = decode(trace.encode())
    assert [(run.epoch, run.wall_s, run.exit) for run in runs] == [(2, 5.0, 130), (3, 10.0, 0)]
    said = estimates_of(runs[-1])
    assert [(e.at_s, e.eta_s, e.truth_s) for e in said[:2]] == [(1.0, 18.0, 9.0), (2.0, 16.0, 8.0)]
    costs = job_costs(TAKES, counts=COUNTS, runs=runs)
    assert (costs.wall_s, costs.runs, costs.eta_error) == (15.0, 2, pytest.approx(1.0))
    cut_off = job_costs(TAKES, counts=COUNTS, runs=runs[:1])
    assert cut_off.eta_error is None


@given(st.lists(st.floats(0.0, 5.0), max_size=600))
def test_a_long_run_is_sampled_more_thinly(steps: list[float]) -> None:
    trace, now = Trace(1), 0.0
    for step in steps:
        now += step
        trace.hear(now, status(1, 1.0))
    (found,) = decode(trace.encode())
    times = [sample.at_s for sample in found.samples]
    assert len(times) <= MOST_SAMPLES and times == sorted(times)
    assert not times or times[0] <= round(steps[0], 2)  # the beginning is never thinned away


NO_TRACES = [
    b"", b"[]", b'{"format": 2, "runs": []}', b'{"format": 1, "runs": [{"epoch": 1}]}',
    b'{"format": 1, "runs": [{"epoch": 1, "started": "", "wall_s": NaN, "samples": []}]}',
]  # fmt: skip


@pytest.mark.parametrize("data", NO_TRACES)
def test_a_trace_that_cannot_be_read_is_none(data: bytes, tmp_path: Path, planned: Any) -> None:
    planned.store.write(layout.trace_path(planned.job_id), data)
    assert read_trace(planned.store, planned.job_id) == []


def test_the_picture_opens_and_the_page_shows_it() -> None:
    sample = Sample(1.0, 1, 4, 6.0, 2.0)
    runs = [RunTrace(1, "2026-01-01T00:00:00+00:00", 8.0, 0, [sample, Sample(4.0, 2, 4, 3.0, 4.0)])]
    costs = job_costs(TAKES, counts=COUNTS, quarantines=["nan"], runs=runs, rate=Rate(2.0))
    png = result_png(costs)
    assert png == result_png(costs) and len(png) < 40_000
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.size == (WIDTH, HEIGHT)
    view = JobView("job", "file:///store", "done", COUNTS, {}, result=page_result(costs))
    page = report_markdown(view)
    assert "## Result" in page and "data:image/png;base64," in page and "People should look at" in page
    assert "1 of 2 wanted takes passed" in page
    assert "## Result" not in report_markdown(JobView("job", "file:///store", "running", COUNTS, {}))


@pytest.fixture
def planned(tmp_path: Path) -> Any:
    rows = [
        {"shot_id": "a", "prompt": "a", "takes": 2, "task": "t2v"},
        {"shot_id": "b", "prompt": "b", "takes": 1, "task": "still"},
    ]
    return plan_into(tmp_path / "out", write_catalog(tmp_path / "c.parquet", rows), json_model(tmp_path / "model"))


def test_the_verb_tells_what_is_used_and_by_whose_word(planned: Any, tmp_path: Path, capsys: Any) -> None:
    a1, a2, b = planned.plan.takes.to_pylist()
    quality = {"score": 1.0, "rank": 1.0, "verdict": "pass", "reasons": [], "measures": {}}
    commit(planned, a1, tmp_path, gpu_s=4.0, attempt=3, notes={"quality": quality, "retries": {"gang_lost": 2}})
    commit(planned, b, tmp_path, gpu_s=1.0)
    quarantine(planned.store, planned.job_id, a2)

    def told(*words: object) -> dict[str, Any]:
        ran = run(capsys, "report", tmp_path / "out", "--json", *words)
        assert ran.code == 0
        return dict(ran.json)

    seconds = a1["frames"] / a1["fps"]
    found = told("--picture", tmp_path / "r.png")
    assert found["exit"] == 0
    assert found["seconds"] == {"delivered": pytest.approx(seconds, abs=1e-4), "used": 0.0}
    assert found["used"] == {"by": "nobody", "takes": 0} and found["keep_rate"] is None
    assert found["gpu_s"]["rendered"] == sum(c.commit["gpu_s"] for c in read_commits(planned.store) if c.commit) == 5.0
    assert found["attempts"] == {"gang_lost": 2} and found["quarantines"] == {"input": 1}
    assert found["gpu_s"]["failed"] == 0.5 and (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")

    part = {"spec_key": a1["spec_key"], "source_in": 2, "source_out": 10, "fps": 8.0}
    planned.store.write(f"{layout.CUTS}/trailer/cut.json", json.dumps({"parts": [part, {"spec_key": None}]}).encode())
    planned.store.write(f"{layout.CUTS}/broken/cut.json", b"{")
    found = told()
    assert (found["used"], found["seconds"]["used"]) == ({"by": "cut", "takes": 1}, 1.0)
    assert found["gpu_s"]["per_used_s"] == found["gpu_s"]["all"] == 5.5

    chosen = {"take": 1, "revision": a1["revision"], "spec_key": a1["spec_key"]}
    decision = {"format": 1, "show": "default", "shot_id": "a", "state": "approved", "selected": chosen, "takes": {}}
    planned.store.write(layout.decision_path("default", "a"), json.dumps(decision).encode())
    found = told()
    assert found["used"] == {"by": "people", "takes": 1} and found["keep_rate"] == 0.5
    words = run(capsys, "report", tmp_path / "out").out
    assert "selected by people; keep rate 50 %" in words and "per used second" in words


def test_a_take_that_is_added_while_a_job_is_told_of_does_not_count_yet(planned: Any, tmp_path: Path) -> None:
    a1 = planned.plan.takes.to_pylist()[0]
    commit(planned, a1, tmp_path, gpu_s=4.0)
    manifest = make_manifest(planned.store, planned.job_id)
    add(planned.store, planned.job_id, lambda takes: pa.Table.from_pylist([a1 | {"take": 3}], schema=takes.schema))
    costs = results(planned.store, planned.job_id, manifest, counts=COUNTS, failed=0, duplicate=0, quarantines=[])
    assert (costs.commits, costs.rendered) == (1, 4.0)


def test_what_cannot_be_told_or_drawn_is_said(tmp_path: Path, planned: Any, capsys: Any) -> None:
    assert run(capsys, "report", tmp_path / "nowhere").code == 2
    assert run(capsys, "report", tmp_path / "out", "--job", "other").code == 2
    ran = run(capsys, "report", tmp_path / "out", "--picture", tmp_path / "no" / "folder.png")
    assert ran.code == 2 and "cannot be written" in ran.err
