"""`rushes assets` on a small store: what is made, kept, made again, and what a bad film costs."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.command import main
from infra.provenance import validate
from infra.store import Store
from infra.store.jobs import put_plan, write_manifest
from tests.post.takes import FRAMES, row, store_with


@pytest.fixture
def store(tmp_path: Path) -> Store:
    rows = [row("a"), row("b"), row("b", take=2), row("title", task="still", frames=1)]
    return store_with(tmp_path, rows)[0]


def run(store: Store, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict]:
    code = main(["assets", store.url, "--json", *options])
    return code, json.loads(capsys.readouterr().out)


def folder(store: Store) -> Path:
    return Path(store.url.removeprefix("file://"))


def test_all_kinds_of_the_chosen_takes_then_nothing_again(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(store, capsys)
    assert code == 0 and len(told["assets"]) == 9 and not told["failed"] and not told["missing"]
    assert {(asset["shot_id"], asset["take"]) for asset in told["assets"]} == {("a", 1), ("b", 1), ("title", 1)}
    paths = [asset["path"] for asset in told["assets"]]
    assert paths[:3] == [f"assets/{kind}/spring/a/0a1b2c3d.take-001{end}" for kind, end in
                         (("matte", ".mkv"), ("track", ".parquet"), ("blur", ".mp4"))]  # fmt: skip
    record = json.loads(store.read("assets/blur/spring/a/0a1b2c3d.take-001.json"))
    assert record["file"]["sha256"] == store.digest(paths[2]).sha256 and record["provenance"]["c2pa"] == "embedded"
    assert validate(folder(store) / paths[2]).sound
    assert pq.read_table(folder(store) / paths[1]).num_rows == FRAMES
    before = {found.path: found.modified for found in store.list("assets")}
    code, told = run(store, capsys)
    assert code == 0 and all(asset["kept"] for asset in told["assets"])
    assert {found.path: found.modified for found in store.list("assets")} == before


def test_every_take_of_one_shot_and_one_kind(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(store, capsys, "--all", "--shot", "b", "--kind", "track")
    assert code == 0 and [(asset["kind"], asset["take"]) for asset in told["assets"]] == [("track", 1), ("track", 2)]


def test_takes_whose_keys_the_plan_left_open_are_meant_too(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    made = [row("a"), row("b")]
    put_plan(store, "chained", pa.Table.from_pylist([made[0], made[1] | {"spec_key": None}]))
    write_manifest(store, "chained", pa.Table.from_pylist(made))
    _, told = run(store, capsys, "--all", "--job", "chained", "--kind", "track")
    assert [asset["shot_id"] for asset in told["assets"]] == ["a", "b"] and told["exit"] == 0


def test_what_is_half_there_or_was_changed_is_made_again(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--kind", "matte", "--shot", "a", "--shot", "b"
    run(store, capsys, *options)
    a, b = (f"assets/matte/spring/{shot}/0a1b2c3d.take-001" for shot in "ab")
    whole = store.read(f"{a}.mkv")
    store.delete(f"{a}.json")  # killed before the last write
    store.write(f"{b}.mkv", whole[:100])
    _, told = run(store, capsys, *options)
    assert [asset["kept"] for asset in told["assets"]] == [False, False]
    assert store.read(f"{a}.mkv") == whole and len(store.read(f"{b}.mkv")) > 100


def test_a_bad_film_costs_its_own_take(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    (film,) = (found.path for found in store.list("shots/spring/a"))
    store.write(film, b"x" * 500)
    code, told = run(store, capsys, "--kind", "track")
    assert code == told["exit"] == 1 and len(told["assets"]) == 2
    assert told["failed"][0]["shot_id"] == "a" and "verify" in told["failed"][0]["error"]
    assert not list(store.list("assets/track/spring/a"))


def test_nothing_to_do_is_said(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["assets", store.url, "--shot", "zebra"]) == 2
    assert "no such shot: zebra" in capsys.readouterr().err
    assert main(["assets", store.url, "--show", "winter"]) == 2
    assert "no finished take" in capsys.readouterr().err
