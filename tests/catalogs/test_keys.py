"""Seeds, revisions and keys: fixed values, what changes them, and one take against a whole column."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs import plan, read
from catalogs.digests import DigestSet, digest_texts, from_hex, hex_column
from catalogs.keys import (
    REVISION_FIELDS,
    SPEC_FIELDS,
    canonical,
    documents,
    float_text,
    identities,
    picture_key,
    revision,
    seed_of,
    spec_fields,
    spec_key,
)

NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z")
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
ROWS = st.fixed_dictionaries(
    {
        "show": NAMES,
        "shot_id": NAMES,
        "revision": st.just("0a1b2c3d"),
        "take": st.integers(1, 10_000),
        "seed": st.integers(0, 2**63 - 1),
        "task": st.sampled_from(["t2v", "still", "i2v"]),
        "prompt": TEXTS,
        "negative_prompt": st.none() | TEXTS,
        "width": st.integers(16, 8192),
        "height": st.just(64),
        "frames": st.integers(1, 1000),
        "fps": st.none() | st.floats(0.001, 240),
        "render_width": st.just(64),
        "render_height": st.just(64),
        "render_frames": st.just(17),
        "steps": st.sampled_from([10, 30]),
        "guidance_scale": st.floats(0, 100),
        "image_sha256": st.none() | st.just("ab" * 32),
    }
)
CONSTANTS = {
    "sampler": 'euler "shift"', "step_skip": None, "model": "d" * 64, "precision": {"transformer": "float32", "a": "b"},
    "picture_version": 3, "guidance_scale_2": 3.5,
}  # fmt: skip


def column_types(name: str) -> pa.DataType:
    return {"int": pa.int64(), "float": pa.float64()}.get(SPEC_FIELDS[name], pa.string())


def test_the_seed_is_what_the_design_says():
    digest = hashlib.sha256(b"default/shot-1").digest()
    assert seed_of("default", "shot-1") == int.from_bytes(digest[:4], "big", signed=False)
    assert seed_of("a", "b") != seed_of("b", "a")


@settings(deadline=None)
@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=20))
def test_seeds_of_a_column(pairs):
    digests = identities(pa.array([show for show, _ in pairs]), pa.array([shot for _, shot in pairs]))
    assert [int.from_bytes(bytes(row[:4]), "big") for row in digests] == [seed_of(*pair) for pair in pairs]


@settings(deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=8))
def test_a_column_of_keys_is_the_key_of_each_row(rows):
    columns = {name: pa.array([row[name] for row in rows], column_types(name)) for name in rows[0]}
    texts = documents(columns, CONSTANTS, SPEC_FIELDS).to_pylist()
    assert texts == [canonical(row | CONSTANTS, SPEC_FIELDS) for row in rows]
    keys = hex_column(digest_texts(pa.array(texts, pa.large_binary()))).to_pylist()
    assert keys == [spec_key(row | CONSTANTS) for row in rows]
    shared = {name: column for name, column in columns.items() if name not in ("show", "shot_id", "take")}
    pictures = hex_column(digest_texts(documents(shared, CONSTANTS, SPEC_FIELDS))).to_pylist()
    assert pictures == [picture_key(row | CONSTANTS) for row in rows]


@settings(deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=4))
def test_canonical_json_is_json_with_sorted_keys(rows):
    for row in rows:
        text = canonical(row | CONSTANTS, SPEC_FIELDS)
        found = json.loads(text)
        assert list(found) == sorted(found)
        assert None not in found.values()
        assert found["prompt"] == row["prompt"]
        assert np.float32(found["guidance_scale"]) == np.float32(row["guidance_scale"])
        whole = {name: value for name, value in found.items() if not isinstance(value, float)}
        for name, value in whole.items():
            assert (
                json.dumps({name: value}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)[1:-1].encode()
                in text
            )


def test_canonical_json_of_one_object_byte_by_byte():
    fields = {"prompt": 'a "red"\ncircle\x7fé', "take": 3, "fps": 8, "guidance_scale": 3.3, "image_sha256": None}
    wanted = '{"fps":8.0,"guidance_scale":3.3,"prompt":"a \\"red\\"\\ncircle\x7fé","take":3}'
    assert canonical(fields, SPEC_FIELDS) == wanted.encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8, "8.0"),
        (3.3, "3.3"),
        (np.float32(3.3), "3.3"),
        (-0.0, "0.0"),
        (1e-05, "0.00001"),
        (23.976, "23.976"),
        (100, "100.0"),
    ],
)
def test_how_a_number_is_written(value, text):
    assert float_text(value) == text


def fields(**changes):
    take = {
        "show": "s", "shot_id": "a", "revision": "00000000", "take": 1, "seed": 5, "task": "t2v", "prompt": "p",
        "negative_prompt": "", "width": 64, "height": 64, "frames": 17, "fps": 8.0, "render_width": 64,
        "render_height": 64, "render_frames": 17, "steps": 30, "guidance_scale": 3.0, "image_sha256": None,
    }  # fmt: skip
    return take | CONSTANTS | changes


CHANGES = {
    "show": "t", "shot_id": "b", "revision": "00000001", "take": 2, "seed": 6, "task": "i2v", "prompt": "q",
    "negative_prompt": "x", "width": 62, "height": 62, "frames": 16, "fps": 9.0, "render_width": 80,
    "render_height": 80, "render_frames": 21, "steps": 31, "guidance_scale": 3.5, "image_sha256": "ab" * 32,
    "sampler": "unipc", "model": "e" * 64, "precision": {"transformer": "bfloat16"}, "picture_version": 4,
    "step_skip": {"teacache": 0.2}, "guidance_scale_2": 1.0,
}  # fmt: skip


def test_each_field_changes_the_key_and_only_show_shot_and_take_leave_the_picture_alone():
    same = [name for name, value in CHANGES.items() if picture_key(fields(**{name: value})) == picture_key(fields())]
    assert same == ["show", "shot_id", "take"]
    keys = {spec_key(fields(**{name: value})) for name, value in CHANGES.items()} | {spec_key(fields())}
    assert len(keys) == len(CHANGES) + 1


def test_the_model_enters_the_key_by_its_digest_not_its_name(write, facts):
    path = write(shot_id=["a", "b"])
    keys = plan(read(path), facts).takes["spec_key"]
    assert plan(read(path), facts | {"name": "renamed", "folder": "/elsewhere"}).takes["spec_key"] == keys
    for name, value in {"digest": "e" * 64, "sampler": "x", "picture_version": 2, "guidance_scale_2": 1.0}.items():
        assert set(plan(read(path), facts | {name: value}).takes["spec_key"].to_pylist()).isdisjoint(keys.to_pylist())


def test_a_key_of_the_wrong_fields_is_refused():
    for unknown in ("gang", "layout", "device", "image_uri"):
        with pytest.raises(ValueError, match=unknown):
            spec_key(fields(**{unknown: "x"}))
    with pytest.raises(ValueError, match="seed"):
        spec_key(fields(seed=None))
    with pytest.raises(ValueError, match="shot_id"):
        spec_key({name: value for name, value in fields().items() if name != "shot_id"})
    assert picture_key({name: value for name, value in fields().items() if name not in ("show", "shot_id", "take")})


def test_a_key_stays_the_same_over_versions():
    # A change of these is a change of every store's keys: raise PICTURE_VERSION and say so instead.
    assert spec_key(fields()) == "79ff192f871e32f534caf5924d61dc330dd600140eae6519450546d0f33187b5"
    assert picture_key(fields()) == "0b5f96e469421d9a14acaaf7e68223d87cc785a00d0268297e06a973284cdbd9"
    assert revision(fields()) == "b69d0dca"


def test_what_changes_a_revision():
    def of(**changes):
        return revision(fields(**changes))

    different = {
        "prompt": "q",
        "negative_prompt": "x",
        "width": 62,
        "height": 62,
        "frames": 16,
        "fps": 9.0,
        "steps": 31,
    }
    different |= {"guidance_scale": 3.5, "task": "i2v", "image_uri": "a.png"}
    assert len({of(**{name: value}) for name, value in different.items()} | {of()}) == len(different) + 1
    for name, value in {"seed": 9, "take": 2, "show": "t", "shot_id": "b", "model": "x", "picture_version": 9}.items():
        assert of(**{name: value}) == of()
    assert of(task="still", fps=8.0) == of(task="still", fps=9.0)
    assert set(REVISION_FIELDS) & {"seed", "takes", "priority", "deadline", "deliver", "budget_gpu_s", "tags"} == set()


def test_a_key_left_open_is_the_one_that_a_later_plan_would_give(write, facts):
    path = write(task=["i2v", "still"], image_uri=["a.png", None], takes=[2, 1], fps=[8.0, 9.0])
    opened = plan(read(path), facts, digest_input=lambda uri: None).takes.to_pylist()
    known = plan(read(path), facts, digest_input=lambda uri: "ab" * 32).takes.to_pylist()
    assert [take["spec_key"] is None for take in opened] == [True, True, False]
    for before, after in zip(opened, known, strict=True):
        found = {"image_sha256": "ab" * 32} if before["image_uri"] else {}
        ready = spec_fields(before, facts, **found)
        assert (spec_key(ready), picture_key(ready)) == (after["spec_key"], after["picture_key"])
    with pytest.raises(ValueError, match="video_uri"):
        spec_fields(opened[0], facts, video_uri="x")


def test_the_plan_uses_the_one_take_forms(write, facts, tmp_path):
    path = write(
        shot_id=["a", "b"],
        prompt=['say "x"\n', "b"],
        task=["t2v", "i2v"],
        image_uri=[None, "images/a.png"],
        takes=[2, 1],
    )
    for take in plan(read(path), facts, digest_input=lambda uri: "ab" * 32).takes.to_pylist():
        assert take["seed"] == seed_of("default", take["shot_id"]) + take["take"] - 1
        relative = {"image_uri": take["image_uri"] and "images/a.png"}
        assert take["revision"] == revision(take | relative)
        assert take["spec_key"] == spec_key(spec_fields(take, facts))


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=8))
def test_a_set_of_digests(batches):
    found, seen = DigestSet(), set()
    for batch in batches:
        digests = digest_texts(pa.array([str(number) for number in batch], pa.string()))
        wanted = []
        for number in batch:
            wanted.append(number in seen)
            seen.add(number)
        assert found.add(digests).tolist() == wanted
        assert found.contains(digests).all()
    assert len(found) == len(seen)
    assert not found.contains(digest_texts(pa.array(["other"]))).any()


def test_digests_that_share_their_first_half():
    digests = np.zeros((3, 32), np.uint8)
    digests[1, 15], digests[2, 15] = 1, 2
    found = DigestSet(digests[:2])
    assert found.contains(digests).tolist() == [True, True, False]
    assert found.add(digests).tolist() == [True, True, False]


def test_keys_as_hexadecimal():
    digests = digest_texts(pa.array(["a", "b"]))
    texts = hex_column(digests).to_pylist()
    assert texts == [hashlib.sha256(text).hexdigest() for text in (b"a", b"b")]
    assert (from_hex(texts) == digests).all()
    assert hex_column(digests, np.array([False, True])).to_pylist() == [None, texts[1]]
    assert from_hex([]).shape == (0, 32)
    for bad in ("", "ab", "x" * 64, "ab" * 31 + " b"):
        with pytest.raises(ValueError, match=r"64|hexadecimal"):
            from_hex([bad])
