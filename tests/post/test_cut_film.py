"""Films that were cut: every frame is the one that the timeline says, and what is whole is copied."""

from __future__ import annotations

import json
import math
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from infra.deliver.loudness import measure
from infra.deliver.tool import Tools
from infra.media import probe
from infra.store import layout
from tests.post.cuts import (
    FRAMES,
    add_take,
    cut_record,
    frames_of,
    grey,
    local_film,
    luma,
    lumas,
    objects,
    rushes_cut,
    store_of,
    text_of,
)


def whole(*shots: str) -> list[tuple[str, int]]:
    return [(shot, number) for shot in shots for number in range(FRAMES)]


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as film:
        return [bytes(packet) for packet in film.demux(video=0) if packet.size]


def tone(path: Path, seconds: float, *, level: float = 0.2, hertz: float = 330.0) -> Path:
    """A stereo WAV of one tone."""
    wave_of = (level * 32767 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * 48_000)) / 48_000)).astype("<i2")
    with wave.open(str(path), "wb") as out:
        out.setparams((2, 2, 48_000, 0, "NONE", ""))
        out.writeframes(np.repeat(wave_of, 2).tobytes())
    return path


def heard(film: Path, hertz: float, start: float, end: float) -> float:
    """How loud a tone is in a span of a film, as an amplitude."""
    with av.open(str(film)) as container:
        parts = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    sound = np.concatenate(parts)[int(start * 48_000) : int(end * 48_000)]
    turn = np.exp(-2j * np.pi * hertz * np.arange(len(sound)) / 48_000)
    return float(abs((sound * turn).mean()) * 2)


def test_straight_cuts_of_whole_takes_are_copied_packet_by_packet(tmp_path: Path) -> None:
    store = store_of(tmp_path, "a", "b", "c")
    assert rushes_cut(store) == 0
    film, record = local_film(store), cut_record(store)
    takes = [Path(store.url.removeprefix("file://")) / part["media"] for part in record["parts"]]
    assert packets(film) == [packet for take in takes for packet in packets(take)]
    assert frames_of(film) == whole("a", "b", "c")
    assert [part["copied"] for part in record["parts"]] == [True] * 3
    assert record["film"] | {"frames": 36, "fps": 8.0, "width": 64, "height": 48, "audio": None} == record["film"]
    assert [(part["record_in"], part["record_out"]) for part in record["parts"]] == [(0, 12), (12, 24), (24, 36)]
    facts = probe(film)
    assert facts.frames == 36 and facts.constant_rate and facts.faststart


def test_only_what_is_trimmed_is_encoded(tmp_path: Path) -> None:
    store = store_of(tmp_path, "a", "b")
    sheet = tmp_path / "cut.toml"
    sheet.write_text('[[part]]\nshot = "a"\n[[part]]\nshot = "b"\nin = 3\nout = 8\n[[part]]\nshot = "a"\n')
    assert rushes_cut(store, "--timeline", sheet) == 0
    assert frames_of(local_film(store)) == [*whole("a"), *whole("b")[3:8], *whole("a")]
    assert [part["copied"] for part in cut_record(store)["parts"]] == [True, False, True]


def test_of_a_trimmed_take_all_but_the_edges_is_copied(tmp_path: Path) -> None:
    store = store_of(tmp_path, "b")
    media = add_take(store, tmp_path, "a", frames=40)["media"]["path"]  # key frames at 0, 16 and 32
    sheet = tmp_path / "cut.toml"
    sheet.write_text('[[part]]\nshot = "b"\n[[part]]\nshot = "a"\nin = 2\nout = 38\ndissolve = 3\n')
    assert rushes_cut(store, "--timeline", sheet) == 0
    film, record = local_film(store), cut_record(store)
    assert [(one["frames"], one["copied"]) for one in record["segments"]] == [
        (9, False), (3, False), (11, False), (16, True), (6, False)
    ]  # fmt: skip
    assert [part["copied_frames"] for part in record["parts"]] == [0, 16]
    take = lumas(Path(store.url.removeprefix("file://")) / media)
    shown = lumas(film)
    assert len(shown) == 45 and shown[23:39] == take[16:32]
    assert shown[12:] == pytest.approx(take[5:38], abs=1.5)
    facts = probe(film)
    assert facts.constant_rate and facts.seconds == pytest.approx(45 / 8)


def test_speed_holds_and_gaps(tmp_path: Path) -> None:
    store = store_of(tmp_path, "a", "b", "c")
    sheet = tmp_path / "cut.toml"
    sheet.write_text(
        '[[part]]\nshot = "a"\nspeed = 2\n[[part]]\nshot = "b"\nspeed = 0.5\nin = 2\nout = 5\n'
        '[[part]]\nshot = "c"\nspeed = 0\nin = 4\nlength = 3\n[[part]]\nsolid = "black"\nlength = 2\n'
    )
    assert rushes_cut(store, "--timeline", sheet) == 0
    wanted = [("a", n) for n in range(0, 12, 2)] + [("b", n) for n in (2, 2, 3, 3, 4, 4)] + [("c", 4)] * 3
    film = local_film(store)
    assert frames_of(film)[:-2] == wanted
    assert lumas(film)[-2:] == pytest.approx([16, 16], abs=1)


