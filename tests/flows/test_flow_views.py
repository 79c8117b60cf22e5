"""The manifest as a view of plan, commits and quarantine, from the store alone."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from catalogs import plan, read
from flows.manifest import count, make_manifest, put_manifest
from flows.outputs import REFRESH_S, SHARE, Outputs
from flows.views import board_takes
from infra.store import Store, layout, open_store
from infra.store.commits import publish
from infra.store.errors import NotFound
from infra.store.jobs import open_round, put_plan, read_manifest, read_plan, record_quarantine, write_manifest
from tests.actors.farm import FACTS

JOB = "views"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with the plan of four takes."""
    opened = open_store(tmp_path / "store")
    catalog = tmp_path / "views.jsonl"
    catalog.write_text("".join(f'{{"shot_id": "s{i}", "prompt": "p{i}", "mood": "m{i}"}}\n' for i in range(4)))
    put_plan(opened, JOB, plan(read(str(catalog)), FACTS).takes)
    return opened


def commit(store: Store, tmp_path: Path, number: int, *, spec_key: str | None = None, **more: Any) -> str:
    """Commit take `number` of the plan with a small file for a film; returns the film's path."""
    row = read_plan(store, JOB).slice(number, 1).to_pylist()[0]
    film = tmp_path / f"{number}.mp4"
    film.write_bytes(f"film {number}".encode())
    names = ("show", "shot_id", "revision", "take", "seed")
    record = {
        **{name: row[name] for name in names},
        "spec_key": spec_key or row["spec_key"],
        "picture_key": "0" * 64,
        "media": {name: row[name] for name in ("width", "height", "frames", "fps")},
        "gang": 1,
        "layout": "single",
        "attempt": 1,
        "gpu_s": 2.5,
        "epoch": 1,
        **more,
    }
    return str(publish(store, local=film, record=record).commit["media"]["path"])


def states(manifest: pa.Table) -> list[str]:
    return list(manifest["state"].to_pylist())


def test_states_come_from_commits_quarantine_and_the_farm(store: Store, tmp_path: Path) -> None:
    media = commit(store, tmp_path, 0)
    record_quarantine(
        store,
        JOB,
        {"show": "default", "shot_id": "s1", "take": 1, "round": 1, "error_class": "nan", "attempt": 2, "gpu_s": 0.5},
    )
    manifest = put_manifest(store, JOB, running=[("default", "s2", 1)])
    assert states(manifest) == ["committed", "quarantined", "running", "pending"]
    rows = manifest.to_pylist()
    assert (rows[0]["media_path"], rows[0]["gpu_s"], rows[0]["bytes"]) == (media, 2.5, 6)
    assert rows[0]["sha256"] == hashlib.sha256(b"film 0").hexdigest()
    assert (rows[1]["error_class"], rows[1]["attempt"], rows[1]["gpu_s"]) == ("nan", 2, 0.5)
    assert [row["mood"] for row in rows] == ["m0", "m1", "m2", "m3"]
    assert read_manifest(store, JOB).equals(manifest)
    counts = count(manifest)
    assert (counts.total, counts.committed, counts.quarantined, counts.running, counts.pending) == (4, 1, 1, 1, 1)
    assert counts.gpu_s == 2.5


def test_a_take_that_was_committed_after_all_is_committed_and_a_new_round_forgets(store: Store, tmp_path: Path) -> None:
    for shot in ("s0", "s1"):
        record_quarantine(store, JOB, {"show": "default", "shot_id": shot, "take": 1, "round": 1})
    commit(store, tmp_path, 0)
    assert states(make_manifest(store, JOB)) == ["committed", "quarantined", "pending", "pending"]
    open_round(store, JOB)
    assert states(make_manifest(store, JOB)) == ["committed", "pending", "pending", "pending"]


def test_an_unreadable_commit_is_not_a_take(store: Store, tmp_path: Path) -> None:
    commit(store, tmp_path, 0)
    key = read_plan(store, JOB)["spec_key"][0].as_py()
    store.write(layout.commit_path(key), b"{")
    assert states(make_manifest(store, JOB))[0] == "pending"


def test_commits_that_the_manifest_knows_are_not_read_again(store: Store, tmp_path: Path) -> None:
    commit(store, tmp_path, 0)
    first = put_manifest(store, JOB)
    key = first["spec_key"][0].as_py()
    path = layout.commit_path(key)
    store.write(path, b"{")  # newer than the manifest, which cannot vouch for it any more
    assert make_manifest(store, JOB)["state"].to_pylist() == ["pending"] * 4
    os.utime(tmp_path / "store" / path, (1.0, 1.0))  # what was read once is not looked at again: a commit never changes
    assert make_manifest(store, JOB).equals(first)
    store.delete(layout.commit_path(key))
    assert states(make_manifest(store, JOB))[0] == "pending", "but a commit that is gone is no take"


