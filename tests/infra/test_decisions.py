"""Decisions about takes: nobody's word is lost, and who was too late is told."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from infra.store import Store, layout, open_store
from infra.store.decisions import (
    Conflict,
    Decision,
    Selected,
    TakeName,
    decided,
    give_verdict,
    read_decision,
    selected_take,
)
from infra.store.errors import Damaged


def take(number: int, shot: str = "a") -> TakeName:
    return TakeName("default", shot, number, "0011aabb", f"{number:064x}")


def test_a_verdict_says_who_when_and_why(store: Store) -> None:
    assert read_decision(store, "default", "a") == Decision("default", "a")
    give_verdict(store, take(1), "rejected", who="Ida", note="it flickers")
    made = give_verdict(store, take(2), "approved", who="Noor")
    standing = json.loads(store.read(layout.decision_path("default", "a")))
    assert standing == made.as_dict() == read_decision(store, "default", "a").as_dict()
    assert (standing["format"], standing["state"], standing["who"]) == (1, "approved", "Noor")
    assert {"take": 2, "revision": "0011aabb", "spec_key": take(2).spec_key}.items() <= standing["selected"].items()
    said = standing["takes"][take(1).spec_key]
    assert (said["verdict"], said["note"], said["who"]) == ("rejected", "it flickers", "Ida")
    assert said["when"].endswith("+00:00")
    assert [one["who"] for one in standing["history"]] == ["Ida", "Noor"]
    assert decided(store) == {("default", "a")}
    assert selected_take(store, "default", "a") == Selected(2, "0011aabb", take(2).spec_key, 2)


@pytest.mark.parametrize(
    ("verdicts", "state", "selected"),
    [
        ([(1, "rejected")], "wip", None),
        ([(1, "approved")], "approved", 1),
        ([(1, "approved"), (2, "approved")], "approved", 2),
        ([(1, "approved"), (1, "rejected")], "wip", None),
        ([(1, "retake")], "retake", None),
        ([(1, "retake"), (2, "rejected")], "wip", None),
        ([(1, "approved"), (1, "retake")], "retake", None),
        ([(1, "approved"), (2, "rejected")], "approved", 1),
        ([(1, "approved"), (1, None)], "todo", None),
    ],
)
def test_states(tmp_path: Any, verdicts: list[tuple[int, Any]], state: str, selected: int | None) -> None:
    store = open_store(tmp_path)
    for number, verdict in verdicts:
        decision = give_verdict(store, take(number), verdict, who="Ida")
    assert decision.state == read_decision(store, "default", "a").state == state
    assert (decision.selected.take if decision.selected else None) == selected
    assert len(decision.retakes) == sum(verdict == "retake" for _, verdict in verdicts)


def test_who_comes_too_late_is_told_and_nothing_is_lost(store: Store) -> None:
    seen = give_verdict(store, take(3), "rejected", who="Ida").seq
    give_verdict(store, take(1), "approved", who="Ida", seen=seen)
    with pytest.raises(Conflict, match="Ida has approved take 1 of a meanwhile") as told:
        give_verdict(store, take(1), "rejected", who="Noor", seen=seen)
    assert told.value.standing is not None and told.value.standing.verdict(take(1).spec_key) == "approved"
    with pytest.raises(Conflict, match="Ida has chosen take 1 of a meanwhile"):
        give_verdict(store, take(2), "approved", who="Noor", seen=seen)
    merged = give_verdict(store, take(2), "rejected", who="Noor", seen=seen)  # says nothing against Ida's
    assert {said["verdict"] for said in merged.takes.values()} == {"approved", "rejected"}
    assert merged.selected is not None and merged.selected.take == 1
    changed = give_verdict(store, take(1), "rejected", who="Noor", seen=merged.seq)  # has seen it now
    assert changed.selected is None
    store.delete(layout.decision_path("default", "a"))
    with pytest.raises(Conflict, match="removed"):
        give_verdict(store, take(1), "rejected", who="Noor", seen=changed.seq)


def test_who_chose_is_told_even_where_others_decided_later(store: Store) -> None:
    chosen = give_verdict(store, take(1), "approved", who="Ida")
    later = give_verdict(store, take(2), "rejected", who="Noor")
    assert (later.who, later.by) == ("Noor", ("Ida", chosen.when))
    with pytest.raises(Conflict, match="Ida has chosen take 1"):
        give_verdict(store, take(3), "approved", who="Sam", seen=0)
    assert give_verdict(store, take(1), None, who="Noor").by[0] == "Noor", "none is chosen any more"
    assert Decision("default", "a", selected=Selected(2), who="Ida", when="now").by == ("Ida", "now")


def test_many_people_at_once_all_have_their_say(store: Store) -> None:
    together = threading.Barrier(8)

    def say(number: int) -> None:
        together.wait()
        give_verdict(store, take(number), "rejected", who=f"reviewer {number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(say, range(1, 9)))
    decision = read_decision(store, "default", "a")
    assert sorted(said["take"] for said in decision.takes.values()) == list(range(1, 9))
    assert decision.seq == len(decision.history) == 8


def test_of_two_who_saw_the_same_one_wins(store: Store) -> None:
    together = threading.Barrier(2)

    def say(who: str) -> str:
        together.wait()
        try:
            give_verdict(store, take(1), "approved" if who == "Ida" else "rejected", who=who, seen=0)
        except Conflict:
            return "told"
        return who

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(say, ("Ida", "Noor")))
    assert outcomes.count("told") == 1
    winner = next(who for who in outcomes if who != "told")
    assert read_decision(store, "default", "a").takes[take(1).spec_key]["who"] == winner


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{", b'{"selected": "x"}', b'{"selected": {}}', b'{"takes": [1]}', b'{"format": 2}',
        b'{"seq": "x"}', b'{"takes": {"k": {"verdict": "rejected", "seq": "x"}}}',
        b'{"selected": 1, "takes": {"k": {"verdict": "approved", "take": [1]}}}', b'{"retakes": [{"count": "many"}]}',
    ],
)  # fmt: skip
def test_what_is_no_decision_is_neither_believed_nor_overwritten(tmp_path: Any, data: bytes) -> None:
    store = open_store(tmp_path)
    store.write(layout.decision_path("default", "a"), data)
    assert selected_take(store, "default", "a") is None
    with pytest.raises(Damaged):
        give_verdict(store, take(1), "approved", who="Ida")
    assert store.read(layout.decision_path("default", "a")) == data


def test_a_decision_by_hand_may_be_short(tmp_path: Any) -> None:
    store = open_store(tmp_path)
    store.write(layout.decision_path("default", "a"), b'{"selected": 2}')
    assert selected_take(store, "default", "a") == Selected(2)
    kept = give_verdict(store, take(1), "rejected", who="Ida", seen=0)
    assert kept.selected == Selected(2)
    with pytest.raises(ValueError, match="whose"):
        give_verdict(store, take(1), "rejected", who=" ")
