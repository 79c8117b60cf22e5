"""A store that is away is waited for before a gang is occupied; what an input's own place does holds up nobody."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from actors.dispatch.preparing import prepare_order
from actors.errors import ErrorClass
from actors.job import InputRules, JobSpec
from infra.store import Store, open_store
from infra.store.errors import StoreUnavailable
from tests.actors.farm import FACTS


class Away(Store):
    """A store that does not answer the first ``times`` reads."""

    def __init__(self, url: str, times: int) -> None:
        super().__init__(url)
        self.times = times

    def read(self, path: str) -> bytes:
        self.times -= 1
        if self.times >= 0:
            raise StoreUnavailable("503")
        return super().read(path)


def spec(folder: Path, **limits: Any) -> JobSpec:
    return JobSpec("job", str(folder / "store"), "/nowhere", FACTS, 1, {"token": "t"}, limits=limits)


def order(**columns: Any) -> dict[str, Any]:
    named = {"show": "default", "shot_id": "a", "take": 1, "task": "t2v", "prompt": "a dog"}
    return {**named, "spec_key": "a" * 64, **columns}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return open_store(tmp_path / "store").url


def test_a_take_waits_for_the_store(tmp_path: Path, url: str) -> None:
    store = Away(url, times=1)
    prepared = prepare_order(store, order(), spec(tmp_path), InputRules(), 0)
    assert (prepared.failure, prepared.commit, store.times < 0) == (None, None, True)


def test_it_does_not_wait_for_ever_nor_for_a_job_that_is_over(tmp_path: Path, url: str) -> None:
    began = time.monotonic()
    for outage_s, ended in [(0.0, bool), (600.0, lambda: True)]:
        prepared = prepare_order(
            Away(url, times=1000), order(), spec(tmp_path), InputRules(), 0, ended=ended, outage_s=outage_s
        )
        assert prepared.failure is not None
        assert prepared.failure.error is ErrorClass.STORE
    assert time.monotonic() - began < 60.0


def test_inputs_are_their_takes_own_matter(tmp_path: Path, url: str) -> None:
    given = order(spec_key=None, task="i2v", image_uri=str(tmp_path / "missing.png"), image_sha256=None)
    rules = InputRules(roots=(str(tmp_path),))
    prepared = prepare_order(Away(url, times=1000), given, spec(tmp_path), rules, 0)
    assert prepared.failure is not None
    assert prepared.failure.error is ErrorClass.INPUT


def test_a_forbidden_prompt_never_reaches_a_gang(tmp_path: Path, url: str) -> None:
    job = spec(tmp_path, moderation="tests.actors.moderator:moderate")
    assert prepare_order(open_store(url), order(), job, InputRules(), 0).failure is None
    failure = prepare_order(open_store(url), order(prompt="a wicked dog"), job, InputRules(), 0).failure
    assert failure is not None
    assert (failure.error, failure.message) == (ErrorClass.POLICY, "the prompt is forbidden: it speaks of wickedness")
