"""What a take's task is given: films and pictures become frames of its clip, at its rate and of its size."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from actors.gangs.inputs import clip_of, inputs_of, is_given, picture_of
from actors.job import InputRules
from infra.input_errors import InputUnreadable
from infra.media import encode_film
from infra.store import open_store
from model.errors import InputError

SIDE = 32


def marked(frames: int, width: int = SIDE, height: int = SIDE) -> np.ndarray:
    """Frames of grey that tell their number: 10 times it."""
    return np.full((frames, height, width, 3), 10 * np.arange(frames)[:, None, None, None], np.uint8)


def numbers(film: np.ndarray) -> list[int]:
    """Which frames of `marked` these are."""
    return [round(float(frame.mean()) / 10) for frame in film]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    encode_film(marked(24), folder / "film.mp4", fps=8)
    encode_film(marked(24), folder / "quick.mp4", fps=16)
    encode_film(marked(24, 64, 32), folder / "wide.mp4", fps=8)
    encode_film(marked(3), folder / "short.mp4", fps=8)
    Image.fromarray(marked(8)[7]).save(folder / "picture.png")
    pages = [Image.fromarray(frame) for frame in marked(12)]
    pages[0].save(folder / "moving.gif", save_all=True, append_images=pages[1:], duration=130, loop=0)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, 16:], mask[:4] = 255, 120
    Image.fromarray(mask).save(folder / "mask.png")
    return folder


def order(task: str, place: Path, *, frames: int = 9, **more: Any) -> dict[str, Any]:
    rendered = -(-(frames - 1) // 4) * 4 + 1
    uris = {name: str(place / value) for name, value in more.items() if name.endswith("_uri")}
    return {
        "task": task, "render_width": SIDE, "render_height": SIDE, "render_frames": rendered, "frames": frames,
        "fps": 8.0, **more, **uris,
    }  # fmt: skip


def given(task: str, place: Path, **more: Any) -> Any:
    return inputs_of(order(task, place, **more), InputRules(roots=(str(place),)), 4)


def test_tasks_without_inputs_are_given_nothing(place: Path) -> None:
    assert given("t2v", place) is None
    assert given("loop", place) is None
    assert not is_given(order("loop", place), "image")


def test_the_picture_that_a_take_starts_from_is_read_alone(place: Path) -> None:
    rules = InputRules(roots=(str(place),))
    both = order("flf2v", place, image_uri="picture.png", last_image_uri="nowhere.png")
    picture = picture_of(both, rules, 4)
    assert picture is not None and picture.shape == (SIDE, SIDE, 3) and numbers(picture[None]) == [7]
    assert picture_of(order("loop", place), rules, 4) is None
    assert picture_of(order("v2v", place, video_uri="film.mp4"), rules, 4) is None


@pytest.mark.parametrize(
    ("task", "film", "wanted"),
    [
        ("extend", "film.mp4", [23]), ("extend_back", "film.mp4", [0, 1, 2, 3]), ("v2v", "film.mp4", list(range(9))),
        ("v2v", "quick.mp4", list(range(0, 18, 2))), ("v2v", "picture.png", [7]), ("extend", "picture.png", [7]),
        ("extend_back", "short.mp4", [0, 1, 2]), ("extend", "short.mp4", [2]), ("v2v", "moving.gif", list(range(9))),
    ],
)  # fmt: skip
def test_the_frames_that_are_looked_at(task: str, film: str, wanted: list[int], place: Path) -> None:
    assert numbers(given(task, place, video_uri=film).video) == wanted


def test_a_longer_clip_looks_at_a_longer_tail(place: Path) -> None:
    assert numbers(given("extend", place, frames=33, video_uri="film.mp4").video) == list(range(15, 24))
    assert numbers(given("extend", place, frames=33, video_uri="quick.mp4").video) == list(range(7, 24, 2))
    both = given("connect", place, frames=33, video_uri="film.mp4", last_image_uri="quick.mp4")
    assert numbers(both.video) == list(range(15, 24))
    assert numbers(both.last) == list(range(0, 16, 2))


def test_frames_cover_the_clip(place: Path) -> None:
    assert given("v2v", place, video_uri="wide.mp4").video.shape == (9, SIDE, SIDE, 3)
    assert given("i2v", place, image_uri="picture.png").image.shape == (SIDE, SIDE, 3)


def test_masks_are_white_above_half(place: Path) -> None:
    found = given("edit", place, image_uri="picture.png", mask_uri="mask.png", strength=0.5)
    assert found.mask.dtype == bool
    assert found.mask.shape == (1, SIDE, SIDE)
    assert found.mask[0, 10, 20]
    assert not found.mask[0, 10, 10]
    assert not found.mask[0, 1, 20]
    assert (found.image.shape, found.strength) == ((SIDE, SIDE, 3), 0.5)
    moving = given("edit", place, video_uri="film.mp4", mask_uri="film.mp4")
    assert moving.mask[:, 0, 0].tolist() == [False] * 9, "grey up to 80 is black"


def test_what_infill_keeps(place: Path) -> None:
    assert given("infill", place, video_uri="film.mp4", keep_frames="0-2,8").keep == ((0, 2), (8, 8))
    assert given("infill", place, video_uri="film.mp4").keep is None


@pytest.mark.parametrize(
    ("task", "inputs", "says"),
    [
        ("v2v", {"video_uri": "short.mp4"}, r"video_uri: 3 frames, 0\.375 s, are too short: this clip takes 9 frames"),
        ("edit", {"video_uri": "film.mp4", "mask_uri": "short.mp4"}, "mask_uri: 3 frames"),
        ("flf2v", {"image_uri": "picture.png", "last_image_uri": "film.mp4"}, "last_image_uri: not a readable image"),
        ("i2v", {"image_uri": "film.mp4"}, "image_uri: not a readable image .*; one picture is taken here"),
    ],
)
def test_what_cannot_be_used_names_its_column(task: str, inputs: dict[str, str], says: str, place: Path) -> None:
    with pytest.raises(InputError, match=says):
        given(task, place, **inputs)


def test_what_is_no_film_says_what_is_legal(place: Path) -> None:
    (place / "words.mp4").write_text("not a film")
    with pytest.raises(InputError, match=r"video_uri: the film does not play.*or a picture, is taken"):
        given("extend", place, video_uri="words.mp4")
    with pytest.raises(InputUnreadable, match=r"video_uri: .*nowhere"):
        given("extend", place, video_uri="nowhere.mp4")


def test_an_input_that_changed_since_the_plan_is_refused(place: Path) -> None:
    with pytest.raises(InputError, match="video_uri has changed since the job was planned"):
        given("extend", place, video_uri="film.mp4", video_sha256="ab" * 32)


def test_the_film_that_a_shot_depends_on_stands_in(place: Path, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    data = (place / "film.mp4").read_bytes()
    store.write("shots/up.mp4", data)
    picture = io.BytesIO()
    Image.fromarray(marked(5)[4]).save(picture, "PNG")
    store.write("shots/still.png", picture.getvalue())
    rules = InputRules(roots=(), store_url=store.url)
    depends = {"source_media": "shots/up.mp4", "source_sha256": hashlib.sha256(data).hexdigest()}
    found = inputs_of(order("i2v", place, **depends), rules, 4)
    assert found is not None
    assert found.image is not None
    assert numbers(found.image[None]) == [23], "of a film its last frame"
    found = inputs_of(order("i2v", place, source_frame="first", **depends), rules, 4)
    assert found is not None
    assert found.image is not None
    assert numbers(found.image[None]) == [0]
    found = inputs_of(order("extend", place, **depends), rules, 4)
    assert found is not None
    assert found.video is not None
    assert numbers(found.video) == [23]
    found = inputs_of(order("i2v", place, source_media="shots/still.png"), rules, 4)
    assert found is not None
    assert found.image is not None
    assert numbers(found.image[None]) == [4]
    assert is_given(order("loop", place, **depends), "image")
    for wrong, says in (
        ({"source_media": "shots/gone.mp4"}, "depends_on: the film it depends on is gone"),
        ({"source_media": "shots/up.mp4", "source_sha256": "ab" * 32}, "depends_on: .* is damaged"),
    ):
        with pytest.raises(InputError, match=says):
            inputs_of(order("extend", place, **wrong), rules, 4)


def test_the_clip_of_an_order(place: Path) -> None:
    clip = clip_of(order("t2v", place, frames=10), 4)
    assert (clip.frames, clip.film_frames, clip.groups) == (13, 10, 4)
