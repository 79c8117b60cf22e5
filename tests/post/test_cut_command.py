"""`rushes cut` as people use it: what it says of bad input, and that nothing half-written is left."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from flows.command import main
from infra.cut import publishing, render
from infra.cut.errors import CutError
from infra.provenance import Invalid
from infra.store import Store, layout, open_store
from infra.store.options import StoreOptions
from tests.post.cuts import add_take, cut_record, frames_of, local_film, lumas, objects, rushes_cut, store_of
from tests.servers.command import RunCli
from tests.servers.seaweedfs import SeaweedFS


def refused(store: Store, capsys: pytest.CaptureFixture[str], *options: object, rc: int = 2) -> str:
    """Standard error of a command that ends so and leaves the store as it was."""
    before = objects(store)
    capsys.readouterr()
    assert rushes_cut(store, *options) == rc
    assert objects(store) == before
    return " ".join(capsys.readouterr().err.split())


def decide(store: Store, shot_id: str, *keys: str, verdict: str = "rejected") -> None:
    takes = {key: {"verdict": verdict, "note": "", "who": "ida", "when": "2026-01-01T00:00:00+00:00"} for key in keys}
    record = {
        "format": 1, "show": "s", "shot_id": shot_id, "state": "todo", "selected": None, "retakes": [], "who": "ida",
        "takes": takes,
        "when": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    store.write(layout.decision_path("s", shot_id), json.dumps(record).encode())


def test_a_missing_selection_names_the_shots_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = store_of(tmp_path, "a")
    decide(store, "b", add_take(store, tmp_path, "b")["spec_key"])
    said = refused(store, capsys)
    assert "1 of 2 shots have no take to cut" in said and "s/b: people turned down" in said
    assert "--skip-missing" in said and "rushes review" in said
    assert "2 of 2 shots" in refused(store, capsys, "--people-only")
    assert rushes_cut(store, "--skip-missing") == 0
    assert len(frames_of(local_film(store))) == 12


def test_an_empty_store_has_nothing_to_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = store_of(tmp_path)
    assert "no take to cut" in refused(store, capsys)
    assert main(["cut", str(tmp_path / "nowhere"), "--name", "x"]) == 2
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["../out", "a/b", "", ".hidden", "a b", "x" * 129, "a\n"])
def test_a_name_that_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    store = store_of(tmp_path, "a")
    before = objects(store)
    assert rushes_cut(store, name=name) == 2
    assert objects(store) == before and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--timeline", "cut.fcpxml"), ".otio, .edl or .toml"),
        (("--timeline", "missing.otio"), "cannot be read"),
        (("--transition", "dissolve"), "--transition-frames"),
        (("--transition", "dissolve", "--transition-frames", 13), "Make the transitions shorter"),
        (("--transition", "dip-black", "--transition-frames", 1), "--transition-frames"),
        (("--handles", 6), "nothing is left between handles"),
        (("--size", "63x48"), "both sides are even"),
        (("--size", "big"), "1280x720"),
        (("--start", "25h"), "no timecode"),
        (("--job", "nothing"), "nothing"),
        (("--title", " \t"), "1 to 500"),
        (("--title", "日本"), "cannot draw 日 本"),
        (("--title", "x", "--title-colour", "red;drawbox"), "no colour"),
        (("--title", "x", "--title-font", "noto"), "--font NAME=FILE"),
        (("--font", "noto=/etc/hostname"), "no font"),
        (("--font", "/etc/hostname"), "NAME=FILE"),
        (("--bed", "missing.wav"), "no sound file"),
        (("--bed", "/etc/hostname"), "cannot be read as sound"),
        (("--loudness", "loud", "--bed", "x.wav"), "no loudness"),
        (("--loudness", "loud"), "no loudness"),
    ],
)  # fmt: skip
def test_what_is_refused_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[object, ...], words: str
) -> None:
    store = store_of(tmp_path, "a", "b")
    assert words in refused(store, capsys, *options)


def test_mixed_rates_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = store_of(tmp_path, "a")
    add_take(store, tmp_path, "b", fps=25.0)
    said = refused(store, capsys)
    assert "8 (s/a.take-001); 25 (s/b.take-001)" in said and "--conform" in said


def test_a_timeline_that_names_a_missing_take_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = store_of(tmp_path, "a", "b")
    sheet = tmp_path / "cut.toml"
    sheet.write_text('[[part]]\nshot = "a"\n[[part]]\nshot = "s/bb.take-002"\n')
    said = refused(store, capsys, "--timeline", sheet)
    assert "cut.toml: part 2 names 's/bb.take-002'" in said and "Near it: s/b" in said
    assert "--handles and --timeline" in refused(store, capsys, "--timeline", sheet, "--handles", 2)


def test_sound_that_is_broken_silent_or_late_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.post.test_cut_film import tone

    store = store_of(tmp_path, "a", "b")
    good = tone(tmp_path / "good.wav", 1)
    broken, empty, playlist = tmp_path / "broken.flac", tmp_path / "empty.wav", tmp_path / "list.m3u8"
    broken.write_bytes(b"fLaC" + os.urandom(4000))
    tone(empty, 0)
    playlist.write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{good}\n#EXT-X-ENDLIST\n")
    for path in (broken, empty, playlist, tmp_path):
        said = refused(store, capsys, "--bed", path)
        assert str(path) in said and ("Sound is read from WAV" in said or "no sound file" in said)
    assert "silent" in refused(store, capsys, "--bed", tone(tmp_path / "silent.wav", 4, level=0))
    assert "begins at 9 s" in refused(store, capsys, "--voice", f"{good}@9")


def test_a_take_that_is_gone_or_rotten_stops_the_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = store_of(tmp_path, "a")
    media = add_take(store, tmp_path, "b")["media"]["path"]
    film = store.read(media)
    store.write(media, film[:-1] + bytes([film[-1] ^ 1]))
    assert "not the film that was committed" in refused(store, capsys)
    store.delete(media)
    assert "rushes verify" in refused(store, capsys)


def test_a_film_that_differs_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path, "a", "b")
    right = render.join

    def short(films: list[tuple[Path, int]], *more: object) -> None:
        right(films[:1], *more)

    monkeypatch.setattr(render, "join", short)
    assert "frames is 12, wanted 24" in refused(store, capsys, rc=4)


def test_two_cuts_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    store = store_of(tmp_path, "a", "b")
    assert rushes_cut(store) == 0
    stale = publishing.read(store, "film")
    assert rushes_cut(store, "--handles", 1) == 0
    with pytest.raises(CutError, match="at the same time"):
        publishing._settle(store, "film", b"{}", stale)
    assert cut_record(store)["film"]["frames"] == 20


def test_a_cut_that_is_lost_or_refused_leaves_none_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = store_of(tmp_path, "a")

    def invalid(*_: object) -> None:
        raise Invalid("it does not read back")

    right = publishing.check_stored
    for options in ((), ("--title", "A day out")):  # without a cut before it, and with one
        monkeypatch.setattr(publishing, "check_stored", invalid)
        assert "does not read back" in refused(store, capsys, *options, rc=4)
        monkeypatch.setattr(publishing, "check_stored", right)
        assert rushes_cut(store) == 0
    theirs = json.dumps({**cut_record(store), "recipe": "theirs"}).encode()

    def meanwhile(*_: object) -> None:
        store.write(layout.cut_path("film"), theirs)

    before = objects(store) | {layout.cut_path("film"): theirs}
    monkeypatch.setattr(publishing, "check_stored", meanwhile)
    assert rushes_cut(store, "--title", "A day out") == 2
    assert "at the same time" in capsys.readouterr().err and objects(store) == before


def test_what_a_killed_cut_put_is_removed_by_the_next(tmp_path: Path) -> None:
    store = store_of(tmp_path, "a")
    folder = layout.cut_folder("film")
    for name in ("film.0011aabb.mp4", "film.0011aabb.mp4.provenance.json", "timeline.0011aabb.edl", "notes.txt"):
        store.write(f"{folder}/{name}", b"x")
    store.write(f"{folder}/deliver/web/film.0011aabb.mp4", b"x")
    assert rushes_cut(store) == 0
    left = sorted(path for path, data in objects(store).items() if data == b"x")
    assert left == [f"{folder}/deliver/web/film.0011aabb.mp4", f"{folder}/notes.txt"]


def test_a_record_of_a_later_format_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = store_of(tmp_path, "a")
    store.write(layout.cut_path("film"), b'{"format": 2}')
    assert "newer" in refused(store, capsys)
    store.write(layout.cut_path("film"), b"{half")
    assert rushes_cut(store) == 0 and cut_record(store)["film"]["frames"] == 12


def test_a_film_that_was_deleted_is_cut_again(tmp_path: Path) -> None:
    store = store_of(tmp_path, "a")
    assert rushes_cut(store) == 0
    local_film(store).unlink()
    assert rushes_cut(store) == 0 and len(frames_of(local_film(store))) == 12


def test_json_and_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = store_of(tmp_path, "a", "b")
    before = objects(store)
    assert rushes_cut(store, "--dry-run", "--json", "--transition", "dissolve", "--transition-frames", 3) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["film"]["frames"], told["exit"], len(told["parts"])) == ("planned", 21, 0, 2)
    assert objects(store) == before
    assert rushes_cut(store, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "made" and told["film"] == cut_record(store)["film"]
    assert rushes_cut(store, "--json") == 0
    assert json.loads(capsys.readouterr().out)["state"] == "unchanged"
    assert rushes_cut(store, "--json", "--handles", 9) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["exit"] == 2 and "handles" in told["error"]


def test_our_own_timelines_cut_the_same_film(tmp_path: Path) -> None:
    store = store_of(tmp_path, "a", "b", "c")
    assert rushes_cut(store, "--transition", "dissolve", "--transition-frames", 3, "--handles", 1) == 0
    record = cut_record(store)
    for kind in ("otio", "edl"):
        local = tmp_path / f"back.{kind}"
        local.write_bytes(store.read(record["timeline"][kind]["path"]))
        assert rushes_cut(store, "--timeline", local, name=f"from-{kind}") == 0
        back = cut_record(store, f"from-{kind}")
        assert back["film"]["frames"] == record["film"]["frames"]
        assert lumas(local_film(store, f"from-{kind}")) == lumas(local_film(store))


def test_a_killed_cut_leaves_nothing_and_the_next_one_is_whole(tmp_path: Path, run_cli: RunCli) -> None:
    store = store_of(tmp_path)
    for shot in ("a", "b"):
        add_take(store, tmp_path, shot, size=(640, 480))
    before = objects(store)
    sheet = tmp_path / "cut.toml"
    sheet.write_text('[[part]]\nshot = "a"\nspeed = 0.05\n[[part]]\nshot = "b"\nspeed = 0.04\n')
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "rushes.toml").write_text(f'[farm]\nscratch = "{scratch}"\n[media]\npreset = "veryslow"\n')
    running = run_cli.start("cut", store.url, "--name", "film", "--timeline", str(sheet))
    until, seen = time.monotonic() + 120, False
    while not seen and time.monotonic() < until and running.poll() is None:
        time.sleep(0.02)
        seen = bool(list(scratch.rglob(".segment-*.part")))
    if not seen:
        os.killpg(running.pid, signal.SIGKILL)
    assert seen, "it was not seen at work"
    assert running.poll() is None, "it ended before it could be killed"
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert objects(store) == before
    assert rushes_cut(store) == 0 and cut_record(store)["film"]["frames"] == 24


def test_on_s3_the_record_is_replaced_as_on_a_folder(tmp_path: Path, s3: SeaweedFS) -> None:
    options = StoreOptions(
        endpoint_url=s3.endpoint, region=s3.region, access_key_id=s3.key, secret_access_key=s3.secret
    )
    store = open_store(s3.bucket_url("cuts"), options)
    store.probe()
    add_take(store, tmp_path, "a")
    config = tmp_path / "s3.toml"
    config.write_text(
        f'[store]\nendpoint_url = "{s3.endpoint}"\nregion = "{s3.region}"\naccess_key_id = "{s3.key}"\n'
        f'secret_access_key = "{s3.secret}"\n'
    )
    for frames, handles in ((12, 0), (10, 1)):
        assert rushes_cut(store, "--config", config, "--handles", handles) == 0
        record = cut_record(store)
        assert record["film"]["frames"] == frames
        assert store.read(record["film"]["path"])[4:8] == b"ftyp"
    assert s3.key not in json.dumps(record) and s3.secret not in json.dumps(record)
