"""Rows that break a rule are refused by number, column and value, and cost nothing but themselves."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from catalogs import plan, read

I32, I64, F64, TEXT = pa.int32(), pa.int64(), pa.float64(), pa.string()
NOT_UTF8 = b"caf\xe9"

# column, type, a good value, the bad one, a part of what is said to be legal
BAD: list[tuple[str, pa.DataType, Any, Any, str]] = [
    ("shot_id", TEXT, "fine", "../escape", "letter or digit"),
    ("shot_id", TEXT, "fine", "a/b", "letter or digit"),
    ("shot_id", TEXT, "fine", ".hidden", "letter or digit"),
    ("shot_id", TEXT, "fine", "", "letter or digit"),
    ("shot_id", TEXT, "fine", None, "letter or digit"),
    ("shot_id", TEXT, "fine", "line\n", "letter or digit"),
    ("shot_id", TEXT, "fine", "a b", "letter or digit"),
    ("shot_id", TEXT, "fine", "nul\0", "letter or digit"),
    ("shot_id", TEXT, "fine", "ѕhot", "letter or digit"),  # a Cyrillic letter that looks Latin
    ("shot_id", TEXT, "fine", "shot１", "letter or digit"),  # a full-width digit
    ("shot_id", TEXT, "fine", "shot․1", "letter or digit"),  # a one-dot leader
    ("shot_id", TEXT, "fine", "x" * 129, "letter or digit"),
    ("shot_id", pa.float64(), None, 1.5, "letter or digit"),
    ("shot_id", pa.binary(), b"fine", NOT_UTF8, "letter or digit"),
    ("prompt", TEXT, "fine", None, "1 to 4,000"),
    ("prompt", TEXT, "fine", "", "1 to 4,000"),
    ("prompt", TEXT, "fine", " \t\n\u3000", "1 to 4,000"),
    ("prompt", TEXT, "fine", "x" * 4001, "1 to 4,000"),
    ("prompt", TEXT, "two\n\tlines\r\n", "a red\0 circle", "control characters"),
    ("prompt", TEXT, "caf\u00e9 \U0001f600 \u200d", "\x1b[31mred", "control characters"),
    ("prompt", TEXT, "\u00a0fine", "del\x7fete", "control characters"),
    ("prompt", TEXT, "\u00a1fine", "next\u0085line", "control characters"),
    ("prompt", pa.binary(), b"fine", NOT_UTF8, "UTF-8"),
    ("negative_prompt", TEXT, "fine", "x" * 4001, "4,000"),
    ("camera", TEXT, "low angle", "low\0angle", "control characters"),
    ("variants", TEXT, '{"style": ["clay"]}', '{"style": ["cl\\u0007ay"]}', "control character"),
    ("negative_prompt", TEXT, "", "blur\0", "control characters"),
    ("show", TEXT, "fine", "../x", "letter or digit"),
    ("show", TEXT, None, "show\n", "letter or digit"),
    ("sequence", TEXT, None, "a/b", "letter or digit"),
    ("task", TEXT, "t2v", "T2V", "t2v, still, i2v"),
    ("task", TEXT, "still", "t2x", "t2v, still, i2v"),
    ("task", TEXT, None, "v2i", "flf2v, extend, extend_back"),
    ("task", I64, None, 3, "UTF-8"),
    ("width", I64, 64, 63, "even"),
    ("width", I64, 64, 0, "even"),
    ("width", I64, None, -64, "even"),
    ("width", I64, 64, 10**12, "even"),
    ("width", pa.uint64(), 64, 2**64 - 1, "whole number"),
    ("width", F64, 64.0, 64.5, "whole number"),
    ("width", F64, 64.0, float("nan"), "whole number"),
    ("width", TEXT, "64", "wide", "whole number"),
    ("width", TEXT, "64", "0x40", "whole number"),
    ("width", TEXT, "64.0", "6_4", "whole number"),
    ("width", TEXT, " 64 ", "1e999999999", "whole number"),
    ("width", pa.decimal128(10, 2), Decimal("64.00"), Decimal("64.50"), "whole number"),
    ("width", pa.bool_(), None, True, "whole number"),
    ("width", pa.list_(I64), None, [64], "whole number"),
    ("height", I32, 64, 8194, "even"),
    ("height", I32, 64, 1_000_000_000, "even"),
    ("fps", F64, 8.0, 0.0, "0.001 to 240 frames a second"),
    ("fps", F64, 8.0, 240.5, "240"),
    ("fps", F64, 0.001, 1e-310, "0.001"),
    ("fps", F64, None, float("nan"), "0.001"),
    ("fps", F64, 8.0, float("inf"), "240"),
    ("fps", TEXT, "8", "eight", "a number"),
    ("fps", pa.timestamp("s"), None, dt.datetime(2026, 1, 1), "a number"),
    ("duration_s", F64, 2.0, 0.0, "above 0"),
    ("duration_s", F64, 2.0, -1.0, "above 0"),
    ("duration_s", F64, 2.0, 1e300, "3600"),
    ("duration_s", F64, 2.0, float("-inf"), "above 0"),
    ("duration_s", I64, 2, 3601, "3600"),
    ("seed", pa.uint64(), 7, 2**63, "whole number"),
    ("seed", TEXT, str(2**63 - 1), str(2**63), "whole number"),
    ("seed", F64, -7.0, 7.25, "whole number"),
    ("takes", I32, 1, 0, "1 to 10,000"),
    ("takes", I32, 2, 10_001, "1 to 10,000"),
    ("takes", I64, None, -(2**40), "1 to 10,000"),
    ("steps", I32, 10, 0, "1 to 1,000"),
    ("steps", I32, 10, 1001, "1 to 1,000"),
    ("guidance_scale", F64, 3.0, -0.1, "0 to 100"),
    ("guidance_scale", F64, 3.0, 100.5, "0 to 100"),
    ("guidance_scale", F64, 3.0, float("nan"), "0 to 100"),
    ("image_uri", TEXT, None, "images/a.png", "i2v"),
    ("last_image_uri", TEXT, None, "images/a.png", "null"),
    ("video_uri", TEXT, None, "a.mp4", "null"),
    ("mask_uri", TEXT, None, "a.png", "null"),
    ("depends_on", TEXT, None, "shot-0", "null for this task"),
    ("depends_on", TEXT, None, "../escape", "the shot_id of another shot"),
    ("depends_on", TEXT, None, "shot-1", "another shot"),
    ("depends_on", pa.list_(TEXT), None, ["shot-0"], "letter or digit"),
    ("preset", TEXT, "clip-4s", "clip-5s", "square-512"),
    ("preset", I64, None, 4, "text in UTF-8"),
    ("strength", F64, 0.0, -0.1, "0 to 1"),
    ("strength", F64, 1.0, float("nan"), "0 to 1"),
    ("strength", TEXT, None, "strong", "a number"),
    ("model", TEXT, "tiny", "wan-14b", "'tiny'"),
    ("lora", pa.list_(pa.struct([("uri", TEXT)])), [], [{"uri": "x"}], "not built yet"),
    ("lora", TEXT, None, "x.safetensors", "not built yet"),
    ("variants", pa.struct([("aspect", pa.list_(TEXT))]), {"aspect": []}, {"aspect": ["16/9"]}, "such as 16:9"),
    ("variants", TEXT, '{"style": null}', '{"aspect": ["9:0"]}', "such as 16:9"),
    ("variants", TEXT, "{}", '{"aspect": ["1:9"]}', "from 1:8 to 8:1"),
    ("variants", TEXT, None, '{"aspect": ["1:1", "1:1"]}', "each value once"),
    ("variants", TEXT, None, '{"aspect": "16:9"}', "lists under aspect"),
    ("variants", TEXT, None, '{"size": ["64x64"]}', "lists under aspect"),
    ("variants", TEXT, None, '{"aspect": [null]}', "lists under aspect"),
    ("variants", TEXT, None, "16:9", "lists under aspect"),
    ("variants", I64, None, 4, "lists under aspect"),
    ("variants", TEXT, None, '{"duration_s": [2, 0]}', "above 0"),
    ("variants", TEXT, None, '{"duration_s": [4000]}', "at most 3600"),
    ("variants", TEXT, None, '{"style": ["clay", " "]}', "1 to 200 characters"),
    ("variants", TEXT, None, '{"style": ["clay", "clay!"]}', "tells apart: clay is called clay, clay! is called clay"),
    ("variants", TEXT, None, '{"locale": ["de_DE"]}', "such as de or pt-BR"),
    ("variants", TEXT, '{"locale": ["de"], "style": []}', '{"aspect": ["16:9", "32:18"]}', "each value once"),
    ("variants", TEXT, None, '{"aspect": ["1:3", "0.1:0.3"]}', "each value once"),
    ("variants", TEXT, None, f'{{"duration_s": {list(range(1, 258))}}}', "at most 256"),
    ("scene", pa.list_(TEXT), None, ["a"], "text"),
    ("priority", I64, 5, 2**31, "32 bits"),
    ("priority", F64, -5.0, 1.5, "whole number"),
    ("deadline", TEXT, "2026-12-24T18:00:00+01:00", "soon", "a time in UTC"),
    ("deadline", I64, None, 1_700_000_000, "a time in UTC"),
    ("not_before", pa.timestamp("ms"), dt.datetime(2026, 1, 1), 2**60, "a time in UTC"),
    ("deliver", pa.list_(TEXT), ["mp4"], ["betamax"], "a list of: mp4"),
    ("deliver", pa.list_(TEXT), ["hls", "x-house"], ["x-"], "x-… of yours"),
    ("deliver", pa.list_(TEXT), [], ["mp4", None], "a list of texts"),
    ("deliver", pa.list_(TEXT), None, ["png"], "a list of: mp4"),
    ("deliver", TEXT, '["mp4"]', "mp4", "a list of texts"),
    ("budget_gpu_s", F64, 1.5, 0.0, "above 0"),
    ("budget_gpu_s", F64, None, float("inf"), "above 0"),
    ("budget_gpu_s", F64, None, float("nan"), "above 0"),
    ("tags", I64, None, 5, "a map"),
    ("tags", TEXT, '{"a": "b"}', '["a"]', "a map"),
]  # fmt: skip


def named(case: tuple[str, pa.DataType, Any, Any, str]) -> str:
    return f"{case[0]}-{case[1]}-{ascii(case[3])[:24]}"


@pytest.mark.parametrize("case", BAD, ids=named)
def test_one_bad_row_costs_only_itself(case, write, facts):
    column, kind, good, bad, legal = case
    # shot_id and prompt are required, and a type that holds no good value for them leaves no other row standing.
    values = [good, bad, good] if column != "shot_id" else [good, bad, None if good is None else type(good)()]
    table = {column: pa.array(values, kind)}
    planned = plan(read(write(**table)), facts)
    found = [entry for entry in planned.refused if entry.row == 1]
    assert len(found) == 1
    assert found[0].column == column
    assert legal in found[0].legal
    assert len(found[0].value) <= 200
    assert planned.rows_total == 3
    others = {0, 2} if column != "shot_id" else ({0} if good is not None else set())
    assert set(planned.takes["row"].to_pylist()) == others


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("width", 63, "63"),
        ("prompt", None, "null"),
        ("prompt", "", '""'),
        ("shot_id", "../x", "../x"),
        ("shot_id", "a\n", "a\\n"),
        ("fps", float("nan"), "nan"),
        ("shot_id", "x" * 1000, "x" * 199 + "…"),
        ("image_uri", "s3://key:secret@bucket/a.png", "s3://***@bucket/a.png"),
        ("shot_id", "\x1b[31mred", "\\x1b[31mred"),
    ],
)
def test_the_value_is_shown_as_people_can_read_it(column, value, shown, write):
    columns = {column: [value]} | ({"task": ["i2v"]} if column == "image_uri" else {})
    (refusal,) = next(iter(read(write(**columns)))).refused
    assert (refusal.row, refusal.column, refusal.value) == (0, column, shown)


@pytest.mark.parametrize("column", ["shot_id", "prompt", "width", "fps", "deadline", "deliver", "task"])
@pytest.mark.parametrize(
    "kind", [pa.struct([("x", I64)]), pa.list_(pa.list_(I64)), pa.duration("s"), pa.map_(TEXT, I64)], ids=str
)
def test_a_column_of_a_hopeless_type_refuses_its_rows_and_nothing_else(column, kind, write, facts):
    value = {pa.types.is_struct: {"x": 1}, pa.types.is_list: [[1]], pa.types.is_map: [("a", 1)]}
    cell = next((example for test, example in value.items() if test(kind)), 5)
    planned = plan(read(write(**{column: pa.array([cell, None], kind)})), facts)
    assert [(entry.row, entry.column) for entry in planned.refused][:1] == [(0, column)]
    assert planned.takes["row"].to_pylist() == ([1] if column not in ("shot_id", "prompt") else [])


def test_the_first_broken_rule_is_the_one_that_is_told(write):
    path = write(shot_id=["-"], prompt=[""], width=[63], takes=[0])
    assert [entry.column for entry in next(read(path)).refused] == ["shot_id"]
    path = write(shot_id=["a"], prompt=["p"], takes=[0], width=[63], budget_gpu_s=[-1.0])
    assert [entry.column for entry in next(read(path)).refused] == ["width"]


def test_of_duplicates_the_first_that_can_render_does(write, facts):
    path = write(
        shot_id=["a", "a", "a", "b", "a", "b"],
        show=[None, "default", "other", "other", "default", "other"],
        prompt=["", "second", "third", "fourth", "fifth", "sixth"],
    )
    planned = plan(read(path, batch_rows=2), facts)
    assert planned.takes["prompt"].to_pylist() == ["second", "third", "fourth"]
    assert [(entry.row, entry.column) for entry in planned.refused] == [(0, "prompt"), (4, "shot_id"), (5, "shot_id")]


def test_a_row_that_the_model_cannot_render_takes_no_name(write, facts):
    path = write(
        shot_id=["a", "b", "a", "c", "a", "b"],
        width=[4096, 64, 64, 64, 96, 4096],
        task=["t2v", "t2v", "t2v", "i2v", "t2v", "t2v"],
        depends_on=[None, None, None, "a", None, None],
    )
    for batch_rows in (1, 100):
        planned = plan(read(path, batch_rows=batch_rows), facts)
        assert planned.takes["row"].to_pylist() == [1, 2, 3]
        assert [(entry.row, entry.column) for entry in planned.refused] == [(0, "width"), (4, "shot_id"), (5, "width")]
        assert planned.refused[1].legal == "a shot_id that stands once in a show: an earlier row has it"
        assert planned.rows_total == 6


def test_a_row_that_its_links_refuse_keeps_its_name(write, facts):
    path = write(shot_id=["a", "a"], task=["i2v", "t2v"], depends_on=["nowhere", None])
    planned = plan(read(path), facts)
    assert [(entry.row, entry.column) for entry in planned.refused] == [(0, "depends_on"), (1, "shot_id")]
    assert planned.refused[1].legal.endswith("an earlier row has it")


def test_takes_may_not_carry_a_seed_over_its_end(write, facts):
    path = write(seed=[2**63 - 1, 2**63 - 1, 2**63 - 3], takes=[1, 2, 3])
    planned = plan(read(path), facts)
    assert [(entry.row, entry.column) for entry in planned.refused] == [(1, "takes")]
    assert planned.takes["seed"].to_pylist() == [2**63 - 1, 2**63 - 3, 2**63 - 2, 2**63 - 1]


def test_a_clip_of_too_many_frames_is_told_by_its_duration(write):
    batch = next(read(write(fps=[240.0, 24.0], duration_s=[3600.0, 3600.0], task=["t2v", "t2v"])))
    assert [(entry.row, entry.column) for entry in batch.refused] == [(0, "duration_s")]


def test_i2v_needs_its_image_and_a_still_delivers_a_png(write):
    path = write(task=["i2v", "still", "still"], deliver=pa.array([None, ["png"], ["mp4", "png"]]))
    batch = next(read(path))
    assert [(entry.row, entry.column, entry.value) for entry in batch.refused] == [(0, "image_uri", "null")]
    assert batch.shots["deliver"].to_pylist() == [["png"], ["mp4", "png"]]


def test_a_catalog_of_nothing_but_bad_rows_still_has_a_plan(write, facts):
    planned = plan(read(write(width=[1, 3, 5])), facts)
    assert (planned.rows_total, len(planned.refused), planned.takes.num_rows, planned.shards.num_rows) == (3, 3, 0, 0)
