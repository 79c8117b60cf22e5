"""Who runs a job: `lease.json`, with an epoch that rises at every take-over.

The lease keeps two owners from working for the same job for long; it is not what makes commits safe (that is the
conditional put). Times are judged so that wrong clocks do no harm: an owner on this host is looked up by pid and
start time; any other counts as gone when the lease has stood unchanged for `lapse_s` of the observer's own time, or
when its time stamp is older than that by more than clocks ever differ.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import psutil

from infra.store import layout
from infra.store.conditional import create_or_read, replace_or_read
from infra.store.errors import Changed, Damaged, LeaseLost, NotFound, OutcomeUnknown
from infra.store.store import Store
from infra.store.strict import is_count, read_object

_log = logging.getLogger(__name__)
FORMAT = 1
LAPSE_S = 30.0
_CLOCK_ERROR_S = 120.0  # two hosts' clocks are taken to differ by no more
_START_ERROR_S = 2.0  # psutil derives start times from the boot time, which the kernel may correct by a second

State = Literal["running", "done", "stopped", "failed", "cancelled"]


@dataclass(frozen=True)
class Owner:
    """A process that owns a job: `host` tells machines and containers apart, `token` this very process."""

    host: str
    host_name: str
    pid: int
    start_time: float
    token: str

    @classmethod
    def this_process(cls) -> Owner:
        pid = os.getpid()
        return cls(host_id(), socket.gethostname(), pid, psutil.Process(pid).create_time(), uuid.uuid4().hex)


@dataclass(frozen=True)
class LeaseInfo:
    """What lease.json says."""

    job_id: str
    epoch: int
    owner: Owner
    state: State
    exit_code: int | None  # of a job that has ended
    renewed: float  # seconds since 1970 by the owner's clock
    lapse_s: float
    note: dict[str, Any] = field(default_factory=dict)  # what followers may want to know, such as the Prefect run
    tag: str = ""

    @property
    def final(self) -> bool:
        """Whether the owner has said that it is done with the job, one way or another."""
        return self.state != "running"


class LeaseHeld:
    """Somebody else has the job. `refresh` to follow it; `owner_is_gone` says when it may be taken over."""

    def __init__(
        self, store: Store, info: LeaseInfo, *, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._store, self._clock, self._monotonic = store, clock, monotonic
        self.info = info
        self._first_seen = self._last_seen = monotonic()

    def __repr__(self) -> str:
        return f"LeaseHeld({self.info!r})"

    def refresh(self) -> LeaseInfo | None:
        """Read the lease again; None when it is gone."""
        found = read_lease(self._store, self.info.job_id)
        if found is not None:
            self._last_seen = self._monotonic()
            if found.tag != self.info.tag:
                self._first_seen = self._last_seen
            self.info = found
        return found

    @property
    def owner_is_gone(self) -> bool:
        """As the function of this name, and also once `refresh` has found the lease unchanged for `lapse_s`."""
        unchanged_for = self._last_seen - self._first_seen
        return unchanged_for > self.info.lapse_s or owner_is_gone(self.info, now=self._clock())


class Lease:
    """The right to run a job, until `release`, or until another takes it over (LeaseLost at the next `renew`).

    Use `renew` from one thread, every few seconds.
    """

    def __init__(self, store: Store, info: LeaseInfo, *, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock
        self.info = info

    @property
    def epoch(self) -> int:
        return self.info.epoch

    @classmethod
    def acquire(
        cls,
        store: Store,
        job_id: str,
        owner: Owner | None = None,
        *,
        lapse_s: float = LAPSE_S,
        note: Mapping[str, Any] | None = None,
        keep: Collection[str] = (),
        held: LeaseHeld | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Lease | LeaseHeld:
        """Get the lease of a job: a new one, one that was released, or one whose owner is gone. Else LeaseHeld.

        Of any number of callers at once one gets it. Give back the LeaseHeld of an earlier call as `held`, so that
        the time for which it was watched counts. `keep` names what stays of the note of the lease that is replaced:
        it is there with the same write, so that a death right after it loses nothing.
        """
        mine = owner or Owner.this_process()
        path = layout.lease_path(job_id)
        while True:
            found = held.refresh() if held is not None else read_lease(store, job_id)
            fresh = LeaseInfo(job_id, 1, mine, "running", None, clock(), lapse_s, dict(note or {}))
            if found is None:
                settled = create_or_read(store, path, _encode(fresh))
            else:
                watched = held or LeaseHeld(store, found, clock=clock, monotonic=monotonic)
                if not found.final and not watched.owner_is_gone:
                    return watched
                kept = {name: found.note[name] for name in keep if name in found.note}
                fresh = replace(fresh, epoch=found.epoch + 1, note=kept | fresh.note)
                try:
                    settled = replace_or_read(store, path, _encode(fresh), found.tag)
                except Changed:  # it was deleted meanwhile
                    continue
            if settled.ours:
                _log.info("job %s: lease taken, epoch %d", job_id, fresh.epoch)
                return cls(store, replace(fresh, tag=settled.tag), clock=clock)
            held = None  # another was faster: look again at what it wrote

    def renew(self, *, note: Mapping[str, Any] | None = None) -> None:
        """Say that the owner lives. LeaseLost when another has taken over; StoreUnavailable when nobody can tell."""
        self._put(replace(self.info, renewed=self._clock(), note={**self.info.note, **(note or {})}))

    def release(self, state: State, exit_code: int) -> None:
        """Give the job back, with its final state and exit code for those who follow it. LeaseLost as for `renew`."""
        if state == "running":
            raise ValueError("a released lease is not running")
        self._put(replace(self.info, state=state, exit_code=exit_code, renewed=self._clock()))

    def _put(self, wanted: LeaseInfo) -> None:
        path, tag = layout.lease_path(self.info.job_id), self.info.tag
        for _ in range(3):
            try:
                settled = replace_or_read(self._store, path, _encode(wanted), tag)
            except Changed as error:
                raise LeaseLost(f"{path} is gone") from error
            if settled.ours:
                self.info = replace(wanted, tag=settled.tag)
                return
            standing = _decode(settled.data, settled.tag, self.info.job_id)
            if (standing.owner.token, standing.epoch) != (self.info.owner.token, self.info.epoch):
                raise LeaseLost(f"{path}: taken over by {standing.owner.host_name}, epoch {standing.epoch}")
            tag = settled.tag  # an earlier renewal of ours, whose reply was lost, stands there: go on from it
        raise OutcomeUnknown(f"{path} keeps changing under its own owner")


def read_lease(store: Store, job_id: str) -> LeaseInfo | None:
    """What the lease of a job says, or None where there is none. Damaged for one that cannot be read."""
    try:
        data, tag = store.read_tagged(layout.lease_path(job_id))
    except NotFound:
        return None
    return _decode(data, tag, job_id)


def owner_is_gone(lease: LeaseInfo, *, now: float | None = None) -> bool:
    """Whether a running lease's owner has died, as far as one look can tell.

    On the owner's host: at once when no process has its pid and start time. Elsewhere only when the lease's own time
    stamp has lapsed by more than clocks differ (`LeaseHeld.owner_is_gone` watches, and so needs `lapse_s` only).
    """
    if lease.owner.host == host_id():
        return not process_lives(lease.owner.pid, lease.owner.start_time)
    return (time.time() if now is None else now) - lease.renewed > lease.lapse_s + _CLOCK_ERROR_S


def host_id() -> str:
    """Names this machine since its last boot, and this container on it: pids mean the same wherever it is equal."""
    parts = [socket.gethostname()]
    for file in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        try:
            parts.append(Path(file).read_text().strip())
        except OSError:  # not Linux
            parts.append("")
    try:
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:
        parts.append(str(int(psutil.boot_time())))
    return "/".join(parts)


def process_lives(pid: int, start_time: float) -> bool:
    """Whether this very process runs on this machine: a pid may be used again, and a zombie does nothing any more.

    `start_time` is in seconds since 1970, as psutil tells it.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - start_time) <= _START_ERROR_S
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _encode(lease: LeaseInfo) -> bytes:
    content = asdict(lease)
    del content["tag"]
    content["renewed_at"] = datetime.fromtimestamp(lease.renewed, UTC).isoformat(timespec="milliseconds")
    return json.dumps({"format": FORMAT, **content, "write": uuid.uuid4().hex}, indent=1).encode()


