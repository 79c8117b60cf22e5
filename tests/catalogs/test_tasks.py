"""What each task is given: rows that name it, rows that do not, and how it comes into the keys."""

from __future__ import annotations

from typing import Any

import pytest

from catalogs import plan, read
from catalogs.keys import revision, spec_fields, spec_key
from catalogs.tasks import INPUTS, TASKS, frames_text, parse_frames, users

NAMES = {"image_uri": "a.png", "last_image_uri": "b.png", "video_uri": "a.mp4", "mask_uri": "m.png"}
NEEDS = {name: [either[0] for either in task.needs] for name, task in TASKS.items()}


@pytest.fixture
def able(facts: dict[str, Any]) -> dict[str, Any]:
    return facts | {"tasks": list(TASKS)}


def row(task: str, **more: Any) -> dict[str, Any]:
    return {"shot_id": "a", "prompt": "p", "task": task, **{name: NAMES[name] for name in NEEDS[task]}, **more}


def columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for each in rows for name in each)
    table = {name: [each.get(name) for each in rows] for name in names}
    return table | {"shot_id": [f"s{number}" for number in range(len(rows))]}


def digest(uri: str) -> str:
    return uri.rsplit("/", 1)[-1].encode().hex().ljust(64, "0")


def test_a_row_of_each_task_is_planned_with_the_digests_of_its_inputs(write, able):
    planned = plan(read(write(**columns([row(task) for task in TASKS]))), able, digest_input=digest)
    assert planned.refused == []
    for take in planned.takes.to_pylist():
        for uri, sha in INPUTS.items():
            assert (take[uri] is not None) == (uri in NEEDS[take["task"]]), (take["task"], uri)
            assert take[sha] == (digest(NAMES[uri]) if take[uri] else None)
        assert take["spec_key"] == spec_key(spec_fields(take, able))


@pytest.mark.parametrize(("task", "column"), [(task, column) for task in TASKS for column in NEEDS[task]])
def test_a_missing_input_is_refused(task, column, write, able):
    planned = plan(read(write(**columns([row(task) | {column: None}, row(task)]))), able)
    assert [(entry.row, entry.column, entry.value) for entry in planned.refused] == [(0, column, "null")]
    assert f"the task {task} needs one" in planned.refused[0].legal


@pytest.mark.parametrize(
    ("task", "column"),
    [(task, column) for task in TASKS for column in INPUTS if column not in TASKS[task].uses],
)
def test_an_input_that_the_task_ignores_is_refused(task, column, write, able):
    planned = plan(read(write(**columns([row(task) | {column: "x.png"}, row(task)]))), able)
    assert [(entry.row, entry.column) for entry in planned.refused] == [(0, column)]
    assert all(name in planned.refused[0].legal for name in users(column))


def test_an_edit_takes_a_film_or_a_picture_but_not_both(write, able):
    rows = [
        row("edit"), row("edit", video_uri=None, image_uri="a.png"), row("edit", image_uri="a.png"),
        row("edit", video_uri=None),
    ]  # fmt: skip
    planned = plan(read(write(**columns(rows))), able)
    assert planned.takes["row"].to_pylist() == [0, 1]
    assert [(entry.row, entry.column) for entry in planned.refused] == [(2, "video_uri"), (3, "video_uri")]
    assert "image_uri" in planned.refused[0].legal
    assert "or a picture in image_uri" in planned.refused[1].legal


@pytest.mark.parametrize(
    ("task", "frames", "least"),
    [("extend", 1, 2), ("extend_back", 1, 2), ("loop", 1, 2), ("flf2v", 5, 6), ("connect", 5, 6), ("infill", 5, 6)],
)
def test_clips_so_short_that_nothing_would_be_made(task, frames, least, write, able):
    rows = [row(task, fps=8.0, duration_s=frames / 8), row(task, fps=8.0, duration_s=least / 8)]
    planned = plan(read(write(**columns(rows))), able)
    assert [(entry.row, entry.column) for entry in planned.refused] == [(0, "duration_s")]
    assert f"at least {least} frames" in planned.refused[0].legal
    assert planned.takes["frames"].to_pylist() == [least]