def test_keys_that_the_plan_left_open_are_found(store: Store, tmp_path: Path) -> None:
    """An input was out of reach at planning: the farm found the key at dispatch, and the plan will never have it."""
    opened = read_plan(store, JOB)
    keys = [None, None, None, *opened["spec_key"].to_pylist()[3:]]
    index = opened.schema.get_field_index("spec_key")
    other = open_store(tmp_path / "other")
    put_plan(other, JOB, opened.set_column(index, "spec_key", pa.array(keys, pa.string())))
    found = [f"{n:064x}" for n in (1, 2, 3)]
    row = opened.slice(0, 1).to_pylist()[0]
    for number, key in enumerate(found):
        commit(other, tmp_path, number, spec_key=key)
    assert states(make_manifest(other, JOB)) == ["pending"] * 4, "another job may have made them"
    other.write(layout.log_path("default", "s0", row["revision"], 1, JOB, 1, 1), b"log")
    manifest = put_manifest(other, JOB, resolved={("default", "s1", 1): found[1]})
    assert states(manifest) == ["committed", "committed", "pending", "pending"]
    assert manifest["spec_key"].to_pylist()[:3] == [found[0], found[1], None]
    other.delete(layout.log_path("default", "s0", row["revision"], 1, JOB, 1, 1))
    assert states(make_manifest(other, JOB))[:2] == ["committed", "committed"], "the manifest remembers"


def test_prompt_and_what_was_encoded_stand_side_by_side(tmp_path: Path) -> None:
    opened, catalog = open_store(tmp_path / "store"), tmp_path / "views.jsonl"
    rows = [
        '{"shot_id": "a", "prompt": "a cat", "scene": "home", "identity": "tom"}',
        '{"shot_id": "b", "prompt": "a cat", "scene": "home", "camera": "pan left", "variants": {"locale": ["de"]}}',
    ]
    catalog.write_text("\n".join(rows))
    put_plan(opened, JOB, plan(read(str(catalog)), FACTS).takes)
    first, second = make_manifest(opened, JOB).to_pylist()
    assert (first["prompt"], first["encoded_prompt"]) == ("a cat", "a cat")
    assert (second["prompt"], second["encoded_prompt"]) == ("a cat", "a cat, the camera pans left")
    names = ("shot_id", "parent", "variant", "locale", "scene", "camera", "identity")
    assert [second[name] for name in names] == ["b.de", "b", "de", "de", "home", "pan left", "tom"]


def test_a_later_owners_manifest_is_left_alone(store: Store, tmp_path: Path) -> None:
    later = make_manifest(store, JOB)
    write_manifest(store, JOB, later, epoch=5)
    commit(store, tmp_path, 0)
    ours = put_manifest(store, JOB, epoch=4)
    assert states(ours)[0] == "committed"
    assert read_manifest(store, JOB).equals(later)


def test_a_job_without_a_plan_has_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        make_manifest(open_store(tmp_path / "empty"), JOB)


def test_board_and_sheet_of_a_job_with_nothing_done(store: Store) -> None:
    manifest, sheet = Outputs(store, JOB).refresh("running")
    assert sheet is None
    assert states(manifest) == ["pending"] * 4
    assert b"s3" in store.read(layout.board_path(JOB))
    assert store.stat(layout.contact_sheet_path(JOB)) is None


def test_views_that_waited_once_for_the_store_are_not_put_off(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now, waits = [0.0], iter([60.0, 0.5, 60.0, 0.5, 60.0, 60.0])
    monkeypatch.setattr("flows.outputs.time", SimpleNamespace(monotonic=lambda: now[0]))
    put = put_manifest

    def slowly(*args: Any, **more: Any) -> Any:
        now[0] += next(waits)
        return put(*args, **more)

    monkeypatch.setattr("flows.outputs.put_manifest", slowly)
    outputs = Outputs(store, JOB)

    def pause() -> float:
        """Seconds from the end of a refresh until the next one is due."""
        outputs.refresh("running")
        ended = now[0]
        while not outputs.due:
            now[0] += 1.0
        return now[0] - ended

    assert [pause() for _ in range(5)] == [REFRESH_S] * 5, "each that was slow stood alone"
    assert pause() == SHARE * 60.0, "two in a row: it is the making that takes so long"


def test_board_cards_know_where_poster_log_and_replay_are(store: Store, tmp_path: Path) -> None:
    commit(store, tmp_path, 0)
    facts = {"message": "m", "log": "logs/x.log", "replay": "rushes render", "error_class": "nan"}
    record_quarantine(store, JOB, {"show": "default", "shot_id": "s1", "take": 1, "round": 1, **facts})
    manifest = make_manifest(store, JOB)
    cards = list(board_takes(store, JOB, manifest))
    assert cards[0].poster == layout.poster_path(manifest["spec_key"][0].as_py())
    assert cards[0].media == manifest["media_path"][0].as_py()
    assert (cards[1].message, cards[1].log, cards[1].replay, cards[1].error_class) == tuple(facts.values())
    assert [card.state for card in cards] == ["committed", "quarantined", "pending", "pending"]