def _decode(data: bytes, tag: str, job_id: str) -> LeaseInfo:
    try:
        content = read_object(data)
        if content["state"] not in get_args(State):
            raise ValueError("unknown state")
        exit_code = content["exit_code"]
        if exit_code is not None and type(exit_code) is not int:
            raise ValueError("exit_code is no number")
        if not is_count(content["epoch"]):
            raise ValueError("epoch is no number from 0 up")
        renewed, lapse_s = _number(content, "renewed"), _number(content, "lapse_s")
        datetime.fromtimestamp(renewed, UTC)  # a time that people can be told
        if lapse_s <= 0:
            raise ValueError("lapse_s is not above 0")
        return LeaseInfo(
            job_id=str(content["job_id"]),
            epoch=content["epoch"],
            owner=_owner(content["owner"]),
            state=content["state"],
            exit_code=exit_code,
            renewed=renewed,
            lapse_s=lapse_s,
            note=dict(content["note"]),
            tag=tag,
        )
    except (ValueError, KeyError, TypeError, OverflowError, OSError) as error:
        path = layout.lease_path(job_id)
        raise Damaged(f"{path} cannot be read ({error}); when no render of {job_id} runs, delete it") from error


def _owner(content: Mapping[str, Any]) -> Owner:
    owner = Owner(**content)
    if type(owner.pid) is not int or not 0 < owner.pid < 2**31:
        raise ValueError("the owner's pid is no process's")
    _number(content, "start_time")
    if not all(isinstance(text, str) for text in (owner.host, owner.host_name, owner.token)):
        raise ValueError("the owner's host or token is no text")
    return owner


def _number(content: Mapping[str, Any], name: str) -> float:
    found = content[name]
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise ValueError(f"{name} is no number")
    return float(found)
