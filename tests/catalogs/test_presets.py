"""Presets: named sizes, rates and lengths, and who wins over whom."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from catalogs import CatalogError, plan, read
from catalogs.presets import PRESETS, table

README = Path(__file__).parents[2] / "catalogs" / "README.md"


def shape(row):
    return row["width"], row["height"], row["fps"], row["frames"]


def test_a_preset_fills_in_what_the_row_leaves_open(write, facts):
    path = write(
        preset=["square-512", "square-512", "clip-4s", None],
        width=pa.array([None, 256, None, None], pa.int32()),
        duration_s=[None, 1.0, None, None],
    )
    planned = plan(read(path), facts | {"max_tokens": 10**6})
    rows = planned.takes.to_pylist()
    assert [shape(row) for row in rows] == [
        (512, 512, 16.0, 64),
        (256, 512, 16.0, 16),
        (64, 64, 8.0, 32),
        (64, 64, 8.0, 17),
    ]
    assert [row["preset"] for row in rows] == ["square-512", "square-512", "clip-4s", None]


def test_a_preset_for_the_whole_catalog_is_one_for_rows_that_name_none(write, facts):
    path = write(preset=[None, "square-256"])
    rows = plan(read(path, preset="clip-4s"), facts).takes.to_pylist()
    assert [shape(row) for row in rows] == [(64, 64, 8.0, 32), (256, 256, 8.0, 32)]
    assert shape(plan(read(write("b.parquet", seed=[1]), preset="clip-4s"), facts).takes.to_pylist()[0])[3] == 32
    with pytest.raises(CatalogError, match="no preset 'film'; the presets are square-512"):
        read(path, preset="film")


def test_a_preset_is_the_same_as_its_numbers(write, facts):
    named = plan(read(write("a.parquet", preset=["square-256"])), facts).takes.to_pylist()[0]
    spelt = plan(read(write("b.parquet", width=[256], height=[256], fps=[8.0], duration_s=[4.0])), facts).takes
    assert named["spec_key"] == spelt.to_pylist()[0]["spec_key"]


def test_an_unknown_preset_says_which_there_are(write, facts):
    (refused,) = plan(read(write(preset=["4s"])), facts).refused
    assert (refused.column, refused.value) == ("preset", "4s")
    assert all(name in refused.legal for name in PRESETS)


def test_a_preset_beyond_the_model_is_told_as_such(write, facts):
    (refused,) = plan(read(write(preset=["wide-720p"])), facts).refused
    assert refused.column == "width"
    assert "at most 512" in refused.legal


def test_presets_are_legal_shots_and_stand_in_the_page():
    for preset in PRESETS.values():
        assert all(side is None or side % 2 == 0 for side in preset[:2])
    assert PRESETS["square-512"][:4] == (512, 512, 16.0, 4.0)
    assert table() in README.read_text()
