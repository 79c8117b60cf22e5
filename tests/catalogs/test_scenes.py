"""Scenes: rows that show one subject from several cameras, and the words for those cameras."""

from __future__ import annotations

import pyarrow as pa
import pytest

from catalogs import plan, read
from catalogs.wording import camera_words, encoded


def test_a_scene_shares_its_identity(write, facts):
    path = write(
        shot_id=list("abcdefg"),
        scene=["one", "one", "one", "two", None, "one", "one"],
        identity=[None, "hero", None, None, None, "hero", "villain"],
        show=["x", "x", "x", "x", "x", "x", "y"],
    )
    planned = plan(read(path, batch_rows=2), facts)
    assert planned.refused == []
    assert planned.takes["identity"].to_pylist() == ["hero", "hero", "hero", None, None, "hero", "villain"]


def test_another_identity_in_one_scene_is_refused_and_what_starts_from_it(write, facts):
    path = write(
        shot_id=list("abc"), scene=["one"] * 3, identity=["hero", "villain", None], task=["t2v", "t2v", "i2v"],
        depends_on=[None, None, "b"],
    )  # fmt: skip
    planned = plan(read(path), facts)
    assert [(entry.row, entry.column, entry.value, entry.legal) for entry in planned.refused] == [
        (1, "identity", "villain", "null, or hero as row 0 of its scene says"),
        (2, "depends_on", "b", "a shot that is rendered: the row of the one it names is refused"),
    ]


def test_a_row_of_a_scene_may_start_from_its_first_picture(write, facts):
    path = write(
        shot_id=list("abcdefgh"),
        scene=["one", "one", "one", None, None, "two", "three", "three"],
        identity=[None, None, None, "hero", "hero", None, None, None],
        task=["i2v", "t2v", "t2v", "t2v", "i2v", "i2v", "still", "i2v"],
    )
    planned = plan(read(path), facts)
    (refused,) = planned.refused
    assert (refused.row, refused.column, refused.value) == (5, "image_uri", "null")
    assert "no other row of its scene" in refused.legal
    rows = {row["shot_id"]: row for row in planned.takes.to_pylist()}
    found = {name: (row["source_shot"], row["source_frame"]) for name, row in rows.items()}
    assert found["a"] == ("b", "first")
    assert found["e"] == ("d", "first")
    assert found["h"] == ("g", "first")
    assert found["b"] == found["c"] == (None, None)
    assert rows["a"]["spec_key"] is None
    assert rows["b"]["spec_key"] is not None


def test_i2v_without_scene_image_and_source_is_refused_as_ever(write, facts):
    (refused,) = plan(read(write(task=["i2v"], camera=["pan left"])), facts).refused
    assert (refused.column, refused.value) == ("image_uri", "null")


def test_the_scene_that_gives_the_picture_is_in_the_revision(write, facts):
    def revision(name, **columns):
        rows = plan(read(write(name, shot_id=["a", "b"], task=["t2v", "i2v"], **columns)), facts).takes.to_pylist()
        return rows[1]["revision"]

    one = revision("a.parquet", scene=["one", "one"])
    assert one != revision("b.parquet", scene=["two", "two"])
    assert one == revision("c.parquet", scene=["one", "one"], identity=["hero", None])


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        ("pan_left", "the camera pans left"), ("Pan left", "the camera pans left"), ("zoom-in", "the camera zooms in"),
        ("the camera pans up", "the camera pans up"), ("orbit", "the camera orbits"), ("wide shot", "wide shot"),
        ("low angle from the left", "low angle from the left"), ("A", ""), ("cam2", ""), ("Camera B", ""), ("", ""),
        ("3", ""), ("static", ""), ("pan over the crowd", "pan over the crowd"),
    ],
)  # fmt: skip
def test_words_of_cameras(camera, words):
    assert camera_words(camera) == words


def test_words_go_behind_the_prompt_and_leave_it_alone():
    columns = {
        "prompt": pa.array(["a red circle", "A cat.", "a dog ", "a cow..."]),
        "camera": pa.array(["pan left", None, "cam1", "zoom_out"]),
        "variant.style": pa.array([None, "clay", None, "oil on canvas"]),
    }
    assert encoded(columns).to_pylist() == [
        "a red circle, the camera pans left", "A cat, clay style.", None, "a cow, the camera zooms out, oil on canvas.",
    ]  # fmt: skip
    assert encoded(columns, str.upper).to_pylist() == [
        "A RED CIRCLE, the camera pans left", "A CAT, clay style.", "A DOG ",
        "A COW, the camera zooms out, oil on canvas.",
    ]  # fmt: skip


def test_keys_are_of_what_is_encoded(write, facts):
    path = write(shot_id=["a", "a2", "a3"], seed=[1, 1, 1], prompt=["a cat", "a cat, the camera pans left", "a cat"],
                 camera=["pan left", None, "cam 1"])  # fmt: skip
    rows = plan(read(path), facts).takes.to_pylist()
    assert rows[0]["picture_key"] == rows[1]["picture_key"] != rows[2]["picture_key"]
    assert rows[0]["revision"] == rows[1]["revision"]
    assert [row["encoded_prompt"] for row in rows] == ["a cat, the camera pans left", None, None]
    richer = plan(read(path), facts, enhance=lambda prompt: prompt.replace("a cat", "a large cat")).takes.to_pylist()
    assert [row["prompt"] for row in richer] == [row["prompt"] for row in rows]
    assert richer[2]["encoded_prompt"] == "a large cat"
    assert richer[2]["picture_key"] != rows[2]["picture_key"]
    same = plan(read(path), facts, enhance=lambda prompt: prompt).takes
    assert same.equals(plan(read(path), facts).takes)


def test_without_a_picture_in_its_scene_a_row_starts_from_one_of_its_identity(write, facts):
    path = write(
        shot_id=list("abcdef"),
        scene=[None, "one", "one", None, "two", "two"],
        identity=["ann", None, "ann", "ann", "bo", None],
        task=["still", "i2v", "i2v", "i2v", "t2v", "i2v"],
    )
    planned = plan(read(path), facts)
    assert planned.refused == []
    assert planned.takes["source_shot"].to_pylist() == [None, "a", "a", "a", None, "e"]
    (refused,) = plan(read(write(identity=["ann"], task=["i2v"])), facts).refused
    assert "no other row of its identity" in refused.legal


@pytest.mark.parametrize("column", ["scene", "identity"])
def test_cells_that_are_left_blank_share_nothing(column, write, facts):
    path = write(**{column: ["", "", " "]}, task=["t2v", "i2v", "i2v"])
    planned = plan(read(path), facts)
    assert [(entry.row, entry.column) for entry in planned.refused] == [(1, "image_uri"), (2, "image_uri")]
    assert planned.takes[column].to_pylist() == [None]
