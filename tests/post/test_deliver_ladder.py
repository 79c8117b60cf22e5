"""The HLS and CMAF ladder, read by a client that is not ours, and opened by its playlists as a player does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import m3u8
import pytest

from infra.deliver import ladder
from infra.deliver.captions import read_captions
from infra.deliver.errors import Refused
from infra.deliver.ladder import rungs_of
from infra.deliver.profiles import Profile, load_profiles
from tests.post.deliveries import AAC, H264, grey_film, job_of, lumas, made_of, profile, square_film, tone

RUNGS = [{"height": 32, "bitrate_k": 60}, {"height": 48, "bitrate_k": 120}, {"height": 720, "bitrate_k": 300}]


def small_ladder(**more: Any) -> Profile:
    video = H264 | {"options": {"profile:v": "high", "preset": "veryfast", "threads": 2}}
    form = {"kind": "ladder", "container": "hls", "video": video, "rungs": RUNGS, "segment_s": 1.0}
    return profile("hls-small", **form | more)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ladder of a film of 40 frames at 12 a second, with sound and captions of two locales."""
    folder = tmp_path_factory.mktemp("ladder")
    film = grey_film(folder / "take.mp4", frames=40, size=(96, 64))
    for locale in ("de", "pt-BR"):
        (folder / f"c.{locale}.srt").write_text("1\n00:00:00,500 --> 00:00:01,000\nA & B\n")
    captions = [read_captions(str(folder / f"c.{locale}.srt")) for locale in ("de", "pt-BR")]
    job = job_of(film, small_ladder(audio=AAC), audio=tone(folder / "a.wav", 4.0), captions=captions)
    assert made_of(job, folder).files[0].name == "index.m3u8"
    return folder / "hls-small-made" / "out" / "made"


def test_another_client_reads_the_master_playlist(made: Path) -> None:
    master = m3u8.load(str(made / "index.m3u8"))
    assert master.is_variant and master.is_independent_segments
    sizes = [playlist.stream_info.resolution for playlist in master.playlists]
    assert sizes == [(48, 32), (72, 48), (96, 64)]
    for playlist in master.playlists:
        info = playlist.stream_info
        assert info.codecs.startswith("avc1.64") and info.codecs.endswith(",mp4a.40.2")
        assert info.frame_rate == 12 and info.bandwidth >= info.average_bandwidth > 1000
        assert (info.audio, info.subtitles) == ("sound", "captions")
    media = {(one.type, one.language): one.uri for one in master.media}
    assert media == {
        ("AUDIO", None): "audio/index.m3u8", ("SUBTITLES", "de"): "captions/de.m3u8",
        ("SUBTITLES", "pt-BR"): "captions/pt-BR.m3u8",
    }  # fmt: skip
    (trick,) = master.iframe_playlists
    assert trick.uri == "iframes/index.m3u8"
    for uri in [playlist.uri for playlist in master.playlists] + [trick.uri, *media.values()]:
        child = m3u8.load(str(made / uri))
        assert child.is_endlist
        for segment in child.segments:
            assert (made / uri).with_name(segment.uri).stat().st_size > 0
            assert segment.duration <= child.target_duration + 0.5


def test_all_rungs_are_cut_at_the_same_frames(made: Path) -> None:
    cuts, keys = [], []
    for name in ("32p", "48p", "64p"):
        playlist = m3u8.load(str(made / name / "index.m3u8"))
        cuts.append([segment.duration for segment in playlist.segments])
        with av.open(str(made / name / "index.m3u8")) as container:
            frames = list(container.decode(video=0))
        assert len(frames) == 40
        keys.append([number for number, frame in enumerate(frames) if frame.key_frame])
    assert cuts[0] == cuts[1] == cuts[2] and sum(cuts[0]) == pytest.approx(40 / 12, abs=0.001)
    assert keys == [[0, 6, 12, 18, 24, 30, 36]] * 3
    starts = [round(sum(cuts[0][:number]) * 12) for number in range(len(cuts[0]))]
    assert set(starts) <= set(keys[0])  # each segment begins with a key frame
    assert len(starts) > 2


def test_every_segment_plays_by_itself(made: Path, tmp_path: Path) -> None:
    """Closed groups: a player may begin, or switch, at any segment."""
    count = 0
    for segment in sorted((made / "64p").glob("*.m4s")):
        whole = tmp_path / f"{segment.stem}.mp4"
        whole.write_bytes((made / "64p" / "init.mp4").read_bytes() + segment.read_bytes())
        with av.open(str(whole)) as container:
            container.streams.video[0].codec_context.options = {"err_detect": "explode"}
            count += sum(1 for _ in container.decode(video=0))
    assert count == 40