def test_a_dissolve_mixes_and_shortens(tmp_path: Path) -> None:
    store = store_of(tmp_path, "a", "b")
    assert rushes_cut(store, "--transition", "dissolve", "--transition-frames", 4) == 0
    film, record = local_film(store), cut_record(store)
    assert record["film"]["frames"] == 20 == probe(film).frames
    shown = lumas(film)
    assert frames_of(film)[:8] == whole("a")[:8] and frames_of(film)[12:] == whole("b")[4:]
    for number in range(4):
        one, other = luma(grey("a", 8 + number)), luma(grey("b", number))
        assert shown[8 + number] == pytest.approx(one + (other - one) * (number + 1) / 5, abs=1.5)
    second = record["parts"][1]
    assert (second["record_in"], second["transition"]) == (8, {"kind": "dissolve", "frames": 4})


@pytest.mark.parametrize(("colour", "level"), [("black", 16), ("white", 235)])
def test_a_dip_reaches_its_colour_and_keeps_the_length(tmp_path: Path, colour: str, level: int) -> None:
    store = store_of(tmp_path, "a", "b")
    assert rushes_cut(store, "--transition", f"dip-{colour}", "--transition-frames", 6) == 0
    shown = lumas(local_film(store))
    assert len(shown) == 24
    assert shown[11] == pytest.approx(level, abs=1.5)
    assert shown[8] == pytest.approx(luma(grey("a", 8)), abs=1.5)
    assert shown[15] == pytest.approx(luma(grey("b", 3)), abs=1.5)


def test_handles_stay_out_of_the_film_and_in_the_timeline(tmp_path: Path) -> None:
    store = store_of(tmp_path, "a", "b")
    assert rushes_cut(store, "--handles", 3) == 0
    assert frames_of(local_film(store)) == [*whole("a")[3:9], *whole("b")[3:9]]
    row = text_of(store, "csv").splitlines()[1].split(",")
    assert row[-3:-1] == ["3", "3"]


def test_sizes_are_equalised_with_black_around(tmp_path: Path) -> None:
    store = store_of(tmp_path, "a")
    add_take(store, tmp_path, "b", size=(32, 48))
    assert rushes_cut(store) == 0
    film = local_film(store)
    with av.open(str(film)) as container:
        last = list(container.decode(video=0))[-1].to_ndarray()[:48]
    level = luma(grey("b", FRAMES - 1))
    assert last[:, 18:46].mean() == pytest.approx(level, abs=1.5)
    assert last[:, :14].mean() == pytest.approx(16, abs=1.5) == last[:, 50:].mean()
    assert [part["copied"] for part in cut_record(store)["parts"]] == [True, False]
    assert rushes_cut(store, "--size", "32x24", name="small") == 0
    assert (probe(local_film(store, "small")).width, probe(local_film(store, "small")).height) == (32, 24)


def test_conforming_repeats_and_leaves_out_frames(tmp_path: Path) -> None:
    store = store_of(tmp_path, "a")
    add_take(store, tmp_path, "b", fps=16.0)
    add_take(store, tmp_path, "c", fps=24000 / 1001, frames=12)
    assert rushes_cut(store, "--conform", 8) == 0
    found = frames_of(local_film(store))
    assert found[:12] == whole("a") and found[12:18] == [("b", n) for n in range(0, 12, 2)]
    assert found[18:] == [("c", math.floor(n * 24000 / 1001 / 8)) for n in range(4)]


