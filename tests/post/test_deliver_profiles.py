"""Profiles as data: what ours are, and what is said of a file that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

import infra.deliver
from catalogs.schema import PROFILES
from flows.verbs import doctor
from infra.deliver import tool
from infra.deliver.errors import BadProfiles, EncoderMissing
from infra.deliver.profiles import load_profiles, pick, profiles_table
from infra.deliver.tool import encoder_of, encoders, lacking
from tests.post.deliveries import TOOLS, profile

GOOD = """
[x-house]
description = "ours"
container = "mp4"
video = { encoders = ["libx264"], codec = "h264", pix_fmt = "yuv420p" }
"""


def test_the_page_shows_the_profiles_as_they_are() -> None:
    page = Path(infra.deliver.__file__).with_name("README.md").read_text()
    assert profiles_table(load_profiles()) in page, "put the output of profiles_table(load_profiles()) there"


def test_a_catalog_may_name_our_profiles_and_no_others() -> None:
    profiles = load_profiles()
    assert set(PROFILES) == set(profiles)
    for name, tasks in PROFILES.items():
        assert ("t2v" in tasks) == profiles[name].takes_films
        assert ("still" in tasks) == (profiles[name].takes_stills or name == "mp4")


def test_the_ffmpeg_of_the_wheel_makes_all_of_them() -> None:
    assert lacking(list(load_profiles().values()), TOOLS.program) == {}
    assert "libx264" in encoders(TOOLS.program)


def test_doctor_tells_which_profiles_an_ffmpeg_cannot_make(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {finding.name: finding for finding in doctor.ffmpeg()}
    assert found["delivery"].state == "ok"
    monkeypatch.setattr(tool, "encoders", lambda program: encoders(program) - {"libsvtav1", "libaom-av1", "prores_ks"})
    found = {finding.name: finding for finding in doctor.ffmpeg()}
    assert found["delivery"].state == "warning" and "av1, prores-hq, prores-4444" in found["delivery"].found


def test_what_an_ffmpeg_lacks_is_named() -> None:
    video = {"encoders": ["libmagic", "libwonder"], "codec": "h264", "pix_fmt": "yuv420p"}
    with pytest.raises(EncoderMissing, match="profile small needs the encoder libmagic or libwonder"):
        encoder_of(profile(video=video), TOOLS.program)


def test_a_file_of_ones_own_adds_and_replaces(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(GOOD + GOOD.replace("x-house", "mp4"))
    profiles = load_profiles(mine)
    assert profiles["x-house"].description == profiles["mp4"].description == "ours"
    assert [one.name for one in pick(profiles, ["x-house", "hls", "x-house"])] == ["x-house", "hls"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a", "not TOML"),
        ("a = 1", "a is no table"),
        (GOOD + "colour = 1", "x-house.colour: no such key"),
        (GOOD.replace("codec =", "kodek ="), "x-house.video.kodek: no such key"),
        (GOOD.replace("x-house", '"../x"'), "is no name"),
        (GOOD.replace('"mp4"', '"avi"'), "x-house.container"),
        (GOOD + "frame = { width = 100 }", "a width needs a height"),
        (GOOD + "frame = { width = 101, height = 100 }", "multiple of 2"),
        (GOOD + 'frame = { fit = "follow" }', "needs width and height"),
        (GOOD + "loudness = { target = -23.0, true_peak = -1.0 }", r"loudness needs \[audio\]"),
        (GOOD + 'kind = "ladder"', "a ladder needs rungs"),
        (
            GOOD.replace("}", ", gop_s = 1 }") + 'kind = "ladder"\ncaptions = "both"\n'
            "rungs = [{ height = 32, bitrate_k = 60 }]",
            "captions of a ladder are sidecar or none",
        ),
        (GOOD + 'head = [{ kind = "black" }]', "either seconds or frames"),
        (GOOD + 'head = [{ kind = "freeze", frames = 2 }]', "a freeze in the tail"),
        ('[b]\ndescription = "x"\ncontainer = "mp4"', r"a film needs \[video\]"),
        ('[b]\ndescription = "x"\ncontainer = "jpg"\nkind = "tiles"', r"need \[sheet\]"),
    ],
)
def test_a_wrong_file_is_told_by_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(text)
    with pytest.raises(BadProfiles, match=said) as caught:
        load_profiles(mine)
    assert "mine.toml" in str(caught.value)


def test_a_profile_that_is_none_is_told_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadProfiles, match=r"no such profile: betamax; there are: av1, .*vertical"):
        pick(load_profiles(), ["mp4", "betamax"])
    with pytest.raises(BadProfiles, match=r"nowhere\.toml: No such file"):
        load_profiles(tmp_path / "nowhere.toml")
