"""`rushes deliver` as a user runs it: what is made, what stands, what is refused, and what a kill leaves behind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from infra.deliver import records
from infra.deliver.look import look
from infra.store import Store, layout, open_store
from infra.store.errors import StoreUnavailable
from infra.store.jobs import put_plan
from infra.store.options import StoreOptions
from infra.store.verify import audit
from tests.flows.command_samples import Ran, run
from tests.post.cuts import add_take, store_of
from tests.post.deliveries import tone
from tests.post.takes import row, store_with
from tests.servers.seaweedfs import SeaweedFS

PROFILES = """
[x-small]
description = "small"
container = "mp4"
captions = "both"
video = { encoders = ["libx264"], codec = "h264", pix_fmt = "yuv420p", gop_s = 0.25, options = { preset = "veryfast" } }
audio = { encoder = "aac", bitrate_k = 96 }

[x-wrong]
description = "says another codec than it encodes"
container = "mp4"
video = { encoders = ["libx264"], codec = "hevc", pix_fmt = "yuv420p", options = { preset = "veryfast" } }

[x-magic]
description = "needs what no ffmpeg has"
container = "mp4"
video = { encoders = ["libmagic"], codec = "h264", pix_fmt = "yuv420p" }
"""
SRT = "1\n00:00:00,000 --> 00:00:00,300\n{}\n"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "mine.toml").write_text(PROFILES)
    for locale in ("de", "fr"):
        (tmp_path / f"c.{locale}.srt").write_text(SRT.format(f"Text {locale}"))
    return tmp_path


def deliver(capsys: pytest.CaptureFixture[str], store: Store, here: Path, *words: object) -> Ran:
    return run(capsys, "deliver", store.url, "--profiles", here / "mine.toml", "--json", *words)


def takes(here: Path, *rows: Mapping[str, Any]) -> Store:
    return store_with(here, [dict(one) for one in rows] or [row("a")])[0]


def objects(store: Store, below: str = "deliver") -> dict[str, bytes]:
    return {found.path: store.read(found.path) for found in store.list(below)}


def test_the_rows_say_what_is_made_and_it_is_made_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = takes(here, row("a", deliver=["mp4", "poster"]), row("b", deliver=None), row("still", task="still"))
    first = deliver(capsys, store, here)
    assert first.code == 0, first.err
    assert [(one["profile"], one["source"]["shot_id"]) for one in first.json["made"]] == [
        ("mp4", "a"), ("poster", "a"), ("mp4", "b"), ("png", "still"),
    ]  # fmt: skip
    one = first.json["made"][0]
    assert one["file"] == "deliver/mp4/spring/a/spring_a_0a1b2c3d_v001.mp4"
    assert json.loads(store.read("deliver/mp4/spring/a/spring_a_0a1b2c3d_v001.json")) == one
    assert one["source"]["spec_key"] == row("a")["spec_key"] and one["probe"]["codec"] == "h264"
    for file in one["files"]:
        assert store.digest(file["path"]) == (file["bytes"], file["sha256"])
    before = objects(store)
    again = deliver(capsys, store, here)
    assert (again.code, again.json["made"], len(again.json["standing"])) == (0, [], 4)
    assert objects(store) == before
    assert audit(store, strict=True).faults == []


def test_only_what_changed_or_went_is_made_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = takes(here, row("a"), row("b"))
    words = ("-p", "x-small", "-p", "poster")
    deliver(capsys, store, here, *words)
    (here / "mine.toml").write_text(PROFILES.replace("gop_s = 0.25", "gop_s = 0.125"))
    store.delete("deliver/poster/spring/b/spring_b_0a1b2c3d_v001.jpg")
    again = deliver(capsys, store, here, *words)
    assert [(one["profile"], one["source"]["shot_id"]) for one in again.json["made"]] == [
        ("x-small", "a"), ("x-small", "b"), ("poster", "b"),
    ]  # fmt: skip
    assert len(again.json["standing"]) == 1


def test_one_that_differs_from_its_profile_is_refused_and_the_others_go_on(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = takes(here)
    ran = deliver(capsys, store, here, "-p", "x-wrong", "-p", "x-small")
    assert ran.code == ran.json["exit"] == 1
    assert [one["profile"] for one in ran.json["made"]] == ["x-small"]
    (failed,) = ran.json["failed"]
    assert (failed["profile"], failed["error"]) == ("x-wrong", "codec is h264, the profile wants hevc")
    assert not [path for path in objects(store) if "x-wrong" in path]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-p", "betamax"), "no such profile: betamax; there are: av1"),
        (("-p", "x-magic"), "needs the encoder libmagic"),
        (("--template", "{shot_id}_{colour}"), "no field colour; there are: "),
        (("--template", "{shot_id[0]}"), "is no plain field"),
        (
            ("-p", "x-small", "--captions", "c.de.srt", "--captions", "c.fr.srt", "--template", "{shot_id}"),
            "would both be a as x-small: put {take}, {revision} or {locale} into the template",
        ),
        (("--captions", "none.srt"), "No such file"),
        (("--captions", "c.de.srt", "--captions", "de=c.fr.srt"), "more than one file for de"),
        (("--audio", "c.de.srt"), "sound"),
        (("--audio", "none.wav"), "No such file"),
        (("--profiles", "none.toml"), "No such file"),
        (("--job", "nothing"), "has no job nothing"),
        (("--shot", "zzz"), "has no shot zzz"),
        (("--cut", "nothing"), "has no cut nothing"),
        (("--cut", "x", "--job", "job"), "--cut is delivered whole"),
        (("--workers", "many"), "neither a number"),
        (("--people-only",), "has no take to deliver: a: nobody has chosen"),
    ],
    ids=lambda value: " ".join(map(str, value))[:40] if isinstance(value, tuple) else "",
)
def test_what_cannot_work_is_said_before_anything_is_made(
    words: tuple[str, ...], said: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    store = takes(here, row("a"), row("b"))
    ran = deliver(capsys, store, here, *words)
    assert ran.code == 2, ran.out
    assert said in " ".join(ran.err.split())
    assert objects(store) == {}


def test_a_damaged_film_is_refused_with_the_verb_that_says_more(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    store, (commit,) = store_with(here, [row("a")])
    store.write(commit["media"]["path"], store.read(commit["media"]["path"])[:-1])
    ran = deliver(capsys, store, here)
    assert ran.code == 1 and "rushes verify" in ran.json["failed"][0]["error"]
    store.delete(commit["media"]["path"])
    assert deliver(capsys, store, here).code == 1
    assert objects(store) == {}


def test_locales_share_a_picture_and_have_words_and_voices_of_their_own(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows that differ by locale alone are copies of one picture: they are finished, not rendered."""
    store = takes(here, row("ad.de", locale="de"), row("ad.fr-CA", locale="fr-CA"), row("ad.en", locale="en"))
    voice = tone(here / "fr.wav", 1.0, 0.2)
    words = ("--captions", here / "c.de.srt", "--captions", here / "c.fr.srt", "--audio", f"fr={voice}")
    ran = deliver(capsys, store, here, "-p", "x-small", "--template", "{shot_id}_{aspect}_{locale}_v{take:03}", *words)
    assert ran.code == 0, ran.err
    found = {one["name"]: one for one in ran.json["made"]}
    assert list(found) == ["ad.de_1x1_de_v001", "ad.fr-CA_1x1_fr-CA_v001", "ad.en_1x1_en_v001"]
    assert [one["captions"] for one in found.values()] == [["de"], ["fr"], []]
    assert [one["probe"]["sound"] is not None for one in found.values()] == [False, True, False]
    names = [file["path"].rpartition("/")[2] for file in found["ad.de_1x1_de_v001"]["files"]]
    assert names[:3] == ["ad.de_1x1_de_v001.mp4", "ad.de_1x1_de_v001.de.srt", "ad.de_1x1_de_v001.de.vtt"]


