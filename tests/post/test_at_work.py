"""Takes that are being rendered now: what the lease's note tells of them, and how the board shows it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from flows.at_work import MOST, at_work, noted
from flows.planned import Planned
from flows.review.server import make_app
from infra.settings import Settings
from infra.store.jobs import read_manifest
from infra.store.lease import Lease
from tests.flows.command_samples import run
from tests.post.review_store import make_takes, review_store, rows


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    made = review_store(tmp_path, rows(3, 2))
    make_takes(made, made.plan.takes.slice(0, 4).to_pylist())
    return made


def told(planned: Planned) -> Any:
    """What a page that is opened now is told."""
    with TestClient(make_app(planned.store, Settings(), first=["job"]), base_url="http://127.0.0.1:8321") as client:
        return client.get("/api/jobs/job").json()


def test_takes_that_are_being_rendered_are_told_while_their_job_lives(planned: Planned, capsys: Any) -> None:
    working = planned.plan.takes.slice(4, 1).to_pylist()[0]
    done = planned.plan.takes.slice(0, 1).to_pylist()[0]
    lease = Lease.acquire(planned.store, "job")
    assert isinstance(lease, Lease)
    names = [
        {name: row[name] for name in ("show", "shot_id", "take")} | {"stage": "denoise"} for row in (working, done)
    ]
    lease.renew(note=noted({"running": names}))

    def states() -> dict[str, str]:
        return {take["spec_key"]: take["state"] for shot in told(planned)["shots"] for take in shot["takes"]}

    before = told(planned)["counts"]["takes"]
    assert (states()[working["spec_key"]], states()[done["spec_key"]]) == ("running", "committed")
    assert (before["running"], sum(before.values())) == (1, planned.plan.takes.num_rows)
    assert run(capsys, "review", planned.store.url, "--job", "job", "--export").code == 0
    row = read_manifest(planned.store, "job").slice(4, 1).to_pylist()[0]
    assert (row["spec_key"], row["state"]) == (working["spec_key"], "running"), "a board that only shows tells it, too"
    lease.release("failed", 4)
    assert states()[working["spec_key"]] == "pending", "its owner is gone"


def test_a_note_of_takes_at_work_is_short_and_read_with_care() -> None:
    many = [{"show": "s", "shot_id": f"{number:04d}", "take": 1} for number in range(MOST + 9)]
    assert len(noted({"running": many})["at_work"]) == MOST
    assert noted({}) == {"at_work": []}
    told = SimpleNamespace(note={"at_work": [["s", "a", 1], ["s", 2, 1], "s", None, ["s", "b", "1"], {"s": 1}]})
    assert at_work(told, live=True) == {("s", "a", 1)}
    assert at_work(told, live=False) == at_work(None, live=True) == frozenset()
    odd = SimpleNamespace(note={"at_work": 7})
    assert at_work(odd, live=True) == frozenset()
