"""How `rushes render` ends, for every way in which a job can end. The job itself is a stand-in here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.report import STATES, ExitCode, GpuSeconds, JobReport, Takes
from infra.store.errors import PlanDiffers, StoreUnavailable
from tests.flows.command_samples import JSON_KEYS, json_model, run, shots, write_catalog


class Jobs:
    """Stands for `flows.render.run_job`: remembers what it was asked for, and ends as it is told to."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.ending: Callable[[Any], JobReport] = lambda planned: ended(planned, ExitCode.DONE)

    def __call__(self, planned: Any, settings: Any, **options: Any) -> JobReport:
        self.asked = {"planned": planned, "settings": settings, **options}
        options["on_status"]({"takes": {"committed": 1}, "run_page": "http://127.0.0.1:4200/v2/runs/1"})
        return self.ending(planned)


def ended(planned: Any, code: ExitCode, **counts: int) -> JobReport:
    takes = Takes.of(total=planned.plan.takes.num_rows, **{"committed": planned.plan.takes.num_rows, **counts})
    board = f"{planned.store.url}/jobs/{planned.job_id}/board.html"
    error = "the store is gone" if code == ExitCode.FAULT else None
    spent = GpuSeconds(10.0, 2.0, 0.0, 0.0)
    return JobReport(planned.job_id, planned.store.url, STATES[code], code, board, takes, planned.rows(), spent, error)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    found = Jobs()
    monkeypatch.setattr("flows.render.run_job", found)
    monkeypatch.setenv("RAY_AUTH_MODE", os.environ.get("RAY_AUTH_MODE", "token"))  # the command sets it where it is not
    return found


@pytest.fixture
def words(tmp_path: Path) -> list[Any]:
    catalog = write_catalog(tmp_path / "c.parquet", shots(2, takes=2))
    return ["render", catalog, "--out", tmp_path / "out", "--model", json_model(tmp_path / "model")]


@pytest.mark.parametrize("code", [c for c in ExitCode if c != ExitCode.REFUSED])
def test_exit_code_and_result_are_the_jobs(code: ExitCode, jobs: Jobs, words: list[Any], capsys: Any) -> None:
    jobs.ending = lambda planned: ended(planned, code, committed=2, quarantined=1)
    ran = run(capsys, *words, "--json")
    assert ran.code == code
    assert list(ran.json) == JSON_KEYS + (["error"] if code == ExitCode.FAULT else [])
    assert (ran.json["exit"], ran.json["state"]) == (code, STATES[code])
    assert ran.json["takes"]["pending"] == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (lambda: PlanDiffers("another plan"), 2),
        (lambda: StoreUnavailable("no answer"), 2),
        (lambda: _server_error("no Prefect"), 2),
        (lambda: _placement("no node holds it"), 2),
        (lambda: _farm_gone("the pool is lost"), 4),
        (lambda: RuntimeError("a bug"), 4),
        (lambda: KeyboardInterrupt(), 130),
    ],
)
def test_errors_have_their_codes(
    error: Callable[[], BaseException], code: int, jobs: Jobs, words: list[Any], capsys: Any
) -> None:
    def fail(_: Any) -> JobReport:
        raise error()

    jobs.ending = fail
    ran = run(capsys, *words, "--json")
    assert ran.code == code and ran.json["exit"] == code
    assert str(error()) in ran.json["error"] and "Traceback" not in ran.err


def test_people_are_told_where_things_are_and_what_to_do(jobs: Jobs, words: list[Any], capsys: Any) -> None:
    jobs.ending = lambda planned: ended(planned, ExitCode.FAULTS, committed=2, quarantined=1)
    ran = run(capsys, *words)
    for told in (
        "2 of 4 takes committed",
        "/out/shots",
        "board.html",
        "rushes retry",
        "1 take not rendered",
        "2.0 of them",
    ):
        assert told in ran.out, told
    assert "watch it at http://127.0.0.1:4200/v2/runs/1" in ran.err


def test_nothing_to_render_is_said(jobs: Jobs, words: list[Any], capsys: Any) -> None:
    def cached(planned: Any) -> JobReport:
        report = ended(planned, ExitCode.DONE, cached=4)
        return JobReport(report.job_id, report.store, report.state, report.exit, report.board, report.takes)

    jobs.ending = cached
    assert "Nothing to render: 4 of 4 takes" in run(capsys, *words).out


def test_options_reach_the_job(jobs: Jobs, words: list[Any], capsys: Any) -> None:
    more = ["--gang", 4, "--layout", "cfg=2,ulysses=2", "--gangs", 3, "--budget", 12.5, "--address", "10.0.0.5:6379"]
    assert run(capsys, *words, *more, "--job", "night").code == 0
    farm = jobs.asked["settings"].farm
    assert (farm.gang, farm.layout, farm.gangs_max) == (4, "cfg=2,ulysses=2", 3)
    assert jobs.asked["settings"].ray.address == "10.0.0.5:6379"
    assert jobs.asked["budget_gpu_s"] == 12.5 and jobs.asked["planned"].job_id == "night"


def test_quiet_says_nothing_but_the_result(jobs: Jobs, words: list[Any], capsys: Any) -> None:
    assert run(capsys, *words, "--quiet").err == ""


def test_refused_rows_do_not_stop_the_others(jobs: Jobs, tmp_path: Path, capsys: Any) -> None:
    catalog = write_catalog(tmp_path / "c.parquet", [*shots(1), {"shot_id": "../x", "prompt": "up"}])
    model = json_model(tmp_path / "model")
    ran = run(capsys, "render", catalog, "--out", tmp_path / "out", "--model", model, "--json")
    assert jobs.asked["planned"].plan.takes.num_rows == 1
    assert len(ran.json["rows"]["refused"]) == 1 and "1 of 2 rows refused" in ran.err


def test_strict_starts_nothing(jobs: Jobs, tmp_path: Path, capsys: Any) -> None:
    catalog = write_catalog(tmp_path / "c.parquet", [*shots(1), {"shot_id": "../x", "prompt": "up"}])
    model = json_model(tmp_path / "model")
    assert run(capsys, "render", catalog, "--out", tmp_path / "out", "--model", model, "--strict").code == 2
    assert jobs.asked == {} and not (tmp_path / "out").exists()


def _server_error(text: str) -> Exception:
    from flows.server import ServerError

    return ServerError(text)


def _placement(text: str) -> Exception:
    from actors.errors import PlacementImpossible

    return PlacementImpossible(text)


def _farm_gone(text: str) -> Exception:
    from actors.client import FarmGone

    return FarmGone(text)