def test_a_row_without_a_locale_has_a_version_for_each_that_is_drawn(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = takes(here)
    words = ("--captions", here / "c.de.srt", "--captions", here / "c.fr.srt")
    ran = deliver(capsys, store, here, "-p", "x-small", "-p", "mp4", *words)
    assert [(one["profile"], one["name"], one["captions"]) for one in ran.json["made"]] == [
        ("x-small", "spring_a_0a1b2c3d_v001_de", ["de"]), ("x-small", "spring_a_0a1b2c3d_v001_fr", ["fr"]),
        ("mp4", "spring_a_0a1b2c3d_v001", ["de", "fr"]),
    ]  # fmt: skip


def test_a_cut_is_delivered_as_it_stands(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = store_of(here, "a", "b")
    bed = tone(here / "bed.wav", 3.0, 0.2)
    assert run(capsys, "cut", store.url, "--name", "trailer", "--bed", bed).code == 0
    ran = deliver(capsys, store, here, "--cut", "trailer", "-p", "x-small", "-p", "poster")
    assert ran.code == 0, ran.err
    film = ran.json["made"][0]
    assert film["file"] == "cuts/trailer/deliver/x-small/trailer.mp4"
    cut = json.loads(store.read(layout.cut_path("trailer")))
    assert film["probe"]["frames"] == cut["film"]["frames"] == 24
    assert film["probe"]["sound"]["seconds"] == pytest.approx(3.0, abs=0.05)
    store.fetch(film["file"], here / "back.mp4")
    assert look(here / "back.mp4").frames == 24
    assert audit(store, strict=True).faults == []


def test_a_store_that_goes_away_leaves_no_record_of_what_is_not_there(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = takes(here)
    create = Store.create

    def away(self: Store, path: str, data: bytes) -> str:
        if path.startswith("deliver/"):  # the record: files are put as files
            raise StoreUnavailable("the store is away")
        return create(self, path, data)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "create", away)
        assert deliver(capsys, store, here, "-p", "x-small").code == 4
    assert not [path for path in objects(store) if path.endswith("v001.json")]
    assert records.read_record(store, "deliver/x-small/spring/a/spring_a_0a1b2c3d_v001.json") is None
    again = deliver(capsys, store, here, "-p", "x-small")
    assert (again.code, len(again.json["made"])) == (0, 1)


def test_on_s3_a_ladder_is_put_read_back_and_stands(
    here: Path, s3: SeaweedFS, capsys: pytest.CaptureFixture[str]
) -> None:
    options = StoreOptions(
        endpoint_url=s3.endpoint, region=s3.region, access_key_id=s3.key, secret_access_key=s3.secret
    )
    store = open_store(s3.bucket_url("deliver"), options)
    store.probe()
    commit = add_take(store, here, "a")
    planned = row("a", show="s", revision="0011aabb", spec_key=commit["spec_key"])
    put_plan(store, "job", pa.Table.from_pylist([planned]))
    config = here / "s3.toml"
    config.write_text(
        f'[store]\nendpoint_url = "{s3.endpoint}"\nregion = "{s3.region}"\naccess_key_id = "{s3.key}"\n'
        f'secret_access_key = "{s3.secret}"\n'
    )
    ran = deliver(capsys, store, here, "-p", "hls", "--config", config)
    assert ran.code == 0, ran.err
    (record,) = ran.json["made"]
    assert record["file"].endswith("/index.m3u8") and record["provenance"]["c2pa"] == "detached"
    assert all(store.stat(file["path"]).size == file["bytes"] for file in record["files"])
    again = deliver(capsys, store, here, "-p", "hls", "--config", config)
    assert len(again.json["standing"]) == 1 and not again.json["made"]


def test_names_from_a_catalog_stay_names(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = takes(here, row("a", note="../../etc/passwd\n{x}'; rm -rf /", title="Ünï – code"))
    ran = deliver(capsys, store, here, "-p", "proxy", "--template", "{note}_{title}_{shot_id}")
    assert ran.code == 0, ran.err
    assert ran.json["made"][0]["file"] == "deliver/proxy/spring/a/etc-passwd-x-rm-rf_Uni-code_a.mp4"


def test_profiles_are_listed_with_what_this_ffmpeg_lacks(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = deliver(capsys, takes(here), here, "--list")
    found = {one["name"]: one["lacks"] for one in ran.json["profiles"]}
    assert found["mp4"] is None and "libmagic" in found["x-magic"] and ran.json["exit"] == 0


def test_a_dry_run_makes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = takes(here)
    ran = deliver(capsys, store, here, "-p", "vertical", "--dry-run")
    assert [one["name"] for one in ran.json["orders"]] == ["spring_a_0a1b2c3d_v001"]
    assert objects(store) == {}


def test_a_dry_run_ends_as_the_run_would(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, commits = store_with(here, [row("a"), row("b")])
    store.delete(layout.commit_path(commits[1]["spec_key"]))
    ran = deliver(capsys, store, here, "-p", "poster", "--dry-run")
    assert (ran.code, ran.json["exit"], [one["shot_id"] for one in ran.json["missing"]]) == (1, 1, ["b"])


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ('[media]\nffmpeg = "/nope"', 2, "'/nope', is not there"),
        ('[media]\nffmpeg = "/bin/false"', 2, "does not run as ffmpeg does"),
        ("[farm]\nscratch_bytes = 1", 4, "farm.scratch_bytes is 1"),
    ],
)
def test_what_the_machine_lacks_is_said(
    settings: str, code: int, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "s.toml").write_text(settings)
    ran = deliver(capsys, takes(here), here, "-p", "mp4", "--config", here / "s.toml")
    text = " ".join(ran.err.split())
    assert ran.code == code and said in text and "nternal error" not in text
