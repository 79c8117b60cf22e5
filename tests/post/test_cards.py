"""Title cards in a window that is narrower than their letters: shown smaller, in exactly their frames."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from infra.deliver.cards import Smaller, fitted
from infra.deliver.orders import cut_item
from infra.deliver.work import Job
from infra.media import encode_film
from tests.post.deliveries import TOOLS, job_of, made_of, profile

NAVY, BACK = (20, 30, 110), (30, 30, 30)
CARDS = [(0, 12), (30, 36)]
LETTERS = slice(20, 172)


def cut_film(path: Path, letters: slice = LETTERS) -> Path:
    """A card of 12 frames, 18 frames of a square that goes to the right, and a card of 6: 192x64, 12 a second."""
    pictures = np.empty((36, 64, 192, 3), np.uint8)
    pictures[:] = NAVY
    pictures[:12, 28:36, letters] = pictures[30:, 28:36, 60:130] = 250
    pictures[12:30] = BACK
    for number in range(12, 30):
        x = 6 * (number - 12)
        pictures[number, 20:44, x : x + 24] = (230, 60, 60)
    encode_film(pictures, path, fps=12, preset="veryfast")
    return path


def cut_job(film: Path, size: tuple[int, int] = (64, 64), fit: str = "follow", **more: Any) -> Job:
    job = job_of(film, profile(frame={"width": size[0], "height": size[1], "fit": fit}), **more)
    return replace(job, source=replace(job.source, cuts=[12, 30], cards=[0, 30], titles=CARDS))


def frames_of(film: Path) -> list[np.ndarray]:
    with av.open(str(film)) as container:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]


def white(frame: np.ndarray) -> np.ndarray:
    found: np.ndarray = frame.min(axis=-1) > 150
    return found


def assert_whole_cards(frames: list[np.ndarray], size: tuple[int, int]) -> None:
    width, height = size
    for number, frame in enumerate(frames):
        assert frame.shape[:2] == (height, width)
        is_card = any(start <= number < end for start, end in CARDS)
        assert (np.abs(frame[2, 2] - NAVY).max() < 20) == is_card, f"frame {number}"
        if not is_card:
            assert (frame[..., 0] - frame[..., 1] > 80).any(), f"the window follows the square in frame {number}"
            continue
        columns = np.flatnonzero(white(frame).any(axis=0))
        assert columns[0] >= 0.03 * width and columns[-1] < 0.97 * width, f"letters are cut in frame {number}"
        assert abs((columns[0] + columns[-1]) / 2 - (width - 1) / 2) < 2
        edges = np.concatenate([frame[0], frame[-1], frame[:, 0], frame[:, -1]])
        assert np.abs(edges - NAVY).max() < 20, "the card's colour reaches the window's edges"


@pytest.mark.parametrize(("size", "fit"), [((64, 64), "follow"), ((36, 64), "cover")])
def test_letters_wider_than_the_window_are_shown_smaller_in_their_frames(
    size: tuple[int, int], fit: str, tmp_path: Path
) -> None:
    made = made_of(cut_job(cut_film(tmp_path / "cut.mp4"), size, fit), tmp_path)
    frames = frames_of(made.files[0])
    assert len(frames) == 36
    if fit == "follow":
        assert_whole_cards(frames, size)
    first, last = (np.flatnonzero(white(frames[n]).any(axis=0)) for n in (5, 33))
    assert np.ptp(first) > 0.75 * size[0], "as large as the window lets them be"
    assert np.ptp(last) / np.ptp(first) == pytest.approx(70 / 152, abs=0.12), "cards keep their sizes to one another"
    assert made.told["reframe"]["cards"] == [list(frames) for frames in CARDS]


def test_letters_that_fit_are_left_as_they_are(tmp_path: Path) -> None:
    made = made_of(cut_job(cut_film(tmp_path / "cut.mp4", slice(75, 117)), (96, 64)), tmp_path)
    assert "cards" not in made.told["reframe"]
    assert np.ptp(np.flatnonzero(white(frames_of(made.files[0])[5]).any(axis=0))) == pytest.approx(41, abs=2)


def test_a_film_in_chunks_is_the_same(tmp_path: Path) -> None:
    film = cut_film(tmp_path / "cut.mp4")
    made = made_of(cut_job(film, name="chunks", workers=2, chunk_s=0.75), tmp_path)
    assert_whole_cards(frames_of(made.files[0]), (64, 64))


def nearest(frames: np.ndarray, width: int, height: int) -> np.ndarray:
    rows = np.arange(height) * frames.shape[1] // height
    columns = np.arange(width) * frames.shape[2] // width
    return frames[:, rows][:, :, columns].copy()


def test_an_upscaler_of_ones_own_has_them_too(tmp_path: Path) -> None:
    sys.modules["upscaler_of_cards"] = sys.modules[__name__]
    job = cut_job(cut_film(tmp_path / "cut.mp4"), (256, 256), scaler="upscaler_of_cards:nearest")
    assert_whole_cards(frames_of(made_of(job, tmp_path).files[0]), (256, 256))


def test_ranges_follow_the_rate_and_the_chunk(tmp_path: Path) -> None:
    film = cut_film(tmp_path / "cut.mp4")
    found = fitted(
        film, CARDS, scaled=(192, 64), size=(64, 64), rate=Fraction(12), new=Fraction(24), folder=tmp_path, tools=TOOLS
    )
    assert found is not None and found.ranges == ((0, 24), (60, 72))
    assert found.inside(20, 61) == [(0, 4), (40, 41)] and found.inside(24, 60) == []
    assert Smaller(((0, 2),), (80, 26), (64, 64)).borders == (0, 0, 18, 20)
    assert list(tmp_path.glob("card-*")) == []


def test_a_cut_tells_where_its_titles_are(tmp_path: Path) -> None:
    import json

    from infra.store import layout, open_store

    store = open_store(tmp_path / "store")
    store.probe()
    parts = [
        {"kind": "title", "record_in": 0, "record_out": 30, "spec_key": None},
        {"kind": "take", "record_in": 24, "record_out": 60, "spec_key": "a" * 64},  # comes in over it
        {"kind": "solid", "record_in": 60, "record_out": 70, "spec_key": None},
        {"kind": "title", "record_in": 70, "record_out": 90, "spec_key": None},
    ]
    film = {"path": "x.mp4", "sha256": "0", "bytes": 1, "width": 64, "height": 64, "frames": 90, "fps": 24}
    store.write(layout.cut_path("c"), json.dumps({"film": film, "parts": parts}).encode())
    assert cut_item(store, "c").titles == [(0, 24), (70, 90)]
