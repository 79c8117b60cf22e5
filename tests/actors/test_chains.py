"""Links between the takes of a plan, and which take of a shot another starts from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from actors.chains.chains import Chains
from actors.chains.found import Found, find_linked
from actors.chains.sources import sources_of
from catalogs import plan as plan_shots
from catalogs import read
from catalogs.keys import spec_fields, spec_key
from infra.store import Store, layout, open_store
from infra.store.commits import publish
from infra.store.selection import rank_of
from tests.actors.farm import FACTS

ROWS = {
    "show": ["a"] * 9,
    "shot_id": ["end", "end", "mid", "mid", "mid", "start", "start.fr", "other", "start"],
    "take": [1, 2, 1, 2, 3, 1, 1, 1, 2],
    "source_shot": ["mid", "mid", "start", "start", "start", None, None, None, None],
    "picture_of": [None, None, None, None, None, None, "start", None, None],
}


def plan(**changes: list) -> pa.Table:
    columns = {**ROWS, **changes}
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def test_takes_come_after_all_takes_of_the_shot_before() -> None:
    chains = Chains(plan())
    assert chains.any
    assert chains.sources(0) == chains.sources(1) == (2, 3, 4)
    assert chains.sources(2) == (5, 8)
    assert chains.sources(5) == chains.sources(6) == chains.sources(7) == ()
    assert chains.original(6) == 5
    assert chains.original(0) is None
    assert [take for take in range(9) if chains.awaited(take)] == [2, 3, 4, 5, 8]
    assert chains.depth().tolist() == [2, 2, 1, 1, 1, 0, 1, 0, 0]
    assert chains.linked() == [2, 3, 4, 6, 0, 1]


def test_what_others_wait_for_is_lent_their_urgency() -> None:
    chains = Chains(plan())
    assert chains.lent(np.array([0, 7, 2, 2, 2, 1, 1, 9, 1])).tolist() == [7, 7, 7, 7, 7, 7, 1, 9, 7]


def test_the_same_name_in_another_show_is_another_shot() -> None:
    chains = Chains(plan(show=["a"] * 5 + ["b"] * 4))
    assert chains.sources(2) == ()
    assert chains.sources(0) == (2, 3, 4)


def test_a_plan_without_links_has_none() -> None:
    for rows in (plan().drop(["source_shot", "picture_of"]), plan(source_shot=[None] * 9, picture_of=[None] * 9)):
        chains = Chains(rows)
        assert (chains.any, chains.linked(), chains.sources(0), chains.original(6)) == (False, [], (), None)
        assert not chains.awaited(5)


def committed(store: Store, folder: Path, take: int, **notes: object) -> str:
    film = folder / f"take-{take}.mp4"
    film.write_bytes(bytes([take]) * 64)
    key = f"{take:064x}"
    record = {
        "spec_key": key, "picture_key": "f" * 64, "show": "a", "shot_id": "mid", "revision": "0a1b2c3d", "take": take,
        "seed": take, "gang": 1, "layout": "single", "attempt": 1, "gpu_s": 1.0, "epoch": 1, "notes": notes,
        "media": {"width": 64, "height": 64, "frames": 17, "fps": 8.0},
    }  # fmt: skip
    publish(store, local=film, record=record)
    return key


def test_selected_then_best_then_first(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    keys = [committed(store, tmp_path, 3), committed(store, tmp_path, 1, quality={"score": 0.4, "measures": {}})]
    keys.append(committed(store, tmp_path, 2, quality={"score": 0.9}))

    def takes() -> list[int]:
        return [source.take for source in sources_of(store, "a", "mid", [*keys, "9" * 64])]

    assert takes() == [2, 1, 3]
    store.write(layout.commit_path(keys[2]), b"no commit")
    assert takes() == [1, 3]
    decision = layout.decision_path("a", "mid")
    for chosen, expected in [
        (b'{"selected": 3}', [3]), (b'{"selected": {"take": 3, "revision": "0a1b2c3d"}}', [3]),
        (b'{"selected": {"take": 3, "revision": "ffffffff"}}', [1, 3]), (b'{"selected": null}', [1, 3]),
        (b'{"selected": {"spec_key": "%s"}}' % keys[0].encode(), [3]), (b'{"selected": 7}', [1, 3]),
        (b'{"selected": "best"}', [1, 3]), (b"[]", [1, 3]), (b"{", [1, 3]), (b"\xff", [1, 3]),
        (b'{"selected": {"take": true}}', [1, 3]),
    ]:  # fmt: skip
        store.write(decision, chosen)
        assert takes() == expected, chosen
    first = sources_of(store, "a", "mid", keys)[0]
    assert (store.digest(first.media).sha256, first.spec_key) == (first.sha256, keys[1])


def test_takes_that_start_from_others_are_found_by_what_they_started_from(tmp_path: Path) -> None:
    catalog = tmp_path / "chain.jsonl"
    rows = [
        {"shot_id": "c", "prompt": "p", "task": "i2v", "depends_on": "b", "variants": {"locale": ["de", "fr"]}},
        {"shot_id": "b", "prompt": "p", "task": "i2v", "depends_on": "a"},
        {"shot_id": "a", "prompt": "p", "takes": 2},
    ]
    catalog.write_text("\n".join(map(json.dumps, rows)))
    takes = plan_shots(read(catalog), FACTS).takes
    names = takes["shot_id"].to_pylist()
    assert names == ["c.de", "c.fr", "b", "a", "a"]
    first, second = takes["spec_key"].to_pylist()[3:]

    def key(take: int, source: str) -> str:
        return spec_key(spec_fields(takes.slice(take, 1).to_pylist()[0], FACTS, source=source))

    store, chains = open_store(tmp_path / "store"), Chains(takes)
    from_second, from_first = key(2, second), key(2, first)

    def found(*committed: str) -> dict[int, Found]:
        standing = {take: name for take, name in ((3, first), (4, second)) if name in committed}
        return find_linked(store, takes, chains, standing, {*committed}.__contains__, FACTS)

    assert found(first, second) == {}
    assert found(first, second, from_second) == {2: Found(from_second, second)}
    assert found(from_second) == {2: Found(from_second, second)}, "what it started from is gone since"
    ends = key(0, from_second), key(1, from_second)
    assert found(first, second, from_second, *ends) == {
        2: Found(from_second, second), 0: Found(ends[0], from_second), 1: Found(ends[1], from_second),
    }  # fmt: skip
    assert set(found(first, second, from_second, ends[1])) == {2}, "a copy without its original is made anew"
    store.write(layout.decision_path("default", "a"), b'{"selected": 1}')
    assert found(first, second, from_second, *ends) == {}, "people want another start"
    assert found(first, second, from_second, from_first) == {2: Found(from_first, first)}


def test_a_score_is_a_number() -> None:
    for notes, score in [(None, None), ({}, None), ({"quality": 0.5}, 0.5), ({"quality": {"score": 1}}, 1.0),
                         ({"quality": {"score": "good"}}, None), ({"quality": {"score": True}}, None)]:  # fmt: skip
        assert rank_of({"notes": notes}) == score
