"""A job with `keep`, from its plan to its report, with a farm that renders nothing: its takes are committed as told."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

import actors.client
from actors.dispatch.orders import Ledger
from actors.job import JobSpec
from actors.scheduling.scheduler import Scheduler
from flows.artifacts import report_markdown
from flows.farm import RenderOptions
from flows.running import Run
from flows.signals import StopSignals
from flows.trace import read_trace
from infra.settings import Settings
from infra.store.commits import read_commit
from infra.store.decisions import TakeName, give_verdict
from infra.store.jobs import read_manifest
from infra.store.keeping import has_passed
from tests.flows.command_samples import commit, json_model, plan_into, run, write_catalog

ROWS = [{"shot_id": "a", "prompt": "a", "takes": 4, "keep": 1}, {"shot_id": "b", "prompt": "b", "takes": 2, "keep": 1}]
VERDICTS = {
    ("a", 1): "retry", ("a", 2): "pass", ("a", 3): "pass", ("a", 4): "retry", ("b", 1): "escalate", ("b", 2): "retry",
}  # fmt: skip


class FarmOfPaper:
    """Stands for the cluster: the true ledger and scheduler, and commits that need no rendering."""

    def __init__(self, planned: Any, folder: Path) -> None:
        self._planned, self._folder = planned, folder

    def __enter__(self) -> FarmOfPaper:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def submit(self, spec: JobSpec) -> FarmOfPaper:
        self._ledger = Ledger.read(self._planned.store, spec)
        self._scheduler = Scheduler(spec.policy())
        self._ledger.settle(self._scheduler)
        for shard in self._ledger.shards_in_order():
            self._scheduler.add(self._ledger.takes_of(shard))
        return self

    def wait(self, on_status: Any, on_events: Any, **_: Any) -> dict[str, Any]:
        while (given := self._scheduler.next("slot", 0.0)) is not None:
            on_status(self._status("running"))
            row = self._ledger.rows.slice(given.take.id, 1).to_pylist()[0]
            reasons = [] if (said := VERDICTS[row["shot_id"], row["take"]]) == "pass" else ["flicker"]
            quality = {"score": 0.5, "rank": 0.5, "verdict": said, "reasons": reasons, "measures": {}}
            commit(self._planned, row, self._folder, gpu_s=2.0, notes={"quality": quality})
            made = read_commit(self._planned.store, row["spec_key"])
            assert made is not None
            self._scheduler.outcomes.rendered(given.take.id, given.attempt, 2.0)
            self._scheduler.outcomes.committed(given.take.id, given.attempt, passed=has_passed(made))
        on_status(last := self._status(self._scheduler.state))
        return last

    def events(self, since: int) -> list[Any]:
        return []

    def _status(self, state: str) -> dict[str, Any]:
        return {
            "state": state, "takes": self._scheduler.counts(), "gpu_s": self._scheduler.accounts.as_dict(),
            "shards": self._scheduler.shards(), "running": [], "eta_s": 3.0, "error": None,
        }  # fmt: skip


@pytest.fixture
def planned(tmp_path: Path) -> Any:
    return plan_into(tmp_path / "out", write_catalog(tmp_path / "c.parquet", ROWS), json_model(tmp_path / "model"))


def test_skipped_takes_are_done_and_all_views_say_so(
    planned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(actors.client, "connect", lambda *_, **__: FarmOfPaper(planned, tmp_path))
    shown: list[Any] = []

    @contextmanager
    def view() -> Any:
        yield lambda live: (shown.append(live), nullcontext())[1]

    with StopSignals() as signals:
        report = Run(planned, Settings(), RenderOptions(), lambda _: None, signals).run(view)
    assert (report.exit, report.takes.committed, report.takes.skipped, report.takes.pending) == (0, 4, 2, 0)
    states = read_manifest(planned.store, planned.job_id)["state"].to_pylist()
    assert states == ["committed", "committed", "skipped", "skipped", "committed", "committed"]

    page = report_markdown(shown[0].view())
    assert "## Result" in page and "2 not needed" in page and "100 %" in page
    assert "default/b: 0 of 1 wanted takes passed" in page and "default/b take 1: flicker" in page
    (trace,) = read_trace(planned.store, planned.job_id)
    assert trace.exit == 0 and trace.samples and trace.samples[0].total == 6

    told = run(capsys, "report", tmp_path / "out", "--json").json
    assert told["gpu_s"]["rendered"] == told["commits"]["gpu_s"] == 8.0
    assert told["verdicts"] == {"retry": 2, "escalate": 1, "pass": 1} and told["retries"] == {"flicker": 2}
    assert [shot["shot_id"] for shot in told["short"]] == ["b"] and told["takes"]["skipped"] == 2

    again = plan_into(tmp_path / "out", tmp_path / "c.parquet", tmp_path / "model")
    assert again.takes().pending == 0, "the same command again has nothing to do"
    status = run(capsys, "status", tmp_path / "out", "--json").json
    assert (status["state"], status["exit"]) == ("done", 0)


def test_after_a_rejection_the_same_job_renders_for_the_shot_again(
    planned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    @contextmanager
    def view() -> Any:
        yield lambda live: nullcontext()

    def ran() -> Any:
        again = plan_into(tmp_path / "out", tmp_path / "c.parquet", tmp_path / "model")
        monkeypatch.setattr(actors.client, "connect", lambda *_, **__: FarmOfPaper(again, tmp_path))
        with StopSignals() as signals:
            return Run(again, Settings(), RenderOptions(), lambda _: None, signals).run(view)

    takes = [TakeName.of(row) for row in planned.plan.takes.to_pylist()]
    assert ran().takes.rendered == 4
    give_verdict(planned.store, takes[1], "rejected", who="Ida")
    assert run(capsys, "status", tmp_path / "out", "--json").json["state"] == "pending"
    report = ran()
    assert (report.exit, report.takes.rendered, report.takes.cached, report.takes.skipped) == (0, 1, 4, 1)
    states = read_manifest(planned.store, planned.job_id)["state"].to_pylist()
    assert states[:4] == ["committed", "committed", "committed", "skipped"], "take 3 passed: 4 is not needed"
    for number in (2, 3):  # the next is turned down too, and the shot's takes are spent
        give_verdict(planned.store, takes[number], "rejected", who="Ida")
        report = ran()
        assert (report.exit, report.takes.rendered, report.takes.pending) == (0, int(number == 2), 0)
    told = run(capsys, "report", tmp_path / "out", "--json").json
    assert {shot["shot_id"]: shot["passed"] for shot in told["short"]} == {"a": 0, "b": 0}
