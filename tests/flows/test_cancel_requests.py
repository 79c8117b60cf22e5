"""A request to stop that outlives its owner, or that stands alone because no signal may be sent."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

import flows.tenure
from flows.farm import RenderOptions
from flows.running import Run, _cancel_requested, _clear_stale_request
from flows.tenure import acquire_or_follow
from flows.verbs.cancel import ask, cancel_path, cancel_requested, clear_stale_request
from flows.verbs.console import Output
from infra.settings import Settings
from infra.store import Store, open_store
from infra.store.errors import StoreUnavailable
from infra.store.gc import collect
from infra.store.lease import Lease, LeaseInfo, Owner
from tests.flows.command_samples import json_model, plan_into, shots, write_catalog

QUIET = Output(as_json=False, quiet=True, verbose=0)


def owned(store: Store, process: subprocess.Popen[bytes]) -> Lease:
    owner = replace(Owner.this_process(), pid=process.pid, start_time=psutil.Process(process.pid).create_time())
    lease = Lease.acquire(store, "job", owner)
    assert isinstance(lease, Lease)
    return lease


@pytest.mark.parametrize("asked", [True, False])
def test_a_follower_takes_over_unless_its_owner_was_asked_to_stop(
    asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.tenure, "FOLLOW_POLL_S", 0.05)
    store, process = open_store(tmp_path), subprocess.Popen(["sleep", "60"])
    lease = owned(store, process)

    def dies(info: LeaseInfo) -> None:
        if asked:
            ask(store, lease.info, QUIET)  # the signal ends it before it can say anything
        else:
            process.kill()
        process.wait()

    found = acquire_or_follow(
        store, "job", Settings.load().farm, on_follow=dies, stopped=lambda: False,
        cancelled=lambda epoch: _cancel_requested(store, "job", epoch) is not None,
    )  # fmt: skip
    assert (found is None) if asked else (isinstance(found, Lease) and found.epoch == 2)
    again = acquire_or_follow(
        store, "job", Settings.load().farm, on_follow=dies, stopped=lambda: True, cancelled=lambda _: True
    )
    assert isinstance(again, Lease) is asked, "whoever is asked to render later does, and follows nobody"


def test_a_request_of_another_user_stands_in_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    store = open_store(tmp_path)
    lease = Lease.acquire(store, "job")
    assert isinstance(lease, Lease)
    monkeypatch.setattr(os, "kill", refuse)
    ask(store, lease.info, QUIET)
    assert json.loads(store.read(cancel_path("job")))["epoch"] == 1


ODD = [b"", b"stop!", b"[]", b"{}", b'{"epoch": "1"}', b'{"epoch": true}', b'{"epoch": 9}']


@pytest.mark.parametrize("content", ODD)
def test_a_request_that_nobody_can_read_stops_the_run_that_it_finds_and_no_later_one(
    tmp_path: Path, content: bytes
) -> None:
    store = open_store(tmp_path)
    assert not clear_stale_request(store, "job", 1)
    store.write(cancel_path("job"), content)
    assert cancel_requested(store, "job", 1), "whoever runs it now"
    assert clear_stale_request(store, "job", 2)
    assert not cancel_requested(store, "job", 2) and store.stat(cancel_path("job")) is None


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_request_for_an_epoch_stands(tmp_path: Path, epoch: int) -> None:
    store = open_store(tmp_path)
    store.write(cancel_path("job"), json.dumps({"epoch": epoch}).encode())
    assert not clear_stale_request(store, "job", 2)
    assert cancel_requested(store, "job", 2) is (epoch == 2)


def test_a_store_that_refuses_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    store.write(cancel_path("job"), b"")

    def refuse(*_: object) -> bool:
        raise StoreUnavailable("503")

    monkeypatch.setattr(type(store), "delete_unchanged", refuse)
    _clear_stale_request(store, "job", 1)  # logs, and the run goes on
    assert store.stat(cancel_path("job")) is not None


def test_a_run_clears_it_before_it_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = write_catalog(tmp_path / "c.parquet", shots(1))
    planned = plan_into(tmp_path / "out", catalog, json_model(tmp_path / "model"), job="job")
    planned.store.write(cancel_path("job"), b"stop!")
    found: list[str | None] = []

    def own(_: Run, lease: Lease, *__: object) -> None:
        found.append(_cancel_requested(planned.store, "job", lease.epoch))

    monkeypatch.setattr(Run, "_own", own)
    signals: Any = SimpleNamespace(reason=None)
    Run(planned, Settings(), RenderOptions(), lambda _: None, signals).run(lambda: nullcontext(lambda _: nullcontext()))
    assert found == [None]


def test_it_stays_for_a_living_run_unless_it_names_an_earlier_one(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert isinstance(Lease.acquire(store, "job"), Lease)
    for content in (*ODD, b'{"epoch": 1}', b'{"epoch": 1e999}', b"[" * 200_000, b"\xff", b'{"epoch": -1}'):
        store.write(cancel_path("job"), content)
        assert not collect(store, older_than_s=0, dry_run=True).removed, content[:20]
    store.write(cancel_path("job"), b'{"epoch": 0}')
    assert [found.path for found in collect(store, older_than_s=0, dry_run=True).removed] == [cancel_path("job")]
