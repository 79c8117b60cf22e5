"""Variants: one row becomes several, under names that can be told, and one picture is planned once."""

from __future__ import annotations

import ast
import json
from itertools import product

import pyarrow as pa
import pytest

from catalogs import plan, read
from catalogs.aspects import reshaped
from catalogs.keys import seed_of
from catalogs.variants import derived_id

TYPE = pa.struct(
    [
        ("aspect", pa.list_(pa.string())), ("duration_s", pa.list_(pa.float64())),
        ("style", pa.list_(pa.string())), ("locale", pa.list_(pa.string())),
    ]
)  # fmt: skip
ALL = {"aspect": ["16:9", "1:1"], "duration_s": [1.0, 2.5], "style": ["clay", "pencil sketch"], "locale": ["de", "fr"]}


def planned(write, facts, *asked, name="catalog.parquet", **columns):
    path = write(name, variants=pa.array(list(asked), TYPE), **columns)
    return plan(read(path), facts)


def test_every_combination_is_a_row_of_its_own(write, facts):
    found = planned(write, facts, ALL, None, shot_id=["hero", "other"], prompt=["a red circle.", "a cat"], takes=[2, 1])
    rows = found.takes.to_pylist()
    ids = [f"hero.{a}.{d}.{s}.{lang}" for a, d, s, lang in product(
        ("16x9", "1x1"), ("1s", "2.5s"), ("clay", "pencil-sketch"), ("de", "fr")
    )]  # fmt: skip
    assert list(dict.fromkeys(row["shot_id"] for row in rows)) == [*ids, "other"]
    assert len(rows) == 2 * 16 + 1
    assert (found.rows_total, found.refused) == (2, [])
    first = rows[0]
    assert (first["parent"], first["variant"], first["locale"]) == ("hero", "16x9.1s.clay.de", "de")
    assert (first["row"], rows[-1]["row"]) == (0, 1)
    assert (rows[-1]["parent"], rows[-1]["variant"], rows[-1]["locale"]) == (None, None, None)
    assert (first["frames"], rows[4 * 2]["frames"]) == (8, 20)
    assert (first["prompt"], first["encoded_prompt"]) == ("a red circle.", "a red circle, clay style.")
    assert rows[4]["encoded_prompt"] == "a red circle, pencil sketch."
    assert rows[-1]["encoded_prompt"] is None
    assert "variants" not in found.takes.column_names


def test_variants_share_the_seed_of_their_parent(write, facts):
    rows = planned(write, facts, ALL, None, shot_id=["hero", "b"], takes=[2, 1]).takes.to_pylist()
    assert {(row["take"], row["seed"] - seed_of("default", "hero")) for row in rows[:-1]} == {(1, 0), (2, 1)}
    rows = planned(write, facts, ALL, None, seed=[7, None]).takes.to_pylist()
    assert {row["seed"] for row in rows[:-1]} == {7}


def test_of_rows_that_differ_by_locale_alone_one_is_rendered(write, facts):
    found = planned(write, facts, ALL, {"locale": ["de"]}, shot_id=["hero", "one"])
    rows = {row["shot_id"]: row for row in found.takes.to_pylist()}
    for name, row in rows.items():
        if name.endswith(".fr"):
            original = rows[row["picture_of"]]
            assert row["picture_of"] == name.removesuffix("fr") + "de"
            assert row["picture_key"] == original["picture_key"]
            assert row["revision"] == original["revision"]
            assert row["spec_key"] != original["spec_key"]
            assert row["cost_gpu_s"] == 0.0
        else:
            assert row["picture_of"] is None
            assert row["cost_gpu_s"] > 0.0
    keys = {row["picture_key"] for row in rows.values()}
    assert len(keys) == 8 + 1
    costs = [row["cost_gpu_s"] for row in rows.values()]
    assert found.cost.gpu_s == pytest.approx(sum(costs))
    assert found.cost.tflop == pytest.approx(found.cost.gpu_s / facts["gpu_s_per_tflop"])


def test_another_locale_later_changes_no_key(write, facts):
    before = planned(write, facts, {"locale": ["de", "fr"]}, shot_id=["hero"]).takes.to_pylist()
    after = planned(write, facts, {"locale": ["de", "fr", "ja"]}, shot_id=["hero"], name="b.parquet").takes.to_pylist()
    assert [row["spec_key"] for row in before] == [row["spec_key"] for row in after[:2]]


