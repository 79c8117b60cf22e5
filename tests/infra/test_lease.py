"""Who runs a job: one at a time, taken over when its owner is gone, by a rising epoch."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from infra.store import Store, layout, open_store
from infra.store.errors import Damaged, LeaseLost, StoreUnavailable
from infra.store.lease import Lease, LeaseHeld, Owner, host_id, owner_is_gone, read_lease
from tests.servers.faultproxy import FaultProxy, Rule


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def elsewhere(name: str = "other") -> Owner:
    """An owner on another host, whose pid means nothing here."""
    return Owner(host=f"{name}/id", host_name=name, pid=os.getpid(), start_time=0.0, token=name)


def take(store: Store, *args: object, **kwargs: object) -> Lease:
    got = Lease.acquire(store, "job", *args, **kwargs)
    assert isinstance(got, Lease)
    return got


def held(store: Store, *args: object, **kwargs: object) -> LeaseHeld:
    got = Lease.acquire(store, "job", *args, **kwargs)
    assert isinstance(got, LeaseHeld)
    return got


def test_the_life_of_a_lease(store: Store) -> None:
    assert read_lease(store, "job") is None
    lease = take(store, note={"run": "flow-run-1"})
    assert lease.epoch == 1
    lease.renew(note={"board": "b"})
    info = read_lease(store, "job")
    assert info is not None
    assert (info.epoch, info.state, info.exit_code, info.final) == (1, "running", None, False)
    assert info.note == {"run": "flow-run-1", "board": "b"}
    assert info.owner.pid == os.getpid()
    assert not owner_is_gone(info)

    follower = held(store)
    assert not follower.owner_is_gone
    lease.release("done", 1)
    ended = follower.refresh()
    assert ended is not None
    assert (ended.final, ended.state, ended.exit_code) == (True, "done", 1)

    assert take(store).epoch == 2
    with pytest.raises(LeaseLost):
        lease.renew()


def test_what_is_to_be_kept_of_a_note_is_in_the_first_write_of_the_next_owner(store: Store) -> None:
    take(store, note={"books": 4, "page": "p", "state": "old"}, keep=["books"]).release("failed", 4)
    lease = take(store, note={"state": "new"}, keep=["books", "state", "nothing"])
    standing = read_lease(store, "job")
    assert standing is not None and (standing.epoch, standing.tag) == (2, lease.info.tag)
    assert standing.note == lease.info.note == {"books": 4, "state": "new"}


def test_of_many_at_once_one_gets_it(store: Store) -> None:
    for epoch in (1, 2):
        with ThreadPoolExecutor(16) as pool:
            got = list(pool.map(lambda i: Lease.acquire(store, "job", elsewhere(f"h{i}")), range(16)))
        leases = [one for one in got if isinstance(one, Lease)]
        assert [lease.epoch for lease in leases] == [epoch]
        leases[0].release("done", 0)


def test_an_owner_that_died_on_this_host_is_gone_at_once(store: Store) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        start = psutil.Process(process.pid).create_time()
        owner = Owner(host_id(), "here", process.pid, start, "token")
        first = take(store, owner)
        assert not held(store).owner_is_gone
        process.kill()
        process.wait()
    second = take(store)
    assert second.epoch == 2
    for call in (first.renew, lambda: first.release("done", 0)):
        with pytest.raises(LeaseLost):
            call()
    second.renew()


def test_a_pid_that_was_given_to_another_process_is_no_sign_of_life(store: Store) -> None:
    me = Owner.this_process()
    take(store, dataclasses.replace(me, start_time=me.start_time - 1000))
    assert take(store).epoch == 2


def test_an_owner_elsewhere_is_gone_when_the_lease_stands_still(store: Store) -> None:
    """Measured by the observer's own clock: the owner's may be wrong by minutes in either direction."""
    owners_clock, clock, monotonic = Clock(), Clock(), Clock()
    owners_clock.now -= 100  # its host is slow
    owner = take(store, elsewhere(), clock=owners_clock)
    watcher = held(store, clock=clock, monotonic=monotonic)
    for _ in range(4):
        monotonic.now += 29
        owner.renew()
        got = Lease.acquire(store, "job", held=watcher, clock=clock, monotonic=monotonic)
        assert got is watcher
    monotonic.now += 29
    assert Lease.acquire(store, "job", held=watcher, clock=clock, monotonic=monotonic) is watcher
    monotonic.now += 2
    assert not watcher.owner_is_gone, "it was not looked at since"
    got = Lease.acquire(store, "job", held=watcher, clock=clock, monotonic=monotonic)
    assert isinstance(got, Lease)
    assert got.epoch == 2
    with pytest.raises(LeaseLost):
        owner.renew()


def test_a_lease_left_long_ago_is_taken_at_once(store: Store) -> None:
    clock = Clock()
    take(store, elsewhere(), clock=clock)
    clock.now += 31
    assert not held(store, clock=clock).owner_is_gone, "clocks may differ by so much"
    clock.now += 200
    assert take(store, clock=clock).epoch == 2


def test_a_stopped_owner_on_this_host_loses_the_lease_too(store: Store) -> None:
    """Its process is there, but it renews nothing."""
    monotonic = Clock()
    take(store)
    watcher = held(store, monotonic=monotonic)
    monotonic.now += 31
    assert isinstance(Lease.acquire(store, "job", held=watcher, monotonic=monotonic), Lease)


def test_a_renewal_whose_reply_was_lost(s3_store: Store, proxied: Store, fault_proxy: FaultProxy) -> None:
    lease = take(proxied)
    fault_proxy.rule = Rule(match=b"PUT /", drop_reply=True, times=1)
    lease.renew()
    assert fault_proxy.hits == 1
    lease.renew()
    info = read_lease(s3_store, "job")
    assert info is not None
    assert info.tag == lease.info.tag


def test_a_renewal_that_arrives_after_it_was_given_up(s3_store: Store, proxied: Store, fault_proxy: FaultProxy) -> None:
    quick = open_store(proxied.url, proxied.options.model_copy(update={"retry_s": 0, "timeout_s": 1}))
    lease = take(quick)
    fault_proxy.rule = Rule(match=b"/lease.json", drop_reply=True)
    with pytest.raises(StoreUnavailable):
        lease.renew()
    assert fault_proxy.hits >= 2
    fault_proxy.clear()
    lease.renew()
    info = read_lease(s3_store, "job")
    assert info is not None
    assert (info.tag, info.epoch) == (lease.info.tag, 1)


def test_a_lease_that_was_deleted_is_lost(store: Store) -> None:
    lease = take(store)
    store.delete(layout.lease_path("job"))
    with pytest.raises(LeaseLost):
        lease.renew()


def test_an_unreadable_lease_says_what_to_do(store: Store) -> None:
    for content in (b"{", b"[]", b"{}", json.dumps({"job_id": "job", "epoch": 1, "state": "odd"}).encode()):
        store.write(layout.lease_path("job"), content)
        with pytest.raises(Damaged, match="delete it"):
            Lease.acquire(store, "job")


@pytest.mark.parametrize(
    ("name", "nonsense"),
    [
        ("renewed", "NaN"),
        ("renewed", "1e999"),
        ("renewed", "-Infinity"),
        ("renewed", "1e15"),
        ("renewed", '"now"'),
        ("lapse_s", "NaN"),
        ("lapse_s", "-1"),
        ("epoch", "Infinity"),
        ("exit_code", '"0"'),
        ("note", '{"gpu_s": {"failed": NaN}}'),
        ("owner", '{"host": "h", "host_name": "h", "pid": NaN, "start_time": 0, "token": "t"}'),
        ("owner", '{"host": "h", "host_name": "h", "pid": 1, "start_time": "then", "token": "t"}'),
        ("owner", '{"host": 1, "host_name": "h", "pid": 1, "start_time": 0, "token": "t"}'),
    ],
)
def test_a_lease_with_nonsense_in_it_is_unreadable_and_nothing_worse(tmp_path: Path, name: str, nonsense: str) -> None:
    """Python reads NaN, which is neither before nor after any time: its owner would never be gone."""
    store = open_store(tmp_path / "store")
    take(store)
    content = json.loads(store.read(layout.lease_path("job"))) | {name: "PLACE"}
    store.write(layout.lease_path("job"), json.dumps(content).replace('"PLACE"', nonsense).encode())
    with pytest.raises(Damaged, match=r"jobs/job/lease\.json cannot be read .* delete it"):
        read_lease(store, "job")


def test_a_lease_nested_without_end_is_unreadable(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    store.write(layout.lease_path("job"), b'{"note": ' + b"[" * 100_000)
    with pytest.raises(Damaged, match="delete it"):
        read_lease(store, "job")


def test_a_released_lease_is_not_running(store: Store) -> None:
    with pytest.raises(ValueError, match="not running"):
        take(store).release("running", 0)
