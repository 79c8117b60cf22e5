"""Chains of shots: who may start from whom, and what is refused once all rows are known."""

from __future__ import annotations

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given, settings

from catalogs import plan, read
from catalogs.keys import spec_fields, spec_key
from catalogs.tasks import TASKS


@pytest.fixture
def able(facts):
    """A model that has every task."""
    return facts | {"tasks": list(TASKS)}


def chain(write, facts, **columns):
    """A catalog of i2v shots that depend on one another as `depends_on` says."""
    count = len(columns["depends_on"])
    task = ["t2v" if name is None else "i2v" for name in columns["depends_on"]]
    path = write(**{"shot_id": [f"s{row}" for row in range(count)], "task": task, **columns})
    return path, plan(read(path), facts)


def why(planned):
    return {entry.row: (entry.column, entry.value, entry.legal) for entry in planned.refused}


def test_a_chain_in_any_order_and_over_batches(write, able):
    path, planned = chain(write, able, depends_on=["s1", "s2", None, "s0", "s2"], takes=[1, 2, 3, 1, 1])
    assert planned.refused == []
    rows = {(row["shot_id"], row["take"]): row for row in planned.takes.to_pylist()}
    assert {name: row["source_shot"] for (name, take), row in rows.items() if take == 1} == {
        "s0": "s1", "s1": "s2", "s2": None, "s3": "s0", "s4": "s2",
    }  # fmt: skip
    assert rows["s1", 2]["source_shot"] == "s2"
    assert {row["source_frame"] for row in rows.values()} == {None}
    for (name, _), row in rows.items():
        assert (row["spec_key"] is None) == (row["picture_key"] is None) == (name != "s2")
        assert not row["cached"]
    in_pieces = plan(read(path, batch_rows=1), able)
    assert in_pieces.takes.equals(planned.takes)


def test_the_key_follows_from_the_source(write, able):
    _, planned = chain(write, able, depends_on=[None, "s0"])
    row = planned.takes.to_pylist()[1]
    keys = {spec_key(spec_fields(row, able, source=source)) for source in ("a" * 64, "b" * 64)}
    assert len(keys) == 2


def test_what_a_shot_depends_on_is_in_its_revision(write, able):
    _, planned = chain(write, able, depends_on=[None, None, "s0", "s1"])
    revisions = [row["revision"] for row in planned.takes.to_pylist()]
    assert revisions[2] != revisions[3]


def test_unknown_itself_refused_and_in_another_show(write, able):
    _, planned = chain(
        write, able,
        depends_on=["nowhere", "s1", "s3", None, "s2", None, "s5", "s8", None],
        width=[64, 64, 64, 63, 64, 64, 64, 64, 4096],
        show=["a", "a", "a", "a", "a", "a", "b", "a", "a"],
    )  # fmt: skip
    found = why(planned)
    assert found[0] == ("depends_on", "nowhere", "a shot_id of this catalog in the show a")
    assert found[1] == ("depends_on", "s1", "the shot_id of another shot of this catalog and show")
    assert found[2] == ("depends_on", "s3", "a shot that is rendered: the row of the one it names is refused")
    assert found[4] == ("depends_on", "s2", "a shot that is rendered: the row of the one it names is refused")
    assert found[6] == ("depends_on", "s5", "a shot_id of this catalog in the show b")
    assert found[7] == (
        "depends_on",
        "s8",
        "a shot that is rendered: the row of the one it names is refused",
    )
    assert set(found) == {0, 1, 2, 3, 4, 6, 7, 8}
    assert [row["shot_id"] for row in planned.takes.to_pylist()] == ["s5"]
    assert planned.rows_total == 9


def test_rings_are_refused_and_what_hangs_on_them(write, able):
    _, planned = chain(
        write, able, depends_on=["s1", "s2", "s0", "s2", "s3", None, "s5", *(f"s{7 + (n + 1) % 9}" for n in range(9))]
    )
    found = why(planned)
    assert set(found) == set(range(16)) - {5, 6}
    assert found[0][2] == "a shot that does not wait for this one: s0 → s1 → s2 → s0"
    assert found[3][2] == "a shot that is rendered: the row of the one it names is refused"
    assert found[4][2] == "a shot that is rendered: the row of the one it names is refused"
    assert found[1][2] is found[0][2], "a ring of a million has one text"
    assert found[7][2] == "a shot that does not wait for this one: s7 → s8 → s9 → s10 → s11 → s12 → … → s7"


