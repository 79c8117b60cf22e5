"""The commit protocol under arbitrary interleavings: several committers, lost requests and replies, crashes, garbage
collection in between, and commits that somebody has spoilt. The real code runs, over a store in memory.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import shutil
import tempfile
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from infra.store import jobs, layout
from infra.store.commits import parse, window_s
from infra.store.errors import CommitUnreadable
from infra.store.gc import collect
from infra.store.verify import audit
from tests.infra.model_store import Committer, Memory, ModelStore, Outcome

KEYS = [hashlib.sha256(name.encode()).hexdigest() for name in ("one", "two")]
MOST_COMMITTERS = 5


class CommitProtocol(RuleBasedStateMachine):
    """Two takes, a few films that gangs may have made of them, and whoever wants to commit one."""

    @initialize()
    def begin(self) -> None:
        self.memory = Memory()
        self.store = ModelStore(self.memory)
        self.committers: list[Committer] = []
        self.first: dict[str, bytes] = {}  # the first readable commit that was seen of each take
        rows = {"show": ["default"] * 2, "shot_id": ["s0", "s1"], "revision": ["0011aabb"] * 2, "take": [1, 1]}
        jobs.put_plan(self.store, "job", pa.table({**rows, "spec_key": KEYS}))

    def living(self) -> list[Committer]:
        return [committer for committer in self.committers if not committer.ended]

    @rule(take=st.integers(0, 1), film=st.integers(0, 1), epoch=st.integers(1, 3))
    @precondition(lambda self: len(self.living()) < MOST_COMMITTERS)
    def finish_a_take(self, take: int, film: int, epoch: int) -> None:
        number = len(self.committers)
        record: dict[str, Any] = {
            "spec_key": KEYS[take],
            "picture_key": KEYS[take],
            "show": "default",
            "shot_id": f"s{take}",
            "revision": "0011aabb",
            "take": 1,
            "seed": 7,
            "media": {"width": 64, "height": 48, "frames": 17, "fps": 8.0},
            "gang": 1,
            "layout": "",
            "attempt": 1,
            "gpu_s": 2.0,
            "epoch": epoch,
            "owner": f"process-{number}",
            "tools": {},
        }
        self.committers.append(Committer(self.memory, record, _films()[film]))

    @rule(
        which=st.integers(0, MOST_COMMITTERS - 1),
        outcomes=st.lists(st.sampled_from([Outcome.DONE, *Outcome]), min_size=1, max_size=3),
    )
    @precondition(lambda self: self.living())
    def requests(self, which: int, outcomes: list[Outcome]) -> None:
        living = self.living()
        committer = living[which % len(living)]
        for outcome in outcomes:
            if not committer.ended:
                committer.step(outcome)
                self.a_take_is_committed_once_and_with_its_film()

    @rule(take=st.integers(0, 1), data=st.sampled_from([b"", b"{", b'{"format": 1}', b"\xff"]))
    def a_commit_is_there_that_nobody_can_read(self, take: int, data: bytes) -> None:
        path = layout.commit_path(KEYS[take])
        if path not in self.memory.objects:
            self.memory.write(path, data)

    @rule(seconds=st.sampled_from([0.0, 40.0, 80.0, 400.0]))
    def garbage_is_collected(self, seconds: float) -> None:
        """After some time. The window says that no process stands between its film and its commit for as long as that,
        unless it is dead."""
        self.memory.pass_time(seconds)
        limit = self.memory.clock - timedelta(seconds=window_s(self.store.options))
        for committer in self.living():
            put = [
                found.modified for found in self.memory.list(layout.MEDIA) if committer.record["shot_id"] in found.path
            ]
            if any(modified <= limit for modified in put):
                committer.step(Outcome.CRASH_BEFORE)
        collect(self.store)

    @invariant()
    def a_take_is_committed_once_and_with_its_film(self) -> None:
        for key in KEYS if hasattr(self, "memory") else ():
            found = self.memory.objects.get(layout.commit_path(key))
            commit = _readable(key, found[0]) if found else None
            if key in self.first:
                assert found is not None and found[0] == self.first[key], "a commit has changed, or is gone"
            if commit is None or found is None:
                continue
            self.first.setdefault(key, found[0])
            media = self.memory.objects.get(commit["media"]["path"])
            assert media is not None, "a commit whose film is not there"
            assert hashlib.sha256(media[0]).hexdigest() == commit["media"]["sha256"]
            assert len(media[0]) == commit["media"]["bytes"]

    @invariant()
    def everyone_is_told_what_stands(self) -> None:
        winners: dict[str, int] = {}
        for committer in getattr(self, "committers", ()):
            assert committer.error is None, repr(committer.error)
            if committer.result is None:
                continue
            key = committer.record["spec_key"]
            assert committer.result.commit == json.loads(self.first[key])
            ours = committer.result.commit["owner"] == committer.record["owner"]
            assert committer.result.outcome == ("committed" if ours else "adopted")
            assert committer.result.duplicate_gpu_s == (0.0 if ours else 2.0)
            winners[key] = winners.get(key, 0) + ours
        assert all(number <= 1 for number in winners.values()), "two were told that the commit is theirs"

    def teardown(self) -> None:
        if not hasattr(self, "memory"):
            return
        for committer in self.living():
            while not committer.ended:
                committer.step(Outcome.DONE)
            assert committer.result is not None, "a network that works again, and no commit"
        self.a_take_is_committed_once_and_with_its_film()
        self.everyone_is_told_what_stands()
        collect(self.store, older_than_s=-1)
        found = audit(self.store, strict=True)
        assert {fault.kind for fault in found.faults} <= {"commit-unreadable", "commit-key"}
        assert found.commits == len(self.first)


@cache
def _films() -> list[Path]:
    """What gangs have made of a take: two may well make the very same film, or different ones."""
    folder = Path(tempfile.mkdtemp(prefix="rushes-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    films = [folder / f"{number}.mp4" for number in range(2)]
    for film in films:
        film.write_bytes(film.name.encode())
    return films


def _readable(key: str, data: bytes) -> dict[str, Any] | None:
    try:
        return parse(key, data)
    except CommitUnreadable:
        return None


CommitProtocol.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestCommitProtocol = CommitProtocol.TestCase
