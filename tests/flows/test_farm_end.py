"""What the end that the farm tells of means for the exit code. No farm: a stub says how the job ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

import actors.client
import flows.farm
from actors.handle import FarmGone
from flows.farm import RenderOptions, render_on_farm
from flows.live import LiveJob
from flows.report import ExitCode
from flows.signals import StopSignals
from flows.verbs.failure import Failure
from infra.settings import Settings


class Farm:
    """One connection, and one job that has ended with these counts and told nothing but that."""

    def __init__(self, takes: Mapping[str, int]) -> None:
        self.takes = {"total": 2, "committed": 0, "cached": 0, "quarantined": 0, "pending": 0, **takes}

    def __enter__(self) -> Farm:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, spec: object) -> Farm:
        return self

    def wait(self, on_status: Callable[[Mapping[str, Any]], None], *_: object, **__: object) -> Mapping[str, Any]:
        status = {"state": "done", "takes": self.takes, "gpu_s": {}, "shards": [], "running": []}
        on_status(status)
        return status

    def events(self, since: int) -> Sequence[Mapping[str, Any]]:
        return []


@pytest.mark.parametrize(
    ("takes", "refused", "exit_code", "state"),
    [
        ({"committed": 2}, (), ExitCode.DONE, "done"),
        ({"committed": 1, "quarantined": 1}, (), ExitCode.FAULTS, "finished"),
        ({"committed": 2}, ("row 3",), ExitCode.FAULTS, "finished"),
    ],
)
def test_the_exit_code_is_that_of_the_counts_also_when_no_event_was_heard(
    takes: Mapping[str, int],
    refused: tuple[str, ...],
    exit_code: ExitCode,
    state: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(actors.client, "connect", lambda *_, **__: Farm(takes))
    monkeypatch.setattr(flows.farm, "_spec", lambda *_: None)
    live = LiveJob("job", "file:///store", run=1, shards={})
    planned = cast(Any, SimpleNamespace(plan=SimpleNamespace(refused=refused)))
    outcome = render_on_farm(
        planned, Settings.load(), RenderOptions(), StopSignals(),
        live=live, tenure=cast(Any, None), on_status=live.update, on_events=live.add_events,
    )  # fmt: skip
    assert (outcome.exit, outcome.state) == (exit_code, state)


@pytest.mark.parametrize(("address", "advice"), [(None, "this machine is less busy"), ("10.0.0.5:6379", "Ray's token")])
def test_who_reaches_no_farm_is_told_of_the_one_that_was_asked_for(
    address: str | None, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> Farm:
        raise FarmGone("no Ray cluster: timed out")

    monkeypatch.setattr(actors.client, "connect", gone)
    settings = Settings.load()
    settings = settings.model_copy(update={"ray": settings.ray.model_copy(update={"address": address})})
    live = LiveJob("job", "file:///store", run=1, shards={})
    with pytest.raises(Failure, match="timed out") as failed:
        render_on_farm(
            cast(Any, None), settings, RenderOptions(), StopSignals(),
            live=live, tenure=cast(Any, None), on_status=live.update, on_events=live.add_events,
        )  # fmt: skip
    assert advice in str(failed.value.hint)