def test_costs_and_shards_of_what_is_refused_at_the_end_are_not_counted(write, able):
    path, planned = chain(write, able, depends_on=[None, "s0", "gone"], takes=[2, 3, 5])
    fewer = plan(
        read(write("b.parquet", shot_id=["s0", "s1"], task=["t2v", "i2v"], takes=[2, 3], depends_on=[None, "s0"])), able
    )
    assert planned.cost.takes == fewer.cost.takes == 5
    for name in ("gpu_s", "gpu_s_pending", "tflop", "film_s"):
        assert getattr(planned.cost, name) == pytest.approx(getattr(fewer.cost, name))
    assert planned.shards.equals(fewer.shards)
    assert planned.takes.equals(fewer.takes)
    spilt = plan(read(path, batch_rows=1), able, spill_bytes=0)
    assert spilt.takes.equals(planned.takes)


@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if task.source])
def test_tasks_with_a_source_take_it_from_the_shot_before(write, able, task):
    files = {"last_image_uri": "b.png", "mask_uri": "m.png"}
    needs = {name for either in TASKS[task].needs for name in either}
    columns = {name: [None, file] for name, file in files.items() if name in needs}
    path = write(shot_id=["a", "b"], task=["t2v", task], depends_on=[None, "a"], duration_s=[4.0, 4.0], **columns)
    planned = plan(read(path), able)
    assert planned.refused == []
    row = planned.takes.to_pylist()[1]
    assert (row["source_shot"], row["spec_key"]) == ("a", None)
    both = write("b.parquet", shot_id=["a", "b"], task=["t2v", task], depends_on=[None, "a"], **columns, **{
        TASKS[task].source: [None, "c.png"]
    })  # fmt: skip
    (refused,) = plan(read(both), able).refused
    assert (refused.column, refused.legal) == (
        "depends_on", f"null where {TASKS[task].source} is given: one of them is the source",
    )  # fmt: skip


@pytest.mark.parametrize("task", ["t2v", "still"])
def test_tasks_that_start_from_nothing_depend_on_nobody(write, able, task):
    (refused,) = plan(read(write(shot_id=["a", "b"], task=["t2v", task], depends_on=[None, "a"])), able).refused
    assert (refused.row, refused.column, refused.value) == (1, "depends_on", "a")
    assert "i2v, flf2v, extend" in refused.legal


def test_a_film_cannot_go_on_from_a_still_but_may_begin_with_it(write, able):
    path = write(shot_id=["a", "b", "c"], task=["still", "extend", "i2v"], depends_on=[None, "a", "a"])
    planned = plan(read(path), able)
    assert why(planned) == {1: ("depends_on", "a", "a film for this task; a is a still")}
    assert planned.takes["source_shot"].to_pylist() == [None, "a"]


