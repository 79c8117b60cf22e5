"""Any Arrow type whose values convert without loss is taken, and gives the same plan."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from catalogs import plan, read
from catalogs.convert import convert
from catalogs.schema import BY_NAME

UTC = dt.UTC
NOON = dt.datetime(2026, 12, 24, 12, tzinfo=UTC)


def shots(path):
    return pa.Table.from_batches([batch.shots for batch in read(path)])


@pytest.mark.parametrize(
    ("column", "array", "wanted"),
    [
        ("width", pa.array([64, None], pa.int8()), [64, None]),
        ("width", pa.array([64, None], pa.uint64()), [64, None]),
        ("width", pa.array([64.0, None], pa.float64()), [64, None]),
        ("width", pa.array(np.array([64, 96], np.float16)), [64, 96]),
        ("width", pa.array([Decimal("64.00"), None]), [64, None]),
        ("width", pa.array([64, 96]).dictionary_encode(), [64, 96]),
        ("width", pa.array(["64", " 96 "]), [64, 96]),
        ("width", pa.array([b"64", b"96.0"]), [64, 96]),
        ("width", pa.array([None, None], pa.null()), [None, None]),
        ("seed", pa.array(["9223372036854775807", "0"]), [2**63 - 1, 0]),
        ("fps", pa.array([8, 24], pa.int64()), [8.0, 24.0]),
        ("fps", pa.array([23.976, None], pa.float64()), [23.976, None]),
        ("fps", pa.array([7.3, 0.1], pa.float32()), [7.3, 0.1]),
        ("duration_s", pa.array(np.array([0.7, 2], np.float16)), [0.7, 2.0]),
        ("duration_s", pa.array([0.7, 0.7], pa.float32()).dictionary_encode(), [0.7, 0.7]),
        ("duration_s", pa.array([None, 1 / 3], pa.float32()), [None, 0.33333334]),
        ("fps", pa.array([Decimal("29.97")] * 2), [29.97, 29.97]),
        ("fps", pa.array(["8", "2.4e1"]), [8.0, 24.0]),
        ("prompt", pa.array(["ä", "b"], pa.large_string()), ["ä", "b"]),
        ("prompt", pa.array(["ä", "b"], pa.string_view()), ["ä", "b"]),
        ("prompt", pa.array(["ä", "ä"]).dictionary_encode(), ["ä", "ä"]),
        ("prompt", pa.array(["ä".encode(), b"b"], pa.large_binary()), ["ä", "b"]),
        ("prompt", pa.array([b"abcd", b"efgh"], pa.binary(4)), ["abcd", "efgh"]),
        ("shot_id", pa.array([1, 2], pa.int64()), ["1", "2"]),
        ("shot_id", pa.array([7, 8], pa.uint8()), ["7", "8"]),
        ("deadline", pa.array([NOON, None], pa.timestamp("ns", "Europe/Berlin")), [NOON, None]),
        ("deadline", pa.array([NOON.replace(tzinfo=None), None], pa.timestamp("ms")), [NOON, None]),
        ("deadline", pa.array([dt.date(2026, 12, 24)] * 2), [NOON.replace(hour=0)] * 2),
        ("deadline", pa.array(["2026-12-24T12:00:00Z", "2026-12-24 13:00:00+01:00"]), [NOON, NOON]),
        ("deadline", pa.array(["2026-12-24T12:00", None]), [NOON, None]),
        ("deliver", pa.array([["mp4"], None], pa.large_list(pa.large_string())), [["mp4"], ["mp4"]]),
        ("deliver", pa.array([["mp4"], ["mp4"]], pa.list_(pa.string(), 1)), [["mp4"], ["mp4"]]),
        ("deliver", pa.array(['["mp4"]', "[]"]), [["mp4"], []]),
        ("deliver", pa.array(["null", None]), [["mp4"], ["mp4"]]),
        ("tags", pa.array([[], None], pa.list_(pa.string())), [[], None]),
        ("tags", pa.array(["null", '{"a": "b"}']), [None, [("a", "b")]]),
        ("variants", pa.array(["null", " null"]), [None, None]),
        ("lora", pa.array(["null", "[]"]), [None, None]),
        ("tags", pa.array([{"a": "b", "c": None}, {"a": None, "c": None}]), [[("a", "b")], []]),
        ("tags", pa.array([[("a", "b")], None], pa.map_(pa.large_string(), pa.string())), [[("a", "b")], None]),
        ("tags", pa.array(['{"a": "b", "n": 3}', "{}"]), [[("a", "b"), ("n", "3")], []]),
        ("lora", pa.array([[], None], pa.list_(pa.struct([("uri", pa.string())]))), [None, None]),
        (
            "variants",
            pa.array([{"aspect": None}, {"aspect": []}], pa.struct([("aspect", pa.list_(pa.string()))])),
            [None] * 2,
        ),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else None,
)
def test_a_type_that_converts(column, array, wanted, write):
    assert shots(write(**{column: array}))[column].to_pylist() == wanted


def test_whole_numbers_of_a_table_with_gaps_are_names(write, facts):
    path = write(shot_id=[1, 2, 3, 4], task=["t2v", "i2v", "t2v", "t2v"], depends_on=pa.array([None, 1.0, None, None]),
                 sequence=pa.array([7.0, None, 7.5, 2.0**53]))  # fmt: skip
    planned = plan(read(path), facts)
    assert planned.takes["source_shot"].to_pylist() == [None, "1"]
    assert planned.takes["sequence"].to_pylist() == ["7", None]
    assert [(entry.row, entry.column) for entry in planned.refused] == [(2, "sequence"), (3, "sequence")]


def test_a_dictionary_with_bytes_in_it_that_are_not_text():
    words = pa.array([b"good", b"caf\xe9"], pa.binary()).view(pa.string())
    prompts = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0]), words)
    values, bad = convert(prompts, BY_NAME["prompt"])
    assert values.to_pylist() == ["good", None, None, "good"]
    assert bad.tolist() == [False, True, False, False]


def test_run_ends_and_extensions_are_looked_through():
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([64, 96]))
    assert convert(runs, BY_NAME["width"])[0].to_pylist() == [64, 64, 96]
    json_text = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['["mp4"]']))
    assert convert(json_text, BY_NAME["deliver"])[0].to_pylist() == [["mp4"]]


@pytest.mark.parametrize("column", ["shot_id", "prompt", "negative_prompt", "scene", "task", "model", "note"])
def test_text_that_is_not_utf8_costs_its_row_only(column, write, facts):
    text = {"task": b"t2v", "model": b"tiny"}.get(column, b"fine")
    values = pa.array([text, b"\xff\xfe", None if column == "shot_id" else text + b""], pa.binary()).view(pa.string())
    planned = plan(read(write(**{column: values})), facts)
    assert (planned.refused[0].row, planned.refused[0].column) == (1, column)
    assert planned.takes["row"].to_pylist() == ([0] if column == "shot_id" else [0, 2])


def test_unknown_columns_are_handed_through_whatever_they_are(write, facts):
    nested = pa.array(
        [[{"a": 1, "b": ["x"]}], None], pa.list_(pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))]))
    )
    path = write(
        note=["x", None],
        nested=nested,
        stamp=pa.array([NOON, None], pa.timestamp("ns")),
        code=pa.array(["a", "b"]).dictionary_encode(),
        raw=pa.array([b"\xff", None], pa.binary()),
        view=pa.array(["v", None], pa.string_view()),
        views=pa.array([["v"], None], pa.list_(pa.string_view())),
        takes=[2, 1],
    )
    takes = plan(read(path), facts).takes
    assert takes["note"].to_pylist() == ["x", "x", None]
    assert takes["nested"].to_pylist() == [[{"a": 1, "b": ["x"]}]] * 2 + [None]
    assert takes.schema.field("stamp").type == pa.timestamp("ns")
    assert takes["code"].to_pylist() == ["a", "a", "b"]
    assert takes["view"].to_pylist() == ["v", "v", None]
    assert takes["views"].to_pylist() == [["v"], ["v"], None]
    assert takes["raw"].to_pylist() == [b"\xff", b"\xff", None]


def test_bad_text_deep_in_an_unknown_column_costs_its_row_only(write, facts):
    inner = pa.array([b"ok", b"\xff", b"ok"], pa.binary()).view(pa.string())
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), inner)
    planned = plan(read(write(names=lists)), facts)
    assert [(entry.row, entry.column) for entry in planned.refused] == [(1, "names")]
    assert planned.takes["names"].to_pylist() == [["ok"], ["ok"]]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1_001, None], pa.timestamp("ns")),
        pa.array([1_001, None], pa.duration("ns")),
        pa.array([1_001, None], pa.time64("ns")),
        pa.array([1, None], pa.timestamp("us", "Mars/Phobos")),
        pa.array([[1_001], None], pa.list_(pa.timestamp("ns"))),
        pa.array([[("a", 1_001)], None], pa.map_(pa.string_view(), pa.timestamp("ns"))),
        pa.array([["a", "b"], None], pa.list_(pa.string_view(), 2)),
    ],
    ids=lambda array: str(array.type),
)
def test_an_unknown_column_can_be_read_as_rows_of_a_plan_are(array, write, facts):
    takes = plan(read(write(own=array, takes=[2, 1])), facts).takes
    first, second, last = takes.to_pylist()
    assert first["own"] == second["own"] is not None
    assert last["own"] is None
    assert "ns" not in str(array.type) or "ns" in str(takes.schema.field("own").type)


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.duration("s"), pa.timestamp("us", "Mars/Phobos")], ids=str)
def test_a_time_that_python_does_not_have_costs_its_row(kind, write, facts):
    planned = plan(read(write(own=pa.array([2**60, 2, None], kind))), facts)
    assert [(entry.row, entry.column) for entry in planned.refused] == [(0, "own")]
    assert str(2**60) in planned.refused[0].value
    assert len(planned.takes.to_pylist()) == 2


def test_a_deadline_of_an_unknown_zone_is_shown_where_it_is_refused(write):
    (batch,) = read(write(deadline=pa.array([2**60, 2], pa.timestamp("us", "Mars/Phobos"))))
    assert [(entry.row, entry.column) for entry in batch.refused] == [(0, "deadline")]


def test_an_unknown_column_does_not_hide_one_of_the_plan(write, facts):
    path = write(
        **{"row": ["r"], "spec_key": ["k"], "state": ["s"], "catalog.state": ["t"], "revision": ["v"], "mine": [1]}
    )
    takes = plan(read(path), facts).takes
    assert takes["row"].to_pylist() == [0]
    assert len(takes["spec_key"][0].as_py()) == 64
    names = {name: takes[name][0].as_py() for name in takes.column_names if name.startswith("catalog.")}
    assert names == {
        "catalog.row": "r",
        "catalog.spec_key": "k",
        "catalog.revision": "v",
        "catalog.catalog.state": "s",
        "catalog.state": "t",
    }
    assert takes["mine"].to_pylist() == [1]


def test_an_unknown_column_keeps_a_name_that_nothing_else_has(write, facts):
    names = ["owner", "format", "error", "round", "job_id", "notes"]
    takes = plan(read(write(**{name: ["x"] for name in names})), facts).takes
    assert takes.column_names[-len(names) :] == names


def test_seconds_of_32_bits_are_as_many_frames_as_those_of_64(write, facts):
    counts = []
    for kind in (pa.float32(), pa.float64()):
        path = write(duration_s=pa.array([0.7], kind), fps=pa.array([5.0], kind))
        counts.append(plan(read(path), facts).takes["frames"].to_pylist())
    assert counts == [[4], [4]]
