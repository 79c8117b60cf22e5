"""Which take of each shot goes on."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from infra.store import Store, jobs, layout, open_store, selection
from infra.store.commits import publish
from infra.store.decisions import Decision, TakeName, give_verdict, read_decision
from infra.store.errors import NotFound
from infra.store.selection import Selection, choose
from tests.infra.conftest import RecordOf


class Shots:
    """A store with committed takes, and a job over them."""

    def __init__(self, store: Store, film: Path, record_of: RecordOf) -> None:
        self.store, self._film, self._record_of = store, film, record_of
        self.rows: list[dict[str, Any]] = []

    def commit(self, shot: str, take: int, score: float | None = None, **more: Any) -> TakeName:
        notes = {} if score is None else {"notes": {"quality": {"score": score}}}
        commit = publish(self.store, local=self._film, record=self._record_of(shot, take, **{**notes, **more})).commit
        return TakeName.of(commit)

    def plan(self, *takes: tuple[str, int, str | None], job_id: str = "job", revision: str = "0011aabb") -> None:
        rows = [
            {"show": "default", "shot_id": shot, "revision": revision, "take": take, "spec_key": key}
            for shot, take, key in takes
        ]
        jobs.put_plan(self.store, job_id, pa.Table.from_pylist(rows))


@pytest.fixture
def shots(tmp_path: Path, film: Path, record_of: RecordOf) -> Shots:
    return Shots(open_store(tmp_path / "store"), film, record_of)


def told(selection: Selection) -> dict[str, tuple[int, str] | str]:
    chosen = {one.shot_id: (int(one.commit["take"]), one.by) for one in selection.chosen}
    return {**chosen, **{one.shot_id: one.why for one in selection.missing}}


def test_people_before_the_rule_and_the_rule_by_quality(shots: Shots) -> None:
    b1, b2, b3 = (shots.commit("b", n, score) for n, score in ((1, 0.2), (2, 0.9), (3, 0.5)))
    a1, a2 = shots.commit("a", 1), shots.commit("a", 2)
    names = [("b", take.take, take.spec_key) for take in (b1, b2, b3)]
    shots.plan(*names, ("c", 1, "c" * 64), *[("a", t.take, t.spec_key) for t in (a1, a2)])
    found = choose(shots.store, job_id="job")
    assert [one.shot_id for one in found.chosen] == ["b", "a"], "in the order of the plan"
    assert told(found) == {"b": (2, "rule"), "a": (1, "rule"), "c": "no take of it is finished"}
    give_verdict(shots.store, b2, "rejected", who="Ida")
    assert told(choose(shots.store, job_id="job"))["b"] == (3, "rule"), "a rejected take never counts"
    give_verdict(shots.store, b1, "approved", who="Ida")
    assert told(choose(shots.store, job_id="job"))["b"] == (1, "people")
    by_hand = told(choose(shots.store, job_id="job", best=False))
    assert by_hand == {"b": (1, "people"), "a": "nobody has chosen a take of it", "c": "no take of it is finished"}
    assert told(choose(shots.store, job_id="job", show="other")) == {}


def test_takes_that_fail_their_measures_come_last(shots: Shots) -> None:
    shots.commit("a", 1, notes={"quality": {"verdict": "retry", "rank": 9.0}})
    shots.commit("a", 2, notes={"quality": {"verdict": "pass", "rank": 0.1}})
    assert told(choose(shots.store)) == {"a": (2, "rule")}


def test_all_turned_down_and_gone_and_unreadable(shots: Shots) -> None:
    for number in (1, 2):
        give_verdict(shots.store, shots.commit("a", number), "rejected" if number == 1 else "retake", who="Ida")
    gone = shots.commit("b", 1)
    shots.commit("b", 2)
    give_verdict(shots.store, gone, "approved", who="Ida")
    shots.store.delete(layout.commit_path(gone.spec_key))
    shots.commit("c", 1)
    shots.store.write(layout.decision_path("default", "c"), b"?")
    found = told(choose(shots.store))
    assert found["a"] == "people turned down all 2 takes of it"
    assert found["b"] == "take 1 is selected, and it is not in the store", "nothing else is put in its place"
    assert "cannot be read" in str(found["c"])


def test_a_choice_of_another_revision_or_model_is_left_to_the_rule_in_a_job(shots: Shots) -> None:
    old = shots.commit("a", 1, times={"started": "x"})
    new = shots.commit("a", 2, revision="99999999", spec_key="9" * 64)
    give_verdict(shots.store, old, "approved", who="Ida")
    shots.plan(("a", 2, new.spec_key), revision="99999999")
    assert told(choose(shots.store, job_id="job")) == {"a": (2, "rule")}
    assert told(choose(shots.store)) == {"a": (1, "people")}, "of the store as a whole, people's word holds"


def test_only_decisions_about_the_shots_that_are_meant_are_read(shots: Shots, monkeypatch: pytest.MonkeyPatch) -> None:
    made = shots.commit("a", 1)
    shots.plan(("a", 1, made.spec_key))
    for take in (made, shots.commit("b", 1)):
        give_verdict(shots.store, take, "approved", who="Ida")
    threads: dict[str, str] = {}

    def read(store: Store, show: str, shot_id: str) -> Decision:
        threads[shot_id] = threading.current_thread().name
        return read_decision(store, show, shot_id)

    monkeypatch.setattr(selection, "read_decision", read)
    assert told(choose(shots.store, job_id="job")) == {"a": (1, "people")}
    assert list(threads) == ["a"] and threads["a"] != threading.current_thread().name


def test_keys_that_the_plan_left_open_come_from_the_manifest(shots: Shots) -> None:
    made = shots.commit("a", 1)
    shots.plan(("a", 1, None))
    assert told(choose(shots.store, job_id="job")) == {"a": "no take of it is finished"}
    row = {"show": "default", "shot_id": "a", "revision": "0011aabb", "take": 1, "spec_key": made.spec_key}
    jobs.write_manifest(shots.store, "job", pa.Table.from_pylist([row]))
    assert told(choose(shots.store, job_id="job")) == {"a": (1, "rule")}
    with pytest.raises(NotFound):
        choose(shots.store, job_id="none")