def test_variants_go_on_from_the_same_variants(write, able):
    kind = pa.struct([("aspect", pa.list_(pa.string())), ("locale", pa.list_(pa.string()))])
    two = {"aspect": ["1:1", "16:9"], "locale": ["de", "fr"]}
    wide = {"aspect": ["16:9"], "locale": None}
    path = write(
        shot_id=["a", "b", "c", "d", "e"], task=["t2v", "i2v", "i2v", "i2v", "i2v"],
        depends_on=[None, "a", "b", "a.1x1.fr", "a"], variants=pa.array([two, two, two, wide, None], kind),
    )  # fmt: skip
    planned = plan(read(path), able)
    rows = {row["shot_id"]: row for row in planned.takes.to_pylist()}
    assert rows["b.1x1.de"]["source_shot"] == "a.1x1.de"
    assert (
        rows["c.16x9.fr"]["source_shot"] == rows["c.16x9.de"]["source_shot"] == "b.16x9.de"
    )  # one picture, one source
    assert rows["d.16x9"]["source_shot"] == "a.1x1.fr"
    assert why(planned) == {4: ("depends_on", "a", "a shot that is rendered: a has variants, name one of them")}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_links_come_to_what_a_walk_along_them_finds(tmp_path_factory, data):
    import pyarrow.parquet as pq

    count = data.draw(st.integers(1, 12))
    names = [f"s{number}" for number in range(count)]
    asks = data.draw(st.lists(st.sampled_from([None, None, *names, "nowhere"]), min_size=count, max_size=count))
    broken = data.draw(st.sets(st.integers(0, count - 1), max_size=2))
    path = tmp_path_factory.mktemp("links") / "catalog.parquet"
    pq.write_table(
        pa.table({
            "shot_id": names, "prompt": ["a cat"] * count, "depends_on": pa.array(asks, pa.string()),
            "task": ["t2v" if name is None else "i2v" for name in asks],
            "width": [63 if number in broken else 64 for number in range(count)],
        }),
        path,
    )  # fmt: skip

    def renders(number: int) -> bool:
        seen: set[int] = set()
        while True:
            if number in broken or number in seen:
                return False
            seen.add(number)
            if asks[number] is None:
                return True
            if asks[number] not in names:
                return False
            number = names.index(asks[number])

    facts = {
        "name": "tiny", "folder": "/m", "digest": "d" * 64, "tasks": list(TASKS), "width": 64, "height": 64,
        "frames": 17, "fps": 8, "steps": 30, "guidance_scale": 3.0, "negative_prompt": "", "grid": 16,
        "frame_stride": 4, "spatial_stride": 8, "patch": [1, 2, 2], "min_size": 32, "max_size": 512,
        "max_frames": 161, "max_tokens": 20_000, "layers": 6, "model_width": 192, "ffn_dim": 768,
        "picture_version": 1, "sampler": "s", "precision": {}, "gpu_s_per_tflop": 20.0,
    }  # fmt: skip
    planned = plan(read(path, batch_rows=data.draw(st.integers(1, 5))), facts)
    wanted = [number for number in range(count) if renders(number)]
    assert [row["row"] for row in planned.takes.to_pylist()] == wanted
    assert planned.takes["source_shot"].to_pylist() == [asks[number] for number in wanted]
    assert [entry.row for entry in planned.refused] == [n for n in range(count) if n not in wanted]
    assert planned.rows_total == count


VARIANTS = pa.struct([(axis, pa.list_(pa.string())) for axis in ("aspect", "locale")])


@pytest.mark.parametrize(("there", "here"), [(["fr"], ["de", "fr"]), (["de"], ["de", "fr"]), (["fr", "de"], ["de"])])
def test_locales_of_one_picture_start_from_one_shot(there, here, write, able):
    asked = [{"aspect": ["16:9"], "locale": names} for names in (there, here)]
    _, planned = chain(write, able, depends_on=[None, "s0"], variants=pa.array(asked, VARIANTS))
    assert planned.refused == []
    rows = [row for row in planned.takes.to_pylist() if row["parent"] == "s1"]
    assert {row["source_shot"] for row in rows} == {f"s0.16x9.{there[0] if there == ['fr'] else 'de'}"}
    assert [row["picture_of"] for row in rows] == [None, "s1.16x9.de"][: len(here)]
    assert rows[0]["cost_gpu_s"] > 0


def test_a_shot_whose_variants_are_all_refused_is_not_called_unknown(write, able):
    asked = pa.array([{"aspect": ["8:1"]}, None], VARIANTS)
    _, planned = chain(write, able, depends_on=[None, "s0"], variants=asked, width=[512, None], height=[512, None])
    assert why(planned)[1] == ("depends_on", "s0", "a shot that is rendered: the row of the one it names is refused")


def test_the_variants_of_another_show_say_nothing_of_a_refused_shot(write, able):
    asked = pa.array([None, None, {"aspect": ["16:9"]}], VARIANTS)
    _, planned = chain(write, able, show=["a", "a", "b"], shot_id=["s0", "s1", "s0"], depends_on=[None, "s0", None],
                       variants=asked, width=[4096, None, None])  # fmt: skip
    assert why(planned)[1] == ("depends_on", "s0", "a shot that is rendered: the row of the one it names is refused")