def test_an_aspect_keeps_the_area_and_never_costs_more(write, facts):
    aspects = ["16:9", "9:16", "1:1", "2.39:1", "4:5"]
    rows = planned(write, facts, {"aspect": aspects}, width=[128], height=[128]).takes.to_pylist()
    assert [(row["width"], row["height"]) for row in rows[:3]] == [(160, 90), (90, 160), (128, 128)]
    for row, text in zip(rows, aspects, strict=True):
        across, down = map(float, text.split(":"))
        assert row["width"] / row["height"] == pytest.approx(across / down, rel=0.04)
        assert 0.8 * 128**2 <= row["width"] * row["height"] <= 1.1 * 128**2
        assert row["tokens"] <= 8 * 8 * ((row["render_frames"] - 1) // 4 + 1)
    assert rows[3]["shot_id"] == "shot-0.2.39x1"


@pytest.mark.parametrize(
    ("size", "aspect", "expected"),
    [
        ((832, 480), 9 / 16, (468, 832)), ((1280, 720), 9 / 16, (720, 1280)), ((1280, 720), 16 / 9, (1280, 720)),
        ((64, 64), 8.0, None), ((16, 16), 1 / 8, None), ((8192, 8192), 8.0, None),
    ],
)  # fmt: skip
def test_sizes_of_aspects(facts, size, aspect, expected):
    width, height = reshaped(*size, aspect, facts)
    assert expected is None or (width, height) == expected
    assert width % 2 == height % 2 == 0
    assert 16 <= min(width, height) <= max(width, height) <= 8192


def test_ids_stay_legal_however_long_or_foreign(write, facts):
    styles = ["粘土", "clay", "クレイ"]
    rows = planned(write, facts, {"style": styles, "duration_s": [1.0, 2.0]}, shot_id=["x" * 128]).takes.to_pylist()
    ids = [row["shot_id"] for row in rows]
    assert len(set(ids)) == 6
    assert all(len(name) <= 128 for name in ids)
    assert all(row["parent"] == "x" * 128 for row in rows)
    assert derived_id("x" * 126, "4s").startswith("x" * 119 + "-")
    assert derived_id("x" * 125, "4s") == "x" * 125 + ".4s"
    assert derived_id("hero", "") == "hero"


def test_a_name_that_is_taken_is_refused_whichever_comes_later(write, facts):
    asked = {"duration_s": [1.0, 2.0]}
    for order in (("hero.1s", "hero"), ("hero", "hero.1s")):
        path = write(
            shot_id=list(order), variants=pa.array([asked if name == "hero" else None for name in order], TYPE)
        )
        for batch_rows in (1, 100):
            found = plan(read(path, batch_rows=batch_rows), facts)
            (refused,) = found.refused
            assert (refused.row, refused.column, refused.value) == (1, "shot_id", "hero.1s")
            rows = {row["shot_id"]: row["row"] for row in found.takes.to_pylist()}
            assert rows == {"hero.1s": 0, "hero.2s": order.index("hero")}
            assert found.rows_total == 2


def test_the_parent_keeps_its_own_name(write, facts):
    asked = [{"duration_s": [1.0]}, None, {"duration_s": [3.0]}]
    found = planned(write, facts, *asked, shot_id=["hero", "hero", "hero"])
    assert [row["shot_id"] for row in found.takes.to_pylist()] == ["hero.1s"]
    assert [(entry.row, entry.value) for entry in found.refused] == [(1, "hero"), (2, "hero")]


def test_a_variant_beyond_the_model_costs_itself_alone(write, facts):
    found = planned(write, facts, {"duration_s": [1.0, 60.0, 70.0], "locale": ["de", "fr"]}, shot_id=["hero"])
    assert [row["shot_id"] for row in found.takes.to_pylist()] == ["hero.1s.de", "hero.1s.fr"]
    (refused,) = found.refused  # one entry for the row
    assert (refused.row, refused.column, found.rows_total) == (0, "duration_s", 1)


def test_variants_that_cannot_be_rendered_leave_their_names_to_others(write, facts):
    asked = [{"duration_s": [60.0]}, {"duration_s": [1.0, 60.0]}, None, None]
    found = planned(write, facts, *asked, shot_id=["hero", "hero", "hero.60s", "hero.1s"])
    assert {row["shot_id"]: row["row"] for row in found.takes.to_pylist()} == {"hero.1s": 1, "hero.60s": 2}
    assert [(entry.row, entry.column) for entry in found.refused] == [
        (0, "duration_s"), (1, "duration_s"), (3, "shot_id")
    ]  # fmt: skip


def test_when_the_first_locale_is_taken_the_next_one_is_rendered(write, facts):
    asked = [None, {"locale": ["de", "fr", "es"]}]
    found = planned(write, facts, *asked, shot_id=["hero.de", "hero"], prompt=["something else", "a red circle"])
    rows = {row["shot_id"]: row for row in found.takes.to_pylist()}
    assert rows["hero.fr"]["picture_of"] is None
    assert rows["hero.es"]["picture_of"] == "hero.fr"
    assert [entry.value for entry in found.refused] == ["hero.de"]


def test_unknown_columns_and_types_go_with_every_variant(tmp_path, facts):
    path = tmp_path / "catalog.jsonl"
    lines = [
        {"shot_id": "a", "prompt": "a cat", "client": "x", "style": "theirs", "tags": {"k": "v"}},
        {"shot_id": "b", "prompt": "a dog", "client": "y", "variants": {"aspect": ["1:1"], "duration_s": [1, "2"]}},
        {"shot_id": "c", "prompt": "a cow", "variants": {"aspect": [], "style": None}},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    rows = plan(read(path), facts).takes.to_pylist()
    assert [(row["shot_id"], row["client"], row["style"]) for row in rows] == [
        ("a", "x", "theirs"), ("b.1x1.1s", "y", None), ("b.1x1.2s", "y", None), ("c", None, None),
    ]  # fmt: skip


def test_an_empty_axis_is_not_meant_beside_a_given_one(write, facts):
    rows = planned(write, facts, {"aspect": [], "locale": ["de"]}, {"aspect": []}).takes.to_pylist()
    assert [row["shot_id"] for row in rows] == ["shot-0.de", "shot-1"]


def test_a_misspelt_axis_costs_its_own_row(tmp_path, write, facts):
    asked = [{"aspect": ["1:1"]}, {"aspects": ["1:1"], "style": ["clay"]}, None, {"locale": ["de"]}]
    lines = tmp_path / "catalog.jsonl"
    rows = [{"shot_id": f"shot-{row}", "prompt": "a cat", "variants": value} for row, value in enumerate(asked)]
    lines.write_text("\n".join(map(json.dumps, rows)))
    for path in (lines, write(variants=pa.array(asked))):
        found = plan(read(path), facts)
        assert [row["shot_id"] for row in found.takes.to_pylist()] == ["shot-0.1x1", "shot-2", "shot-3.de"]
        (refused,) = found.refused
        assert (refused.row, refused.column) == (1, "variants")
        assert ast.literal_eval(refused.value) == asked[1]


def test_a_field_of_no_axis_that_is_null_everywhere_is_not_meant(write, facts):
    path = write(variants=pa.array([{"aspect": ["1:1"], "aspects": None}]))
    assert plan(read(path), facts).takes["shot_id"].to_pylist() == ["shot-0.1x1"]


def test_stills_have_variants_too_and_no_length_renders_one_again(write, facts):
    asked = {"aspect": ["16:9", "1:1"], "duration_s": [1.0, 2.0], "locale": ["de", "fr"]}
    rows = planned(write, facts, asked, task=["still"]).takes.to_pylist()
    assert [row["frames"] for row in rows] == [1] * 8
    for first, *others in (rows[:4], rows[4:]):
        assert first["picture_of"] is None and first["cost_gpu_s"] > 0.0
        assert {row["picture_of"] for row in others} == {first["shot_id"]}
        assert {row["picture_key"] for row in others} == {first["picture_key"]}
        assert {row["cost_gpu_s"] for row in others} == {0.0}
    without = planned(write, facts, {"duration_s": [1.0, 2.0]}, task=["still"]).takes
    assert without["picture_of"].to_pylist() == [None, without["shot_id"][0].as_py()]


def test_a_length_that_comes_to_too_many_frames_is_refused_alone(write, facts):
    asked = {"duration_s": [3600.0, 2.0]}
    able = facts | {"max_frames": 10**7, "max_tokens": 10**9}
    found = planned(write, able, asked, asked, fps=[240.0, 240.0], task=["t2v", "still"])
    (refused,) = found.refused
    assert (refused.row, refused.column) == (0, "duration_s")
    assert refused.legal == "at most 100,000 frames; this is 864,000"
    assert found.takes["frames"].to_pylist() == [480, 1, 1]


def test_a_size_that_the_row_does_not_say_is_told_where_it_is_too_large(write, facts):
    found = planned(write, facts, {"aspect": ["8:1"]}, None, None, width=[256, 1200, 600], height=[256, 64, 64],
                    upscale=[None, 2.0, None])  # fmt: skip
    assert found.takes.num_rows == 0
    said = [entry.legal for entry in found.refused]
    most = "at most 512 with the model tiny"
    again = f"{most}; with this aspect or upscale it is rendered at"
    assert said == [f"{again} 672x96", f"{again} 608x32", most]
