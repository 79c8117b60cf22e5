"""`rushes verify` of what was made from takes; gc and forget beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.command import main
from infra.provenance import Source, Takes, Work, finish
from infra.provenance_settings import ProvenanceSettings
from infra.store import Store, layout, open_store
from infra.store.derived import audit_derived
from infra.store.forget import forget
from infra.store.gc import collect
from tests.post.takes import film, row, store_with

WEB = "deliver/web/spring/a/0a1b2c3d.take-001"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two takes of two shows; of one a signed deliverable in two forms; a cut of both."""
    folder = tmp_path_factory.mktemp("made")
    rows = [row("a"), row("b", show="autumn")]
    store, commits = store_with(folder, rows)
    source = Source("a.mp4", folder / "take.mp4", Takes(store).facts(commits[0]))
    for profile, suffix in (("web", ".mp4"), ("archive", ".mkv")):
        local = folder / f"0a1b2c3d.take-001{suffix}"
        film(folder / "film.mp4", 3).replace(local)
        done = finish(local, Work("deliverable", local.name, [source]), ProvenanceSettings())
        path = f"deliver/{profile}/spring/a/{local.name}"
        for file in done.files:
            store.write_file(f"{path.rpartition('/')[0]}/{file.name}", file)
        file = {"path": path, "sha256": done.sha256, "bytes": done.bytes}
        record = {"format": 1, "spec_key": rows[0]["spec_key"], "files": [file], "provenance": done.at(path)}
        store.write(path.rpartition(".")[0] + ".json", json.dumps(record).encode())
    store.write("cuts/reel/film.mp4", b"a film")
    sha256 = store.digest("cuts/reel/film.mp4").sha256
    parts = [{"show": one["show"], "shot_id": one["shot_id"], "media": "shots/x.mp4"} for one in rows]
    cut = {"format": 1, "film": {"path": "cuts/reel/film.mp4", "sha256": sha256, "bytes": 6}, "parts": parts}
    store.write(layout.cut_path("reel"), json.dumps(cut).encode())
    return folder / "store"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Store:
    """A copy of it, to break."""
    return open_store(shutil.copytree(made, tmp_path / "store"))


def verify(store: Store, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[tuple[str, str]], list]:
    code = main(["verify", store.url, "--json", *options])
    told = json.loads(capsys.readouterr().out)
    return code, [(fault["kind"], fault["path"]) for fault in told["faults"]], told["orphans"]


def test_all_is_well(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(store, capsys, "--strict") == (0, [], [])
    assert audit_derived(store).records == 3


def changed(data: bytes) -> bytes:
    at = data.rindex(b"mdat") + 150
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("path", "change", "kinds"),
    [
        (f"{WEB}.mp4", changed, {"derived-hash", "provenance-invalid"}),
        (f"{WEB}.mp4", lambda data: data[:-1], {"derived-size"}),
        (f"{WEB}.mp4", lambda data: None, {"derived-missing"}),
        (f"{WEB}.mp4.provenance.json", lambda data: data.replace(b"square", b"circle"), {"derived-hash"}),
        (f"{WEB}.json", lambda data: data[:-20], {"derived-unreadable"}),
        (f"{WEB}.json", lambda data: data.replace(b'"format": 1', b'"format": 9'), {"derived-newer"}),
        (f"{WEB}.json", lambda data: data.replace(b"urn:c2pa:", b"urn:c2pb:"), {"provenance-invalid"}),
        ("deliver/archive/spring/a/0a1b2c3d.take-001.mkv.c2pa", lambda data: None,
         {"derived-missing", "provenance-invalid"}),
        ("cuts/reel/film.mp4", lambda data: b"a fi1m", {"derived-hash"}),
    ],
)  # fmt: skip
def test_what_is_not_as_its_record_says(
    store: Store,
    capsys: pytest.CaptureFixture[str],
    path: str,
    change: Callable[[bytes], bytes | None],
    kinds: set[str],
) -> None:
    data = change(store.read(path))
    store.delete(path) if data is None else store.write(path, data)
    code, faults, orphans = verify(store, capsys)
    assert code == 1 and {kind for kind, _ in faults} == kinds and not orphans


def test_a_film_of_the_right_hash_that_was_never_signed_is_told(
    store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    film(tmp_path / "again.mp4", 3)  # encoded again, and its record with it
    record = json.loads(store.read(f"{WEB}.json"))
    store.write_file(f"{WEB}.mp4", tmp_path / "again.mp4")
    size, sha256 = store.digest(f"{WEB}.mp4")
    record["files"][0] |= {"sha256": sha256, "bytes": size}
    store.write(f"{WEB}.json", json.dumps(record).encode())
    assert verify(store, capsys)[:2] == (1, [("provenance-invalid", f"{WEB}.mp4")])


def test_what_a_killed_deliver_left_is_an_orphan_and_gc_leaves_it(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    left = "deliver/square/spring/b/x.mp4"
    store.write(left, b"half a film")
    store.write("cuts/reel/segments/more.mp4", b"beside a record: its business")
    assert verify(store, capsys) == (0, [], [left])
    assert verify(store, capsys, "--strict")[:2] == (1, [("orphan", left)])
    before = sorted(found.path for found in store.list())
    collect(store, older_than_s=0)
    assert sorted(found.path for found in store.list()) == before


def test_a_forgotten_show_takes_its_deliverables_assets_and_cuts_along(store: Store) -> None:
    store.write("assets/matte/spring/a/0a1b2c3d.take-001.mkv", b"a matte")
    store.write("assets/matte/autumn/b/0a1b2c3d.take-001.mkv", b"a matte")
    store.write("cuts/other/film.mp4", b"of another show")
    store.write(layout.cut_path("other"), json.dumps({"format": 1, "parts": [{"show": "autumn"}]}).encode())
    done = forget(store, "spring")
    assert (done.removed["deliverables"], done.removed["assets"], done.removed["cuts"]) == (7, 1, 2)
    left = {found.path for found in store.list()}
    assert not [path for path in left if "/spring/" in path or path.startswith("cuts/reel/")]
    assert "cuts/other/film.mp4" in left and "assets/matte/autumn/b/0a1b2c3d.take-001.mkv" in left
