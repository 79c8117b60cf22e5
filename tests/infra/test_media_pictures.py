"""Posters and contact sheets."""

import io

import numpy as np
import pytest
from PIL import Image

from infra.media import BadFrames, contact_sheet, poster


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG", quality=95)
    return out.getvalue()


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((432, 768), (256, 144)), ((768, 432), (144, 256)), ((64, 64), (64, 64)), ((256, 16), (16, 256))],
)
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_posters_are_small_and_show_the_middle(size: tuple[int, int], wanted: tuple[int, int], depth: type) -> None:
    frames = np.zeros((5, *size, 3), depth)
    frames[2, :, :, 0] = np.iinfo(depth).max
    picture = opened(poster(frames))
    assert picture.format == "JPEG"
    assert picture.size == wanted
    assert np.abs(np.asarray(picture).astype(int) - (255, 0, 0)).max() <= 6


def test_a_poster_of_one_frame_and_of_none() -> None:
    assert opened(poster(np.full((1, 32, 32, 3), 200, np.uint8))).size == (32, 32)
    with pytest.raises(BadFrames):
        poster(np.zeros((0, 32, 32, 3), np.uint8))


def test_a_poster_is_made_from_a_view_without_change() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    before = frames.copy()
    assert poster(frames[:, 8:56, 8:56]) == poster(np.ascontiguousarray(frames[:, 8:56, 8:56]))
    assert np.array_equal(frames, before)


def test_sheet_shows_every_picture_once_with_its_label() -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
    data = contact_sheet([(f"shot-{n} take 1", plain(colour)) for n, colour in enumerate(colours)], tile=(64, 48))
    sheet = np.asarray(opened(data)).astype(int)
    for colour in colours:
        there = (np.abs(sheet - colour).max(-1) < 12).sum()
        assert 64 * 48 * 0.95 <= there <= 64 * 48
    blank = np.asarray(opened(contact_sheet([("", plain(colour)) for colour in colours], tile=(64, 48)))).astype(int)
    assert (np.abs(sheet - blank).max(-1) > 60).sum() > 200  # the ink of the labels


def test_sheet_lets_a_missing_or_broken_poster_stand_empty() -> None:
    data = contact_sheet(
        [("a", None), ("b", b"no picture"), ("c", plain((255, 0, 0))[:100]), ("d", plain((255, 0, 0)))]
    )
    assert opened(data).format == "PNG"


def test_sheet_keeps_the_shape_of_a_picture() -> None:
    sheet = np.asarray(opened(contact_sheet([("tall", plain((0, 255, 0), (90, 160)))], tile=(160, 90)))).astype(int)
    rows, columns = np.nonzero(np.abs(sheet - (0, 255, 0)).max(-1) < 40)
    assert np.ptp(rows) + 1 == 90
    assert abs(np.ptp(columns) + 1 - 51) <= 2


def test_sheet_of_hundreds() -> None:
    tile = plain((10, 120, 200))
    picture = opened(
        contact_sheet([(f"a-very-long-shot-name-that-does-not-fit-{n} take {n}", tile) for n in range(600)])
    )
    assert picture.width < 1200
    assert 600 / 8 * 96 < picture.height < 10_000


def test_sheet_is_the_same_every_time_and_never_empty() -> None:
    tiles = [("ü ✓\nzwei", plain((1, 2, 3)))]
    assert contact_sheet(tiles) == contact_sheet(tiles)
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])
