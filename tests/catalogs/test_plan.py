"""Planning: defaults, the model's grid and limits, takes, what is done, what it costs."""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs import CatalogError, plan, planning, read
from catalogs.buffer import TableBuffer
from catalogs.cost import forward_flops, take_gpu_s
from catalogs.grid import fit_frames, fit_side, tokens
from catalogs.planning import SHARD_SCHEMA, TAKE_SCHEMA


def test_columns_and_defaults(write, facts):
    take = plan(read(write(shot_id=["a"])), facts).takes
    assert take.schema.names == TAKE_SCHEMA.names
    row = take.to_pylist()[0]
    wanted = {
        "row": 0, "show": "default", "shot_id": "a", "take": 1, "task": "t2v", "negative_prompt": "", "width": 64,
        "height": 64, "frames": 17, "fps": 8.0, "render_width": 64, "render_height": 64, "render_frames": 17,
        "steps": 30, "guidance_scale": 3.0, "image_uri": None, "image_sha256": None, "deliver": ["mp4"], "priority": 0,
        "deadline": None, "budget_gpu_s": None, "tokens": 80, "cached": False, "model": "tiny", "takes": 1, "shard": 0,
        "duration_s": None,
    }  # fmt: skip
    assert {name: row[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"width": [62], "height": [66]}, {"width": 62, "height": 66, "render_width": 64, "render_height": 80}),
        ({"width": [16], "height": [512]}, {"width": 16, "render_width": 32, "render_height": 512}),
        ({"duration_s": [2.0]}, {"frames": 16, "render_frames": 17}),
        ({"duration_s": [2.25]}, {"frames": 18, "render_frames": 21}),
        ({"duration_s": [2.0625]}, {"frames": 17, "render_frames": 17}),
        ({"duration_s": [0.01]}, {"frames": 1, "render_frames": 1}),
        ({"duration_s": [2.1], "fps": [5.0]}, {"frames": 11, "render_frames": 13}),
        ({"fps": [16.0]}, {"frames": 34, "render_frames": 37}),
        ({"duration_s": [1.001], "fps": [23.976]}, {"frames": 24, "render_frames": 25}),
        ({"task": ["still"], "duration_s": [5.0]}, {"frames": 1, "render_frames": 1, "tokens": 16}),
    ],
)
def test_the_grid_is_fitted_upwards(asked, wanted, write, facts):
    row = plan(read(write(**asked)), facts).takes.to_pylist()[0]
    assert {name: row[name] for name in wanted} == wanted


@settings(deadline=None)
@given(st.integers(16, 8192), st.integers(1, 5000))
def test_a_fitted_clip_holds_the_film_and_no_more_than_one_step_of_the_grid(side, frames):
    small = {"grid": 16, "min_size": 32, "frame_stride": 4}
    assert fit_side(side, small) % 16 == 0
    assert max(side, 32) <= fit_side(side, small) < max(side, 32) + 16
    assert fit_frames(frames, small) % 4 == 1
    assert frames <= fit_frames(frames, small) < frames + 4


@pytest.mark.parametrize(
    ("width", "height", "frames", "count"), [(832, 480, 81, 32_760), (1280, 720, 81, 75_600), (848, 480, 81, 33_390)]
)
def test_tokens_of_wan(width, height, frames, count, facts):
    assert tokens(width, height, frames, facts) == count


def test_tokens_and_cost_of_wan_agree_with_published_times(facts):
    wan = facts | {"layers": 40, "model_width": 5120, "ffn_dim": 13_824, "gpu_s_per_tflop": 1 / 353}
    assert tokens(1280, 704, 121, facts | {"spatial_stride": 16}) == 27_280
    seconds = take_gpu_s(75_600, 50, 5.0, wan)
    assert math.isclose(seconds, 1837.9, rel_tol=0.02)
    assert take_gpu_s(75_600, 50, 1.0, wan) == seconds / 2
    # Where self-attention takes over, twice the tokens cost nearly four times as much.
    assert 3 < forward_flops(151_200, wan) / forward_flops(75_600, wan) < 4


@pytest.mark.parametrize(
    ("columns", "column", "legal"),
    [
        ({"width": [514]}, "width", "at most 512"),
        ({"height": [8192]}, "height", "at most 512"),
        ({"duration_s": [21.0]}, "duration_s", "161 frames"),
        ({"width": [512], "height": [512], "duration_s": [20.0]}, "width", "tokens"),
        ({"model": ["other"]}, "model", "'tiny'"),
        ({"duration_s": [3600.0], "fps": [20.0]}, "duration_s", "161 frames"),
    ],
)
def test_what_a_model_cannot_do_is_a_refused_row(columns, column, legal, write, facts):
    path = write(**{name: [values[0], None] for name, values in columns.items()})
    planned = plan(read(path), facts)
    assert [(entry.row, entry.column) for entry in planned.refused] == [(0, column)]
    assert legal in planned.refused[0].legal
    assert planned.takes["row"].to_pylist() == [1]