def test_a_loop_is_rendered_with_a_group_more(write, able):
    (take,) = plan(read(write(**columns([row("loop")]))), able).takes.to_pylist()
    assert (take["frames"], take["render_frames"], take["tokens"]) == (17, 21, 96)


@pytest.mark.parametrize("text", ["", "a", "3-1", "0-", "-3", "0,,4", "1.5", "0-4;8", "0x4", "9" * 9])
def test_what_are_no_frame_numbers(text, write, able):
    planned = plan(read(write(**columns([row("infill", keep_frames=text)]))), able)
    assert [entry.column for entry in planned.refused] == ["keep_frames"]
    assert "0-4, 28-32" in planned.refused[0].legal


def test_frame_numbers_have_one_form(write, able):
    assert parse_frames(" 8, 0-4 ,5,12 - 16") == ((0, 5), (8, 8), (12, 16))
    assert frames_text(((0, 5), (8, 8))) == "0-5,8"
    rows = [row("infill", keep_frames=text) for text in ("0-4, 13-16", "13-16,0-2,3,4", "0-16", "0-17")]
    rows.append(row("v2v", keep_frames="0-4"))
    planned = plan(read(write(**columns(rows))), able)
    assert [(entry.row, entry.column) for entry in planned.refused] == [(3, "keep_frames"), (4, "keep_frames")]
    assert "0 to 16" in planned.refused[0].legal
    takes = planned.takes.to_pylist()
    assert [take["keep_frames"] for take in takes] == ["0-4,13-16", "0-4,13-16", "0-16"]
    assert takes[0]["revision"] == takes[1]["revision"] != takes[2]["revision"]


def test_settings_enter_the_revision_where_they_change_the_picture_only(write, able):
    rows = [
        row("v2v"), row("v2v", strength=0.6), row("v2v", strength=0.5), row("edit"), row("edit", strength=1.0),
        row("edit", strength=0.0), row("i2v"), row("i2v", strength=0.3), row("infill"), row("infill", keep_frames="0"),
    ]  # fmt: skip
    takes = plan(read(write(**columns(rows))), able, digest_input=digest).takes.to_pylist()
    found = [take["revision"] for take in takes]
    assert found[0] == found[1] != found[2], "0.6 is the default of v2v"
    assert found[3] == found[4] != found[5], "1 is the default of an edit"
    assert found[6] == found[7]
    assert found[8] != found[9]
    for take in takes:
        fields = take | {name: None if take[name] is None else take[name].rsplit("/", 1)[-1] for name in INPUTS}
        assert revision(fields) == take["revision"], "one take and a column of them are hashed alike"
    assert [take["strength"] for take in takes[:6]] == [0.6, 0.6, 0.5, 1.0, 1.0, 0.0]


def test_any_unread_input_leaves_the_keys_open(write, able):
    rows = [row("connect"), row("edit"), row("v2v")]
    gone = {"b.png", "m.png"}
    planned = plan(
        read(write(**columns(rows))), able, digest_input=lambda uri: None if uri[-5:] in gone else digest(uri)
    )
    assert [key is None for key in planned.takes["spec_key"].to_pylist()] == [True, True, False]
    take = planned.takes.to_pylist()[0]
    whole = spec_key(spec_fields(take, able, last_image_sha256="ab" * 32))
    assert whole != spec_key(spec_fields(take, able, last_image_sha256="cd" * 32))


def test_the_keys_of_tasks_that_stood_before_are_what_they_were(write, able):
    rows = [row("t2v", seed=1), row("still", seed=1), row("i2v", seed=1)]
    takes = plan(read(write(**columns(rows))), able, digest_input=lambda uri: "ab" * 32).takes
    assert takes["spec_key"].to_pylist() == [
        "3748ec4433fced50f6ac66a500c297cca2522efd89c10ce657bf6404e4c2d0d9",
        "651fee466eae8486f4e3d40e07233dbbc92bd5e5a8251ceb2ce6c2f37d6b9850",
        "6b8565ef0bc01052a8fd67362b6f6527d14c800d579d79890270c16b0a24d169",
    ]