def test_the_iframe_playlist_has_the_key_frames_of_the_rungs(made: Path) -> None:
    playlist = m3u8.load(str(made / "iframes" / "index.m3u8"))
    assert playlist.is_i_frames_only
    assert [segment.duration for segment in playlist.segments] == pytest.approx([0.5] * 6 + [4 / 12], abs=0.001)
    shown, rung = lumas(made / "iframes" / "index.m3u8"), lumas(made / "48p" / "index.m3u8")
    assert shown == pytest.approx(rung[::6], abs=6)


def test_captions_are_webvtt_of_their_locale(made: Path) -> None:
    text = (made / "captions" / "pt-BR.vtt").read_text()
    assert text.startswith("WEBVTT\nX-TIMESTAMP-MAP=") and "00:00:00.500 --> 00:00:01.000\nA &amp; B" in text


@pytest.mark.parametrize(
    ("size", "found"),
    [
        ((1920, 1080), [234, 360, 432, 540, 720, 1080]),
        ((1080, 1920), [234, 360, 432, 540, 720, 1080]),  # a tall film: of its shorter side
        ((832, 480), [234, 360, 432, 480]),
        ((64, 64), [64]),
        ((3840, 2160), [234, 360, 432, 540, 720, 1080]),
    ],
)
def test_no_rung_is_larger_than_the_source(size: tuple[int, int], found: list[int]) -> None:
    rungs = rungs_of(load_profiles()["hls"], size)
    assert [rung.height for rung, _ in rungs] == found
    assert [min(own) for _, own in rungs] == found
    assert all((own[0] > own[1]) == (size[0] > size[1]) for _, own in rungs)


@pytest.mark.parametrize("fault", ["grid", "open", "missing"])
def test_a_ladder_with_one_wrong_rung_is_refused(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    film = grey_film(tmp_path / "take.mp4", frames=24, size=(96, 64))
    options = ladder.encoder_options
    calls: list[int] = []

    def spoilt(*arguments: Any) -> dict[str, Any]:
        calls.append(1)
        found = options(*arguments)
        if len(calls) != 2:
            return found
        if fault == "grid":
            return found | {"g": 5, "keyint_min": 5}
        return found | ({"x264-params": "open-gop=1"} if fault == "open" else {"frames:v": 20})

    monkeypatch.setattr(ladder, "encoder_options", spoilt)
    job = job_of(film, replace_options(small_ladder(), fault))
    if fault == "open":  # the timing of its frames gives it away before its groups do
        monkeypatch.setattr(ladder, "compare", lambda *arguments: None)
        monkeypatch.setattr(ladder, "_same_grid", lambda *arguments: None)
    said = {"grid": "grid of 48p", "open": "group of 48p is open", "missing": "frames"}[fault]
    with pytest.raises(Refused, match=said):
        made_of(job, tmp_path)


def replace_options(wanted: Profile, fault: str) -> Profile:
    """An open group needs B-frames to be open with."""
    if fault != "open" or wanted.video is None:
        return wanted
    video = wanted.video.model_copy(update={"options": wanted.video.options | {"bf": 3, "b_strategy": 0}})
    return wanted.model_copy(update={"video": video})


def test_sound_that_is_too_short_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = grey_film(tmp_path / "take.mp4", frames=24, size=(96, 64))
    job = job_of(film, small_ladder(audio=AAC), audio=tone(tmp_path / "a.wav"))
    sound_of = ladder.sound_of
    monkeypatch.setattr(
        ladder, "sound_of", lambda job, shape, folder: sound_of(job, replace(shape, programme=12), folder)
    )
    with pytest.raises(Refused, match="length of the sound"):
        made_of(job, tmp_path)


def test_a_ladder_around_the_subject_holds_its_own_files_alone(tmp_path: Path) -> None:
    film = square_film(tmp_path / "take.mp4", frames=12)
    frame = {"width": 48, "height": 64, "fit": "follow"}
    made = made_of(job_of(film, small_ladder(frame=frame, rungs=RUNGS[:1])), tmp_path)
    assert {path.suffix for path in made.files} <= {".m3u8", ".mp4", ".m4s"}
    assert made.told["reframe"]["around"]