def test_a_task_that_the_model_lacks_is_refused(write, facts):
    path = write(task=["t2v", "still", None, "i2v"], image_uri=[None, None, None, "a.png"])
    planned = plan(read(path), facts | {"tasks": ["i2v"]})
    assert [(entry.row, entry.column, entry.legal) for entry in planned.refused] == [
        (row, "task", "i2v with the model tiny") for row in range(3)
    ]
    assert planned.takes["task"].to_pylist() == ["i2v"]
    assert planned.takes["model"].to_pylist() == ["tiny"]


def test_a_model_may_be_named_by_its_folder(write, facts):
    planned = plan(read(write(model=["tiny", "/models/tiny", None, "default"])), facts)
    assert planned.takes["model"].to_pylist() == ["tiny", "/models/tiny", "tiny", "default"]
    assert len(set(planned.takes["revision"].to_pylist())) == 1


def test_takes_differ_by_seed_only(write, facts):
    takes = plan(read(write(shot_id=["a", "b"], seed=[100, None], takes=[3, 2])), facts).takes
    assert takes["take"].to_pylist() == [1, 2, 3, 1, 2]
    assert takes["row"].to_pylist() == [0, 0, 0, 1, 1]
    assert takes["seed"].to_pylist()[:3] == [100, 101, 102]
    assert len(set(takes["revision"].to_pylist())) == 1
    assert len(set(takes["spec_key"].to_pylist())) == 5


def test_an_edited_prompt_keeps_the_seed_and_is_a_new_revision(write, facts):
    before = plan(read(write(shot_id=["a"], prompt=["one"])), facts).takes.to_pylist()[0]
    after = plan(read(write(shot_id=["a"], prompt=["two"])), facts).takes.to_pylist()[0]
    assert before["seed"] == after["seed"]
    assert before["revision"] != after["revision"]
    assert before["spec_key"] != after["spec_key"]


def test_writing_out_a_default_or_moving_the_catalog_changes_no_key(write, facts, tmp_path):
    path = write(task=["t2v", "i2v"], image_uri=[None, "a.png"])
    digest = {"digest_input": lambda uri: "ab" * 32}
    keys = plan(read(path), facts, **digest).takes["spec_key"]
    spelt = write(
        task=["t2v", "i2v"], image_uri=[None, "./a.png"], width=[64] * 2, fps=[8.0] * 2, duration_s=[2.125] * 2,
        steps=[30] * 2, negative_prompt=[""] * 2, guidance_scale=[3.0] * 2, takes=[1] * 2, priority=[7] * 2,
        deliver=[["mp4"]] * 2, show=["default"] * 2, note=["x", "y"],
    )  # fmt: skip
    assert plan(read(spelt), facts, **digest).takes["spec_key"] == keys
    moved = tmp_path / "elsewhere" / "c.parquet"
    moved.parent.mkdir()
    moved.write_bytes(path.read_bytes())
    assert plan(read(moved), facts, **digest).takes["spec_key"] == keys


def test_what_is_done_is_cached_and_changes_no_plan(write, facts):
    path = write(shot_id=["a", "b", "c"], takes=[2, 1, 1])
    fresh = plan(read(path), facts)
    done = fresh.takes["spec_key"].to_pylist()[1:3]
    again = plan(read(path), facts, done)
    assert again.takes["cached"].to_pylist() == [False, True, True, False]
    assert again.takes.drop_columns("cached") == fresh.takes.drop_columns("cached")
    assert (again.cost.takes, again.cost.cached, again.cost.pending) == (4, 2, 2)
    assert again.cost.gpu_s == fresh.cost.gpu_s == pytest.approx(again.cost.gpu_s_pending + again.cost.gpu_s_cached)
    assert again.cost.film_s == 2 * 2.125
    assert sum(again.shards["pending"].to_pylist()) == 2
    assert plan(read(path), facts, iter(fresh.takes["spec_key"].to_pylist())).cost.pending == 0


def test_precision_enters_the_key(write, facts):
    path = write(shot_id=["a"])
    keys = {
        plan(read(path), facts, precision=each).takes["spec_key"][0].as_py()
        for each in (None, {"transformer": "bfloat16"})
    }
    assert len(keys) == 2


def test_an_input_is_digested_once_and_an_unreadable_one_leaves_its_key_open(write, facts, tmp_path):
    asked = []

    def digest(uri):
        asked.append(uri)
        return None if "none" in uri else "ab" * 32

    path = write(task=["i2v"] * 4 + ["t2v"], image_uri=["a.png", "none.png", "./a.png", "none.png", None])
    planned = plan(read(path, batch_rows=2), facts, digest_input=digest)
    assert asked == [f"file://{tmp_path}/a.png", f"file://{tmp_path}/none.png"]
    assert planned.refused == []
    assert planned.takes["image_sha256"].to_pylist() == ["ab" * 32, None, "ab" * 32, None, None]
    for name in ("spec_key", "picture_key"):
        assert [key is None for key in planned.takes[name].to_pylist()] == [False, True, False, True, False]
    assert planned.cost.pending == 5