def test_takes_of_another_encoder_are_encoded_with_the_rest(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    add_take(store, tmp_path, "a", preset="ultrafast")
    add_take(store, tmp_path, "b", preset="ultrafast")
    assert rushes_cut(store) == 0 and all(part["copied"] for part in cut_record(store)["parts"])
    assert rushes_cut(store, "--title", "Hi", "--title-s", 0.5) == 0
    record = cut_record(store)
    assert [part["copied"] for part in record["parts"]] == [False] * 3
    assert frames_of(local_film(store))[4:] == whole("a", "b")


def test_stills_and_titles_last_as_long_as_asked(tmp_path: Path) -> None:
    store = store_of(tmp_path, "a")
    add_take(store, tmp_path, "b", fps=None)
    title = "50% 'off': a,b;[c] \\n $(id) {x} %{pts}"
    assert rushes_cut(store, "--title", title, "--title-background", "#404040", "--title-s", 1) == 0
    film = local_film(store)
    assert frames_of(film)[8:] == [*whole("a"), *[("b", 0)] * 8]
    with av.open(str(film)) as container:
        card = next(container.decode(video=0)).to_ndarray()[:48]
    assert card.max() > 180 and np.median(card) == pytest.approx(luma(0x40), abs=1.5)
    assert cut_record(store)["parts"][0]["card"]["text"] == title


def test_the_same_command_again_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = store_of(tmp_path, "a", "b")
    options = ("--transition", "dissolve", "--transition-frames", 2)
    assert rushes_cut(store, *options) == 0
    before = objects(store)
    capsys.readouterr()
    assert rushes_cut(store, *options) == 0
    assert "nothing has changed" in capsys.readouterr().out
    assert objects(store) == before


def test_another_selection_encodes_only_what_it_touches(tmp_path: Path) -> None:
    store = store_of(tmp_path, "a", "b", "c")
    other = add_take(store, tmp_path, "b", take=2, shift=2)
    options = ("--transition", "dissolve", "--transition-frames", 2)
    assert rushes_cut(store, *options) == 0
    before = cut_record(store)
    keys = {segment["key"] for segment in before["segments"]}
    assert [part["take"] for part in before["parts"]] == [1, 1, 1]
    decision = {
        "format": 1, "show": "s", "shot_id": "b", "state": "approved", "takes": {}, "retakes": [], "who": "ida",
        "selected": {"take": 2, "revision": "0011aabb", "spec_key": other["spec_key"]},
        "when": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    store.write(layout.decision_path("s", "b"), json.dumps(decision).encode())
    assert rushes_cut(store, *options) == 0
    after = cut_record(store)
    assert [part["take"] for part in after["parts"]] == [1, 2, 1]
    fresh = [segment for segment in after["segments"] if not segment["cached"] and not segment["copied"]]
    assert [segment["parts"] for segment in fresh] == [[0, 1], [1], [1, 2]]
    assert {segment["key"] for segment in after["segments"] if segment["cached"]} <= keys
    kept = {path for path in objects(store) if path.startswith("cuts/")}
    named = {segment["path"] for segment in after["segments"] if segment["path"]}
    named |= {after["film"]["path"], *(file["path"] for file in after["timeline"].values()), "cuts/film/cut.json"}
    named |= {file["path"] for file in after["provenance"]["files"]}
    assert kept == named


def test_a_spoilt_cache_is_made_anew(tmp_path: Path) -> None:
    store = store_of(tmp_path, "a", "b")
    assert rushes_cut(store, "--handles", 2) == 0
    for segment in cut_record(store)["segments"]:
        store.write(segment["path"], b"not a film")
    assert rushes_cut(store, "--handles", 2, "--start", "00:00:00:00") == 0
    assert frames_of(local_film(store)) == [*whole("a")[2:10], *whole("b")[2:10]]


def test_sound_is_as_long_and_as_loud_as_asked_and_ducks(tmp_path: Path) -> None:
    store = store_of(tmp_path, "a", "b", "c")
    bed, voice = tone(tmp_path / "bed; rm.wav", 2, level=0.1), tone(tmp_path / "voice.wav", 2, level=0.5, hertz=900)
    sound = ("--bed", bed, "--loop-bed", "--voice", f"{voice}@2", "--loudness", -16, "--true-peak", -2)
    assert rushes_cut(store, *sound) == 0
    film, record = local_film(store), cut_record(store)
    found = measure(film, Tools())
    assert found.integrated == pytest.approx(-16, abs=0.5) and found.true_peak <= -2
    assert record["film"]["audio"]["measured"]["integrated_lufs"] == round(found.integrated, 2)
    assert all(part["copied"] for part in record["parts"]) and frames_of(film) == whole("a", "b", "c")
    alone, under, after = (heard(film, 330, *span) for span in ((0.5, 1.5), (2.5, 3.5), (4.2, 4.45)))
    assert under < alone / 2 and after > under * 1.5
    assert heard(film, 900, 2.5, 3.5) > 10 * heard(film, 900, 0.5, 1.5)
    with av.open(str(film)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert abs(samples - 4.5 * 48_000) <= 2048
    assert rushes_cut(store, *sound, "--no-duck") == 0
    film = local_film(store)
    assert heard(film, 330, 2.5, 3.5) == pytest.approx(heard(film, 330, 0.5, 1.5), rel=0.1)


def test_hundreds_of_parts_at_an_ntsc_rate_stay_on_the_grid(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    add_take(store, tmp_path, "a", fps=24000 / 1001, frames=5)
    sheet = tmp_path / "cut.toml"
    sheet.write_text('[[part]]\nshot = "a"\n' * 400)
    assert rushes_cut(store, "--timeline", sheet) == 0
    facts = probe(local_film(store))
    assert facts.frames == 2000 and facts.constant_rate
    assert facts.seconds == pytest.approx(2000 * 1001 / 24000, abs=1e-6)
