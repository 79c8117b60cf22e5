"""How a dispatcher ends while the store does not take the records of what it has given up. No Ray cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import actors.dispatch.dispatcher
import actors.dispatch.journal
from actors.dispatch.dispatcher import Dispatcher
from actors.errors import ErrorClass
from actors.gangs.rendering import Failure
from actors.scheduling.policy import JobState
from infra.store.errors import StoreUnavailable
from infra.store.jobs import quarantined, record_quarantine
from tests.actors.farm import job, shot

GIVEN_UP = Failure(ErrorClass.INPUT, "InputError", "no picture", "")


def ended(folder: Path, *, stop: tuple[JobState, str] | None = None) -> tuple[Dispatcher, list[str], int]:
    """A dispatcher that gives its only take up and ends; its events then, and how many records are in the store."""
    spec = job(folder, [shot(0)], limits={"stop_s": 0.3})
    dispatcher = Dispatcher(spec, None, 1, 0)

    async def scenario() -> list[str]:
        order = {"id": 0, "show": "default", "shot_id": "s000", "take": 1, "attempt": 1, "shard": 0}
        order |= {"revision": "00000000", "spec_key": "0" * 64, "prompt": "plain", "fps": 8.0, "frames": 5}
        order |= {"width": 32, "height": 32, "task": "t2v", "seed": 1, "steps": 4, "guidance_scale": 3.0}
        dispatcher._journal.quarantine(order, GIVEN_UP, 0.0, lambda: stop is not None)
        if stop is not None:
            dispatcher._scheduler.stop(*stop)
        await dispatcher._end()
        return [event["kind"] for event in await dispatcher.events()]

    kinds = asyncio.run(scenario())
    return dispatcher, kinds, len(quarantined(dispatcher._store, spec.job_id))


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A store that does not take so many records (the number in the list), at a pace for tests."""
    left = [4]

    def record(store: Any, job_id: str, record: Any) -> bool:
        if left[0]:
            left[0] -= 1
            raise StoreUnavailable("503")
        return record_quarantine(store, job_id, record)

    monkeypatch.setattr(actors.dispatch.journal, "record_quarantine", record)
    monkeypatch.setattr(actors.dispatch.journal, "AGAIN_S", 0.1)
    return left


def test_a_job_is_not_over_before_its_records_are_in_the_store(away: list[int], tmp_path: Path) -> None:
    dispatcher, kinds, records = ended(tmp_path)
    assert kinds == ["quarantined", "ended"]
    assert records == 1
    assert dispatcher._scheduler.reason is None


def test_a_job_whose_records_the_store_never_takes_has_failed(
    away: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away[0] = 1000
    monkeypatch.setattr(actors.dispatch.dispatcher, "OUTAGE_S", 0.3)
    dispatcher, _, records = ended(tmp_path)
    assert records == 0
    assert dispatcher._scheduler._stop == "failed"
    assert "did not take 1 quarantine records" in str(dispatcher._scheduler.reason)


def test_a_job_that_was_stopped_does_not_wait_for_them(away: list[int], tmp_path: Path) -> None:
    away[0] = 1000
    _, kinds, records = ended(tmp_path, stop=("stopped", "by a test"))
    assert (kinds[-1], records) == ("ended", 0)
