"""Drafts and upscaled films: sizes, steps, and keys that tell a draft from a final."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs import plan, read
from catalogs.drafts import Draft
from catalogs.keys import revision, spec_fields, spec_key

HALF = Draft(0.5, 8)


def rows(catalog, facts, **options):
    return plan(read(catalog), facts, **options).takes.to_pylist()


def test_a_draft_is_small_and_quick_and_keeps_numbers_and_seeds(write, facts):
    catalog = write(width=[320, 96], height=[180, 64], takes=[2, 1], steps=[None, 5], duration_s=[1.0, 1.0])
    finals, drafts = rows(catalog, facts), rows(catalog, facts, draft=HALF)
    assert [(row["shot_id"], row["take"], row["seed"]) for row in drafts] == [
        (row["shot_id"], row["take"], row["seed"]) for row in finals
    ]
    assert [(row["width"], row["height"], row["steps"]) for row in drafts] == [(160, 90, 8), (160, 90, 8), (48, 32, 5)]
    assert [(row["render_width"], row["render_height"]) for row in drafts] == [(160, 96), (160, 96), (48, 32)]
    assert [row["frames"] for row in drafts] == [row["frames"] for row in finals]
    assert sum(row["cost_gpu_s"] for row in drafts) < sum(row["cost_gpu_s"] for row in finals) / 4
    assert {row["draft"] for row in drafts} == {"scale 0.5, 8 steps"} and {row["draft"] for row in finals} == {None}


def test_a_draft_is_of_the_row_that_renders_in_the_end(write, facts):
    catalog = write(shot_id=["a", "a"], width=[1024, 64], height=[64, 64], prompt=["too large", "fits"])
    for draft in (None, HALF):
        made = plan(read(catalog), facts, draft=draft)
        assert made.takes["prompt"].to_pylist() == ["fits"]
        assert [(entry.row, entry.column, entry.value) for entry in made.refused] == [(0, "width", "1024")]


def test_a_draft_never_passes_for_a_final(write, facts):
    catalog = write(takes=[3], width=[32], height=[32], steps=[4])
    finals = rows(catalog, facts)
    same = rows(catalog, facts, draft=Draft(1.0, 30))
    assert [same[0][name] for name in ("width", "height", "steps")] == [32, 32, 4], "nothing is smaller here"
    for name in ("revision", "spec_key", "picture_key"):
        assert not {row[name] for row in same} & {row[name] for row in finals}
    done = [row["spec_key"] for row in same]
    assert not any(row["cached"] for row in rows(catalog, facts) if row["spec_key"] in done)
    assert plan(read(catalog), facts, done).cost.cached == 0


@settings(deadline=None)
@given(st.integers(8, 256), st.integers(8, 256), st.floats(0.05, 1))
def test_a_draft_keeps_the_proportions_and_is_not_cut_out_of_a_larger_picture(width, height, scale):
    from catalogs.drafts import drafted

    columns = {"width": pa.array([2 * width], pa.int32()), "height": pa.array([2 * height], pa.int32())}
    columns |= {"steps": pa.array([20], pa.int32()), "upscale": pa.array([None], pa.float64())}
    made = drafted(columns, {"min_size": 32}, Draft(scale, 8))
    wide, tall = made["width"][0].as_py(), made["height"][0].as_py()
    assert wide % 2 == tall % 2 == 0 and 16 <= wide <= 2 * width and 16 <= tall <= 2 * height
    assert min(wide, tall) >= min(32, 2 * width, 2 * height)
    assert abs(wide - tall * width / height) <= 2 * max(1, width / height) + 1


def test_the_keys_of_a_take_are_those_of_the_column(write, facts):
    catalog = write(width=[256, 64], height=[144, 64], upscale=[2.0, None])
    for draft in (None, HALF):
        for row in rows(catalog, facts, draft=draft):
            assert revision(row) == row["revision"]
            assert spec_key(spec_fields(row, facts)) == row["spec_key"]


def test_an_upscaled_film_is_rendered_smaller(write, facts):
    catalog = write(width=[1280, 64, 64], height=[720, 64, 64], upscale=[4.0, 1.0, None])
    large, once, plain = rows(catalog, facts)
    assert (large["width"], large["height"]) == (1280, 720)
    assert (large["render_width"], large["render_height"]) == (320, 192)
    assert (large["upscale"], large["upscaler"]) == (4.0, "lanczos")
    assert (once["upscale"], once["upscaler"]) == (None, None)
    assert once["revision"] == plain["revision"], "once its size is its size"
    other = rows(catalog, facts, upscaler="mine:sharper")
    assert other[0]["revision"] == large["revision"] and other[0]["spec_key"] != large["spec_key"]
    assert other[2]["spec_key"] == plain["spec_key"], "an upscaler that is not used changes nothing"


def test_a_draft_of_an_upscaled_film_is_not_upscaled(write, facts):
    row = rows(write(width=[1280], height=[720], upscale=[4.0]), facts, draft=HALF)[0]
    assert (row["width"], row["height"], row["upscale"], row["upscaler"]) == (160, 90, None, None)


@pytest.mark.parametrize("value", [0.5, 17.0, float("nan"), -2.0])
def test_what_is_no_factor_is_refused(write, facts, value):
    made = plan(read(write(upscale=[value, 2.0])), facts)
    assert [(refusal.row, refusal.column, refusal.legal) for refusal in made.refused] == [(0, "upscale", "1 to 16")]
    assert made.takes.num_rows == 1


def test_a_film_too_large_for_the_model_renders_when_it_is_upscaled(write, facts):
    made = plan(read(write(width=[1920, 1920], height=[1080, 1080], upscale=[None, 4.0])), facts)
    assert [refusal.row for refusal in made.refused] == [0]
    assert made.takes["render_width"].to_pylist() == [480]
