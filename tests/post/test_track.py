"""The motion track against films whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from infra.media import encode_film, encode_still
from infra.media.components import components, label
from infra.media.errors import Unplayable
from infra.media.track import SCHEMA, track_subject

SIZE, FRAMES = 96, 24


def iou(table: pa.Table, truth: np.ndarray) -> float:
    """Mean over frames of intersection over union; boxes (frames, 4) as x, y, width, height."""
    found = np.stack([table[name].to_numpy() for name in ("x", "y", "width", "height")], axis=1)
    start = np.maximum(found[:, :2], truth[:, :2])
    end = np.minimum(found[:, :2] + found[:, 2:], truth[:, :2] + truth[:, 2:])
    shared = np.clip(end - start, 0, None).prod(axis=1)
    return float((shared / (found[:, 2:].prod(axis=1) + truth[:, 2:].prod(axis=1) - shared)).mean())


def film(
    path: Path,
    background: np.ndarray,
    boxes: np.ndarray,
    *,
    colour: tuple[int, int, int] = (220, 60, 40),
    round_shape: bool = False,
    width: int = SIZE,
) -> Path:
    """A film of one shape in these boxes before a background, (height, width, 3) or one per frame."""
    frames = np.empty((len(boxes), SIZE, width, 3), np.uint8)
    ys, xs = np.mgrid[:SIZE, :width] + 0.5
    for number, (left, top, wide, high) in enumerate(boxes):
        frames[number] = background[number] if background.ndim == 4 else background
        across, down = (xs - left) / wide, (ys - top) / high
        inside = (across >= 0) & (across < 1) & (down >= 0) & (down < 1)
        if round_shape:
            inside = (2 * across - 1) ** 2 + (2 * down - 1) ** 2 < 1
        frames[number][inside] = colour
    encode_film(frames, path, fps=24)
    return path


def moving(start: tuple[float, float], end: tuple[float, float], size: tuple[int, int] = (24, 20)) -> np.ndarray:
    places = np.linspace(start, end, FRAMES).round()
    return np.concatenate([places, np.tile(size, (FRAMES, 1))], axis=1)


def plain(grey: int = 30) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), grey, np.uint8)


def textured() -> np.ndarray:
    rng = np.random.default_rng(5)
    blocks = rng.integers(20, 235, (12, 12, 3)).astype(np.uint8)
    return blocks.repeat(8, axis=0).repeat(8, axis=1)


def test_a_moving_square_before_a_plain_colour(tmp_path: Path) -> None:
    boxes = moving((4, 10), (66, 60))
    table = track_subject(film(tmp_path / "a.mp4", plain(), boxes))
    assert table.schema.equals(SCHEMA) and table["frame"].to_pylist() == list(range(FRAMES))
    assert iou(table, boxes) > 0.9
    assert min(table["score"].to_pylist()) > 0.9


def test_a_circle_before_a_slope_of_colours(tmp_path: Path) -> None:
    slope = np.linspace(20, 120, SIZE)[None, :, None] + np.linspace(0, 60, SIZE)[:, None, None] + np.zeros(3)
    boxes = moving((60, 8), (8, 60), (28, 28))
    shown = film(tmp_path / "a.mp4", slope.astype(np.uint8), boxes, round_shape=True, colour=(230, 230, 40))
    assert iou(track_subject(shown), boxes) > 0.85


def test_a_subject_that_stands_still_is_found_by_the_border(tmp_path: Path) -> None:
    boxes = moving((40, 30), (40, 30))
    table = track_subject(film(tmp_path / "a.mp4", plain(), boxes))
    assert iou(table, boxes) > 0.9 and table.schema.metadata[b"background"] == b"border"


def test_a_moving_subject_before_a_rich_picture_is_found_by_what_stays(tmp_path: Path) -> None:
    boxes = moving((2, 34), (70, 40))
    table = track_subject(film(tmp_path / "a.mp4", textured(), boxes, colour=(255, 0, 255)))
    assert iou(table, boxes) > 0.7 and table.schema.metadata[b"background"] == b"still"


def test_a_subject_that_leaves_keeps_a_box_with_score_0(tmp_path: Path) -> None:
    boxes = moving((40, 40), (90, 40))
    gone = boxes.copy()
    gone[12:, 0] = 1000
    table = track_subject(film(tmp_path / "a.mp4", plain(), gone))
    scores = table["score"].to_numpy()
    assert scores[:12].min() > 0.9 and scores[12:].max() == 0
    assert table["x"].to_numpy()[13:] == pytest.approx(boxes[11, 0], abs=2)


def test_it_does_not_jump_to_a_flash(tmp_path: Path) -> None:
    boxes = moving((4, 60), (60, 60))
    behind = np.stack([plain()] * FRAMES)
    behind[11, 2:34, 2:92] = 255  # heavier than the subject, for one frame
    table = track_subject(film(tmp_path / "a.mp4", behind, boxes))
    assert iou(table, boxes) > 0.85


def test_a_large_film_is_looked_at_small_and_told_in_its_own_pixels(tmp_path: Path) -> None:
    boxes = moving((20, 30), (300, 40), (40, 40))
    behind = np.full((SIZE, 384, 3), 200, np.uint8)
    table = track_subject(film(tmp_path / "a.mp4", behind, boxes, colour=(10, 20, 90), width=384))
    assert iou(table, boxes) > 0.85 and table.schema.metadata[b"width"] == b"384"


def test_nothing_there_is_the_whole_picture_with_score_0(tmp_path: Path) -> None:
    encode_film(np.full((9, SIZE, SIZE, 3), 90, np.uint8), tmp_path / "a.mp4", fps=24)
    table = track_subject(tmp_path / "a.mp4")
    assert table.num_rows == 9 and max(table["score"].to_pylist()) == 0
    assert (table["width"][0].as_py(), table["height"][0].as_py()) == (SIZE, SIZE)


def test_a_still(tmp_path: Path) -> None:
    frame = plain()
    frame[20:50, 30:70] = (200, 30, 30)
    encode_still(frame, tmp_path / "a.png")
    assert iou(track_subject(tmp_path / "a.png"), np.array([[30, 20, 40, 30]])) > 0.95


def test_what_is_no_film(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no film at all" * 99)
    with pytest.raises(Unplayable):
        track_subject(tmp_path / "a.mp4")


def test_parts_of_a_mask_are_told_as_a_plain_search_tells_them() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        mask = rng.random((17, 23)) < rng.uniform(0.2, 0.6)
        labels, count = label(mask)
        left, parts = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}, 0
        while left:
            parts += 1
            todo, number = [left.pop()], None
            while todo:
                y, x = todo.pop()
                number = number or labels[y, x]
                assert labels[y, x] == number > 0
                near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
                left -= near
                todo += near
        assert count == parts
        assert sum(part.area for part in components(labels, count, mask.astype(np.float32), 10**6)) == mask.sum()