def test_the_same_inputs_give_the_same_table_whatever_the_batches(write, facts):
    path = write(
        shot_id=[f"s{i}" for i in range(50)],
        takes=[1 + i % 3 for i in range(50)],
        width=[64 + 32 * (i % 2) for i in range(50)],
    )
    tables = [plan(read(path, batch_rows=rows), facts) for rows in (7, 50, 16_384)]
    assert tables[0].takes.combine_chunks() == tables[1].takes.combine_chunks() == tables[2].takes.combine_chunks()
    assert tables[0].shards == tables[1].shards == tables[2].shards


def test_a_large_plan_lies_in_a_file_that_leaves_nothing_behind(write, facts, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    path = write(shot_id=[f"s{i}" for i in range(500)], note=["x", None] * 250)
    spilt = plan(read(path, batch_rows=100), facts, spill_bytes=1000)
    assert not list(scratch.iterdir())
    kept = plan(read(path), facts)
    assert spilt.takes.combine_chunks() == kept.takes.combine_chunks()
    pq.write_table(spilt.takes, tmp_path / "plan.parquet")
    assert pq.read_table(tmp_path / "plan.parquet") == kept.takes


def test_a_spilling_plan_that_fails_leaves_nothing_behind(write, facts, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    path = write(shot_id=[f"s{i}" for i in range(300)])

    def broken():
        yield from read(path, batch_rows=100)
        raise CatalogError("damaged after row 300")

    with pytest.raises(CatalogError, match="damaged"):
        plan(broken(), facts, spill_bytes=1000)
    assert not list(scratch.iterdir())


def test_no_room_for_the_plan_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    buffer = TableBuffer(pa.schema([("x", pa.int64())]), spill_bytes=0)
    with pytest.raises(CatalogError, match="Set TMPDIR"):
        buffer.append(pa.RecordBatch.from_pydict({"x": [1]}))


def test_more_takes_than_a_job_may_have(write, facts, monkeypatch):
    monkeypatch.setattr(planning, "MAX_TAKES", 25)
    with pytest.raises(CatalogError, match="more than 25 takes"):
        plan(read(write(takes=[10, 10, 10])), facts)


def test_a_shot_of_ten_thousand_takes(write, facts):
    planned = plan(read(write(takes=[10_000, 1, 9_999])), facts)
    assert planned.takes.num_rows == 20_000
    assert planned.takes["take"].to_pylist()[9_999:10_002] == [10_000, 1, 1]
    assert max(planned.shards["takes"].to_pylist()) <= 512


def test_plan_without_batches_or_with_a_bad_shard_size(facts, write):
    with pytest.raises(CatalogError, match="no batches"):
        plan([], facts)
    with pytest.raises(ValueError, match="shard_takes"):
        plan(read(write(shot_id=["a"])), facts, shard_takes=0)
    with pytest.raises(ValueError, match="64 hexadecimal"):
        plan(read(write(shot_id=["a"])), facts, ["nonsense"])


def test_shards_of_a_plan(write, facts):
    path = write(
        shot_id=["small", "wide", "urgent", "long", "small2"],
        width=[64, 96, 64, 64, 64],
        priority=[0, 0, 5, 0, 0],
        duration_s=[2.125, 2.125, 2.125, 10.0, 2.125],
    )
    planned = plan(read(path), facts)
    shards = planned.shards
    assert shards.schema == SHARD_SCHEMA
    assert shards["label"].to_pylist() == ["urgent", "long", "wide", "small, small2"]
    assert shards["priority"].to_pylist() == [5, 0, 0, 0]
    assert shards["takes"].to_pylist() == [1, 1, 1, 2]
    assert planned.takes["shard"].to_pylist() == [3, 2, 0, 1, 3]
    assert sum(shards["cost_gpu_s"].to_pylist()) == pytest.approx(planned.cost.gpu_s)


def test_a_row_may_name_the_model_of_the_job_in_any_spelling(tmp_path, write, facts):
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)
    local = [
        str(folder), f"{folder}/", folder.as_uri(), f"{folder.as_uri()}/", "models/tiny", "./models/x/../tiny/",
        str(tmp_path / "link"), "tiny", "default", None,
    ]  # fmt: skip
    others = [str(tmp_path), "models", "models/tiny2", "s3://models/tiny", "nul\0", "a::b://c"]
    for place in (str(folder), folder.as_uri()):
        planned = plan(read(write(model=[*local, *others])), facts | {"folder": place})
        assert [entry.row for entry in planned.refused] == list(range(len(local), len(local) + len(others)))
        assert {entry.column for entry in planned.refused} == {"model"}
    for place in ("s3://models/tiny", "hub://models/tiny"):
        planned = plan(read(write(model=[place, f"{place}/", f"{place}2"])), facts | {"folder": place})
        assert [entry.row for entry in planned.refused] == [2]
