"""CSV and JSON lines: the same rules, and a bad line costs its row only."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogs import CatalogError, plan, read

HEADER = "shot_id,prompt,width,fps,deliver,tags,note\n"


def take_rows(path, facts):
    planned = plan(read(path, batch_rows=2), facts)
    return planned.takes, [(entry.row, entry.column) for entry in planned.refused]


def test_csv(tmp_path, facts):
    path = tmp_path / "c.csv"
    path.write_text(
        "\ufeff"
        + HEADER
        + 'a,"a red circle, moving",64,8,"[""mp4""]","{""k"": ""v""}",x\n'
        + "\n"
        + "b,short\n"
        + "c,too,64,8,,,x,y\n"
        + "d,odd,63,8,,,\n"
        + '"e","two\nlines",,,,,\n'
        + "f,words,sixty-four,8,,,\n"
        + "g,list,64,8,mp4,,\n"
        + "h,last,96.0,8.0,,,z"
    )
    takes, refused = take_rows(path, facts)
    assert takes["shot_id"].to_pylist() == ["a", "e", "h"]
    assert takes["row"].to_pylist() == [0, 4, 7]
    assert takes["width"].to_pylist() == [64, 64, 96]
    assert takes["prompt"].to_pylist()[1] == "two\nlines"
    assert takes["note"].to_pylist() == ["x", None, "z"]
    assert takes["tags"].to_pylist()[0] == [("k", "v")]
    assert refused == [(1, "(row)"), (2, "(row)"), (3, "width"), (5, "width"), (6, "deliver")]


def test_csv_with_bytes_that_are_not_utf8(tmp_path, facts):
    path = tmp_path / "c.csv"
    path.write_bytes(b"shot_id,prompt,note\na,caf\xe9,x\nb,fine,caf\xe9\nc,fine,x\n")
    takes, refused = take_rows(path, facts)
    assert refused == [(0, "prompt"), (1, "note")]
    assert takes["shot_id"].to_pylist() == ["c"]


def test_csv_with_a_cell_beyond_reason_and_a_nul(tmp_path, facts):
    path = tmp_path / "c.csv"
    path.write_text("shot_id,prompt\na," + "x" * 200_000 + "\nb,fine\nc\0,fine\n")
    takes, refused = take_rows(path, facts)
    assert takes["shot_id"].to_pylist() == ["b"]
    assert refused == [(0, "(row)"), (2, "shot_id")]


def test_csv_with_a_quote_that_is_never_closed_says_which_lines_it_ate(tmp_path, facts):
    path = tmp_path / "c.csv"
    path.write_text('shot_id,prompt\na,"two\nlines"\nb,"a red circle\nc,a blue square\nd,a green triangle\n')
    planned = plan(read(path), facts)
    assert planned.takes["shot_id"].to_pylist() == ["a"]
    (refused,) = planned.refused
    assert (refused.row, refused.column) == (1, "(row)")
    assert "lines 4 to 6" in str(refused.value) and "each quote closed" in refused.legal


def test_jsonl(tmp_path, facts):
    lines = [
        json.dumps({"shot_id": "a", "prompt": "p", "width": 64, "deliver": ["mp4"], "tags": {"k": "v"}, "n": 1}),
        "",
        "{not json",
        "[1]",
        json.dumps({"shot_id": 7, "prompt": "p", "width": "96", "n": 1.5}),
        json.dumps({"shot_id": "c", "prompt": 5}),
        json.dumps({"shot_id": "d", "prompt": "p", "width": {"x": 1}}),
        json.dumps({"shot_id": "e", "prompt": "p", "seed": 2**70}),
        json.dumps({"prompt": "p"}),
        '{"shot_id": "f", "prompt": "p", "fps": NaN}',
        '{"shot_id": "g", "prompt": "\\ud800"}',
        '{"shot_id": "h", "prompt": "p", "takes": true}',
        "[" * 100_000,
        json.dumps({"shot_id": "z", "prompt": "p", "width": None, "late": "x"}),
    ]
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(lines))
    takes, refused = take_rows(path, facts)
    assert takes["shot_id"].to_pylist() == ["a", "7", "z"]
    assert takes["row"].to_pylist() == [0, 3, 12]
    assert takes["width"].to_pylist() == [64, 96, 64]
    assert takes["n"].to_pylist() == [1.0, 1.5, None]
    assert takes["late"].to_pylist() == [None, None, "x"]
    assert refused == [
        (1, "(row)"), (2, "(row)"), (4, "prompt"), (5, "width"), (6, "seed"), (7, "shot_id"), (8, "fps"),
        (9, "prompt"), (10, "takes"), (11, "(row)"),
    ]  # fmt: skip


def test_jsonl_bytes_that_are_not_utf8(tmp_path, facts):
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"shot_id": "a", "prompt": "caf\xe9"}\n{"shot_id": "b", "prompt": "p"}\n')
    takes, refused = take_rows(path, facts)
    assert refused == [(0, "(row)")]
    assert takes["shot_id"].to_pylist() == ["b"]


def test_jsonl_unknown_columns_have_one_type_in_every_batch(tmp_path, facts):
    values = [1, None, {"a": 1}, {"a": 1, "b": [2]}, "text", "\ud800"]
    path = tmp_path / "c.jsonl"
    path.write_text(
        "".join(json.dumps({"shot_id": f"s{i}", "prompt": "p", "x": value}) + "\n" for i, value in enumerate(values))
    )
    takes, refused = take_rows(path, facts)
    assert takes.schema.field("x").type == pa.string()
    assert takes["x"].to_pylist() == ["1", None, '{"a": 1}', '{"a": 1, "b": [2]}', "text"]
    assert refused == [(5, "x")]


def test_jsonl_nested_unknown_columns_stay_nested(tmp_path, facts):
    rows = [
        {"shot_id": "a", "prompt": "p", "x": {"a": 1}},
        {"shot_id": "b", "prompt": "p"},
        {"shot_id": "c", "prompt": "p", "x": {"b": "y"}},
    ]
    path = tmp_path / "c.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    takes, _ = take_rows(path, facts)
    assert takes["x"].to_pylist() == [{"a": 1, "b": None}, None, {"a": None, "b": "y"}]


def test_the_three_formats_give_the_same_takes(tmp_path, write, facts):
    columns = {
        "shot_id": ["a", "b"],
        "prompt": ['a "red" circle', "é\n"],
        "guidance_scale": [3.3, 5.0],
        "fps": [8.0, 23.976],
    }
    path = write(**columns)
    f32 = write(
        "f32.parquet",
        **(
            columns
            | {"guidance_scale": pa.array([3.3, 5.0], pa.float32()), "fps": pa.array([8.0, 23.976], pa.float32())}
        ),
    )
    lines = tmp_path / "c.jsonl"
    lines.write_text(
        "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in zip(*columns.values(), strict=True))
    )
    table = tmp_path / "c.csv"
    table.write_text('shot_id,prompt,guidance_scale,fps\na,"a ""red"" circle",3.3,8\nb,"é\n",5,23.976\n')
    keys = [plan(read(each), facts).takes["spec_key"].to_pylist() for each in (path, f32, lines, table)]
    assert keys.count(keys[0]) == 4


def test_a_whole_number_in_tags_is_not_spoiled_by_a_fraction_in_another_row(tmp_path, facts):
    path = tmp_path / "c.jsonl"
    path.write_text("".join(json.dumps({"shot_id": f"s{v}", "prompt": "p", "tags": {"a": v}}) + "\n" for v in (1, 1.5)))
    planned = plan(read(path), facts)
    assert planned.takes["tags"].to_pylist() == [[("a", "1")]]
    assert [entry.row for entry in planned.refused] == [1]


def test_an_empty_object_goes_through_to_the_plan_as_json(tmp_path, facts):
    """Parquet, in which the plan stands, has no struct without fields, however deep it lies."""
    values = [{"x": {}, "y": [{}], "z": {"a": {}}}, {"x": {}, "y": None, "z": {"a": None}}]
    path = tmp_path / "c.jsonl"
    rows = [{"shot_id": f"s{number}", "prompt": "p"} | more for number, more in enumerate(values)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    takes, refused = take_rows(path, facts)
    assert refused == []
    pq.write_table(takes, tmp_path / "plan.parquet")
    kept = pq.read_table(tmp_path / "plan.parquet").select(["x", "y", "z"]).to_pylist()
    assert kept == [{"x": "{}", "y": "[{}]", "z": '{"a": {}}'}, {"x": "{}", "y": None, "z": '{"a": null}'}]


def test_a_header_that_is_not_utf8_is_told(tmp_path):
    path = tmp_path / "c.csv"
    path.write_bytes("shot_id,prompt,größe\na,a red circle,x\n".encode("latin-1"))
    with pytest.raises(CatalogError, match=r"gr\\udcf6\\udcdfe\. Save it as UTF-8"):
        read(path)


def test_jsonl_names_that_are_no_text_and_depths_beyond_reason_cost_their_row(tmp_path, facts):
    path = tmp_path / "c.jsonl"
    lines = [
        '"\\ud800": 1',
        '"ok": 1',
        '"deep": ' + "[" * 200 + "]" * 200,
        '"deep": ' + '{"a":' * 900 + "1" + "}" * 900,
    ]
    text = "".join(f'{{"shot_id": "s{at}", "prompt": "p", {line}}}\n' for at, line in enumerate(lines))
    path.write_bytes(text.encode() + b'{"shot_id": "s4", "prompt": "p", "\xed\xa0\x80": 1}\n')
    takes, refused = take_rows(path, facts)
    assert takes["shot_id"].to_pylist() == ["s1"]
    assert refused == [(0, "(row)"), (2, "(row)"), (3, "(row)"), (4, "(row)")]


def test_jsonl_columns_nested_deeper_than_a_plan_can_hold_become_json(tmp_path, facts):
    path = tmp_path / "c.jsonl"
    path.write_text('{"shot_id": "a", "prompt": "p", "n": ' + "[" * 60 + "1" + "]" * 60 + "}\n")
    takes, refused = take_rows(path, facts)
    pq.write_table(takes, tmp_path / "plan.parquet")
    assert pq.read_table(tmp_path / "plan.parquet")["n"].to_pylist() == ["[" * 60 + "1" + "]" * 60]
    assert refused == []


def test_jsonl_numbers_that_one_type_does_not_hold_become_text(tmp_path, facts):
    path = tmp_path / "c.jsonl"
    values = [2**53 + 1, 2, 1.5, 3]
    path.write_text("".join(json.dumps({"shot_id": f"s{v}", "prompt": "p", "n": v, "l": [v]}) + "\n" for v in values))
    takes, refused = take_rows(path, facts)
    assert takes["n"].to_pylist() == ["9007199254740993", "2", "1.5", "3"]
    assert takes["l"].to_pylist() == ["[9007199254740993]", "[2]", "[1.5]", "[3]"]
    assert refused == []


def test_lines_that_end_with_commas_are_told_so(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("shot_id,prompt,,\na,p,,\n")
    with pytest.raises(CatalogError, match="columns without a name; name them, or take the separators off"):
        read(path)
