"""A request to stop that outlives its owner, or that stands alone because no signal may be sent."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import flows.tenure
from flows.running import _cancel_requested
from flows.tenure import acquire_or_follow
from flows.verbs.cancel import ask, cancel_path
from flows.verbs.console import Output
from infra.settings import Settings
from infra.store import Store, open_store
from infra.store.lease import Lease, LeaseInfo, Owner

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
