"""Posters, sheets, sprites, sequences; captions and notes in the picture; windows that follow the subject; scalers."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from infra.deliver.captions import Captions, Cue, read_captions
from infra.deliver.drawing import Font, escaped
from infra.deliver.errors import BadCaptions
from infra.deliver.profiles import load_profiles
from infra.deliver.reframe import boxes_of, follow
from infra.deliver.sheets import frames_of
from infra.media import encode_film
from infra.media.errors import UpscalerFailed
from tests.post.deliveries import FONT, grey_film, greys, job_of, lumas, made_of, profile, square_film

EVIL = r"{\an8}x, [0:v];'%{pts}' C:\new \N :drawtext=text=y <b>"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grey_film(tmp_path_factory.mktemp("film") / "take.mp4")


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return square_film(tmp_path_factory.mktemp("film") / "square.mp4")


def captions_of(*cues: Cue, locale: str = "de") -> Captions:
    return Captions(locale, cues, f"c.{locale}.srt", "0" * 64)


def test_a_poster_is_the_frame_in_the_middle(film: Path, tmp_path: Path) -> None:
    made = made_of(job_of(film, load_profiles()["poster"]), tmp_path)
    with Image.open(made.files[0]) as picture:
        assert picture.size == (64, 48)
        assert np.asarray(picture.convert("L")).mean() == pytest.approx(greys(24)[12], abs=3)


def test_a_tile_sheet_has_every_frame_in_rows_of_eight(film: Path, tmp_path: Path) -> None:
    made = made_of(job_of(film, load_profiles()["tiles"]), tmp_path)
    with Image.open(made.files[0]) as picture:
        assert picture.size == (8 * 133, 3 * 100)
        sheet = np.asarray(picture.convert("L"), float)
    tiles = [
        sheet[y * 100 + 20 : y * 100 + 80, x * 133 + 20 : x * 133 + 110].mean() for y in range(3) for x in range(8)
    ]
    assert tiles == pytest.approx(greys(24), abs=4)


def test_a_sprite_tells_where_each_picture_is(film: Path, tmp_path: Path) -> None:
    made = made_of(job_of(film, load_profiles()["sprite"], name="take-1"), tmp_path)
    text = made.files[1].read_text()
    cues = re.findall(r"([\d:.]+) --> ([\d:.]+)\n(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)", text)
    assert [cue[:3] for cue in cues] == [
        (f"00:00:0{n // 2}.{n % 2 * 5}00", f"00:00:0{(n + 1) // 2}.{(n + 1) % 2 * 5}00", "take-1.jpg") for n in range(4)
    ]
    with Image.open(made.files[0]) as picture:
        sheet = np.asarray(picture.convert("L"), float)
    for number, (*_, x, y, width, height) in enumerate(cues):
        tile = sheet[int(y) : int(y) + int(height), int(x) : int(x) + int(width)]
        assert tile[10:-10, 10:-10].mean() == pytest.approx(greys(24)[number * 6], abs=4)


def test_a_sheet_of_a_long_film_is_evenly_spread() -> None:
    sheet = load_profiles()["tiles"].sheet
    assert sheet is not None
    numbers = frames_of(sheet.model_copy(update={"most": 50}), 1000, 24.0)
    assert (len(numbers), numbers[0], numbers[-1]) == (50, 0, 999)
    assert max(np.diff(numbers)) - min(np.diff(numbers)) <= 1
    assert frames_of(sheet, 5, 24.0) == [0, 1, 2, 3, 4]


def test_a_sequence_has_a_png_for_each_frame(film: Path, tmp_path: Path) -> None:
    made = made_of(job_of(film, load_profiles()["png-sequence"], name="take"), tmp_path)
    assert [path.relative_to(made.folder).as_posix() for path in made.files[:2]] == [
        "take/0000001.png", "take/0000002.png",
    ]  # fmt: skip
    found = [np.asarray(Image.open(path)).mean() for path in made.files]
    assert found == pytest.approx(greys(24), abs=1)  # full range, the source's own greys


def test_captions_stand_in_their_frames_and_in_no_other(tmp_path: Path) -> None:
    dark = grey_film(tmp_path / "dark.mp4", frames=24, size=(160, 96), fps=24)
    cues = captions_of(Cue(0.25, 0.5, ("MMMMMM", "WWWWWW")), Cue(0.75, 5.0, (EVIL,)))
    wanted = profile(captions="both")
    drawn = made_of(job_of(dark, wanted, captions=[cues]), tmp_path)
    plain = made_of(job_of(dark, wanted, name="plain"), tmp_path)
    differ = []
    with av.open(str(drawn.files[0])) as ours, av.open(str(plain.files[0])) as theirs:
        for one, other in zip(ours.decode(video=0), theirs.decode(video=0), strict=True):
            gap = np.abs(one.to_ndarray(format="gray").astype(int) - other.to_ndarray(format="gray"))
            differ.append(gap[:48].max() < 40 < gap[48:].max())  # in the lower half alone
    assert differ == [6 <= number < 12 or number >= 18 for number in range(24)]
    assert [path.suffix for path in drawn.files] == [".mp4", ".srt", ".vtt"]
    assert drawn.files[1].name == "made.de.srt"
    assert EVIL in drawn.files[1].read_text()
    again = read_captions(str(drawn.files[1]))
    assert [cue.lines for cue in again.cues] == [("MMMMMM", "WWWWWW"), (EVIL.replace("<b>", "").strip(),)]
    assert "&lt;b&gt;" in drawn.files[2].read_text()


def test_what_people_write_never_becomes_a_command() -> None:
    assert escaped(r"{\b1}") == "\\{\\\u2060b1\\}"
    assert "\n" not in escaped("a\nb\x00c")


def test_letters_that_the_font_lacks_are_an_error_not_a_gap(film: Path, tmp_path: Path) -> None:
    assert FONT.lacks("Grüße, à bientôt! Ζήτα, привет, Việt — “ok” 50 €") == []
    cues = captions_of(Cue(0, 1, ("日本",)), locale="ja")
    with pytest.raises(BadCaptions, match=r"c\.ja\.srt: the font Noto Sans cannot draw 日 本.*deliver\.font"):
        made_of(job_of(film, profile(captions="burned"), captions=[cues]), tmp_path)
    with pytest.raises(BadCaptions, match=r"deliver\.font"):
        Font.load(tmp_path / "none.ttf")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.txt", "x", "are .srt or .vtt"),
        ("a.srt", "", "no captions in it"),
        ("a.srt", "hello", "no captions in it"),
        ("a.srt", "1\n00:00:02,000 --> 00:00:01,000\nx\n", "caption 1 ends at 1000 ms and begins at 2000 ms"),
        ("a.vtt", "1\n00:00:00.000 --> 00:00:01.000\nx\n", "begins with WEBVTT"),
        ("a.srt", b"1\n00:00:00,000 --> 00:00:01,000\n\xff\xfe\n", "not UTF-8"),
        ("none.srt", None, "No such file"),
    ],
)
def test_captions_that_are_none_are_told(name: str, text: str | bytes | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadCaptions, match=said):
        read_captions(str(tmp_path / name))


def test_the_locale_is_in_the_name_or_before_it(tmp_path: Path) -> None:
    for name in ("a.pt-BR.srt", "a.srt"):
        (tmp_path / name).write_text("1\n00:00:00,000 --> 00:00:01,000\n<i>x</i>\n")
    assert read_captions(str(tmp_path / "a.pt-BR.srt")).locale == "pt-BR"
    assert read_captions(str(tmp_path / "a.srt")).locale == "und"
    assert read_captions(f"fr={tmp_path}/a.pt-BR.srt").locale == "fr"
    assert read_captions(str(tmp_path / "a.srt")).cues[0].lines == ("x",)


def test_a_proxy_tells_its_frame_number(square: Path, tmp_path: Path) -> None:
    fields = {"show": EVIL, "shot_id": "a", "take": 2, "seed": 7}
    wanted = profile(burn_in=True, frame={"height": 128})
    made = made_of(job_of(square, wanted, fields=fields), tmp_path)
    plain = made_of(job_of(square, profile(frame={"height": 128}), name="plain"), tmp_path)
    with av.open(str(made.files[0])) as ours, av.open(str(plain.files[0])) as theirs:
        pairs = zip(ours.decode(video=0), theirs.decode(video=0), strict=True)
        changed = [np.abs(a.to_ndarray(format="gray").astype(int) - b.to_ndarray(format="gray")) for a, b in pairs]
    assert all(gap[:24, :100].max() > 60 for gap in changed)  # the line on the left
    corner = [gap[:24, 200:] for gap in changed]  # the number on the right, another one in each frame
    assert all(gap.max() > 60 for gap in corner)
    assert all(np.abs(one - other).max() > 40 for one, other in pairwise(corner))


def test_a_tall_window_keeps_the_subject_that_a_blind_cut_loses(square: Path, tmp_path: Path) -> None:
    tall = {"width": 54, "height": 96}
    kept = made_of(job_of(square, profile("followed", frame=tall | {"fit": "follow"})), tmp_path)
    blind = made_of(job_of(square, profile("blind", frame=tall | {"fit": "cover"})), tmp_path)
    assert kept.told["reframe"]["around"] == "subject"
    assert kept.told["reframe"]["subject_kept"] > 0.9

    def seen(path: Path) -> list[bool]:
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return [int((frame[..., 0].astype(int) - frame[..., 1] > 80).sum()) > 0.6 * 24 * 24 for frame in frames]

    assert all(seen(kept.files[0]))
    assert sum(seen(blind.files[0])) < 16


def test_a_window_over_chunks_moves_as_over_the_whole(square: Path, tmp_path: Path) -> None:
    frame = {"width": 54, "height": 96, "fit": "follow"}
    whole = made_of(job_of(square, profile(frame=frame), name="whole"), tmp_path)
    parts = made_of(job_of(square, profile(frame=frame), name="parts", workers=2, chunk_s=0.5), tmp_path)
    assert parts.told["chunks"] == 4
    for rows in (slice(0, 48), slice(48, 96)):
        assert lumas(parts.files[0], rows) == pytest.approx(lumas(whole.files[0], rows), abs=2)


def test_in_a_cut_the_window_jumps_with_the_shots(tmp_path: Path) -> None:
    """The subject is at the left in the first shot and at the right in the second one, on another background."""
    pictures = np.full((24, 64, 192, 3), 30, np.uint8)
    pictures[12:] = (0, 70, 0)
    for number in range(24):
        x = 8 + number // 2 if number < 12 else 140 + number // 2
        pictures[number, 20:44, x : x + 24] = (230, 60, 60)
    encode_film(pictures, tmp_path / "cut.mp4", fps=12, preset="veryfast")
    job = job_of(tmp_path / "cut.mp4", profile(frame={"width": 64, "height": 64, "fit": "follow"}))
    job = replace(job, source=replace(job.source, cuts=[12]))
    made = made_of(job, tmp_path)
    assert made.told["reframe"]["subject_kept"] > 0.95
    with av.open(str(made.files[0])) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    centres = [float(np.argwhere(frame[..., 0] - frame[..., 1] > 80)[:, 1].mean()) for frame in frames]
    assert all(abs(centre - 32) < 14 for centre in centres)


def test_a_title_is_no_subject_and_stays_in_the_middle(tmp_path: Path) -> None:
    pictures = np.zeros((24, 64, 192, 3), np.uint8)
    for number in range(12):
        pictures[number, 28:36, 72 : 76 + 4 * number] = 255  # letters that are written one by one, to 120
        pictures[12 + number, 20:44, 8 + number : 32 + number] = (230, 60, 60)
    encode_film(pictures, tmp_path / "cut.mp4", fps=12, preset="veryfast")
    job = job_of(tmp_path / "cut.mp4", profile(frame={"width": 64, "height": 64, "fit": "follow"}))
    job = replace(job, source=replace(job.source, cuts=[12], cards=[0]))
    with av.open(str(made_of(job, tmp_path).files[0])) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    letters, thing = frames[3].max(axis=-1) > 120, frames[18][..., 0] - frames[18][..., 1] > 80
    assert abs(float(np.argwhere(letters)[:, 1].mean()) - (79.5 - 64)) < 3, (
        "from 72 to 88 of 192, a third of which is shown"
    )
    assert thing.sum() > 0 and abs(float(np.argwhere(thing)[:, 1].mean()) - 31.5) < 14


def test_without_a_subject_the_cut_is_around_the_centre_and_says_so(tmp_path: Path) -> None:
    film = grey_film(tmp_path / "plain.mp4", frames=6)
    made = made_of(job_of(film, profile(frame={"width": 32, "height": 48, "fit": "follow"})), tmp_path)
    assert made.told["reframe"]["around"].startswith("centre: no subject")


def test_a_window_never_leaves_the_picture() -> None:
    boxes = np.array([[-20.0, 0, 10, 10], [190, 80, 40, 40], [0, 0, 200, 100]])
    window = follow(boxes, 3, Fraction(24), source=(200, 100), size=(100, 200))
    assert window.scaled == (400, 200)
    assert (window.corners >= 0).all() and (window.corners[:, 0] <= 300).all() and (window.corners[:, 1] == 0).all()


def test_frames_without_a_box_lie_between_their_neighbours() -> None:
    table = {"frame": [0, 1, 2], "x": [0.0, 99, 20], "y": [0.0] * 3, "width": [4.0] * 3, "height": [4.0] * 3}
    found = boxes_of(table | {"score": [1.0, 0.0, 1.0]}, 4)
    assert found is not None and found[:, 0].tolist() == [0, 10, 20, 20]
    assert boxes_of(table | {"score": [0.0] * 3}, 4) is None


def nearest(frames: np.ndarray, width: int, height: int) -> np.ndarray:
    """An upscaler that marks what it made."""
    rows = np.arange(height) * frames.shape[1] // height
    columns = np.arange(width) * frames.shape[2] // width
    made = frames[:, rows][:, :, columns].copy()
    made[:, :8, :8] = 255
    return made


def broken(frames: np.ndarray, width: int, height: int) -> np.ndarray:
    return frames


def test_an_upscaler_of_ones_own_makes_the_pictures_larger(film: Path, tmp_path: Path) -> None:
    import sys

    sys.modules["upscalers_of_this_test"] = sys.modules[__name__]
    wanted = profile(frame={"width": 128, "height": 96})
    made = made_of(job_of(film, wanted, scaler="upscalers_of_this_test:nearest"), tmp_path)
    with av.open(str(made.files[0])) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(frames) == 24
    assert all(frame[:6, :6].mean() > 230 for frame in frames)
    assert made.told["sizes"] == {
        "rendered": [64, 48], "delivered": [128, 96], "scaler": "upscalers_of_this_test:nearest",
    }  # fmt: skip
    with pytest.raises(UpscalerFailed, match="broken"):
        made_of(job_of(film, wanted, name="b", scaler="upscalers_of_this_test:broken"), tmp_path)


def test_by_default_it_is_lanczos_and_both_sizes_are_told(film: Path, tmp_path: Path) -> None:
    made = made_of(job_of(film, profile(frame={"width": 160, "height": 96})), tmp_path)
    assert made.told["sizes"] == {"rendered": [64, 48], "delivered": [160, 96], "scaler": "lanczos"}
    with av.open(str(made.files[0])) as container:
        frame = next(iter(container.decode(video=0))).to_ndarray(format="gray")
    assert frame[:, :12].max() < 4 and frame[:, 150:].max() < 4  # bars at both sides
    assert frame[:, 20:140].mean() == pytest.approx(greys(24)[0], abs=3)
