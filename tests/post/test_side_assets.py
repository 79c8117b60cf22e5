"""Mattes, tracks and blurred backgrounds against films whose truth is known."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from infra.media import encode_film, encode_still, probe
from infra.media.components import shrunk
from infra.media.errors import Unplayable
from infra.media.matte import blur_behind
from infra.media.side_assets import SideAssets
from infra.media.source import Source

SIZE, FRAMES = 64, 10


def film(path: Path, *, still_behind: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A disc that moves before stripes or a plain colour: frames, and where the disc is, (frames, height, width)."""
    ys, xs = np.mgrid[:SIZE, :SIZE]
    behind = np.full((SIZE, SIZE, 3), 60, np.uint8)
    if still_behind:
        behind[:, (np.arange(SIZE) // 8) % 2 == 0] = (20, 150, 60)
    frames, inside = np.empty((FRAMES, SIZE, SIZE, 3), np.uint8), np.empty((FRAMES, SIZE, SIZE), bool)
    for number in range(FRAMES):
        inside[number] = (xs - 12 - 4 * number) ** 2 + (ys - 30) ** 2 < 100
        frames[number] = behind
        frames[number][inside[number]] = (230, 40, 200)
    encode_film(frames, path, fps=8)
    return frames, inside


def grays(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])


@pytest.mark.parametrize("still_behind", [False, True])
def test_a_matte_covers_the_subject_and_nothing_else(tmp_path: Path, still_behind: bool) -> None:
    _, inside = film(tmp_path / "a.mp4", still_behind=still_behind)
    SideAssets(tmp_path / "a.mp4").write("matte", tmp_path / "matte.mkv")
    with av.open(str(tmp_path / "matte.mkv")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("ffv1", "gray")
        assert stream.average_rate == 8
    alphas = grays(tmp_path / "matte.mkv")
    assert alphas.shape == (FRAMES, SIZE, SIZE)
    covered = alphas > 127
    assert (covered & inside).sum() / (covered | inside).sum() > 0.9
    assert 0 < ((alphas > 20) & (alphas < 235)).mean() < 0.1, "the edge is soft, and only the edge"


def test_a_matte_is_the_same_bytes_again(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    for name in ("one.mkv", "two.mkv"):
        SideAssets(tmp_path / "a.mp4").write("matte", tmp_path / name)
    assert (tmp_path / "one.mkv").read_bytes() == (tmp_path / "two.mkv").read_bytes()


def test_a_blurred_background_keeps_the_subject_sharp(tmp_path: Path) -> None:
    frames, inside = film(tmp_path / "a.mp4", still_behind=True)
    SideAssets(tmp_path / "a.mp4").write("blur", tmp_path / "blur.mp4")
    facts = probe(tmp_path / "blur.mp4")
    assert (facts.frames, facts.width, facts.fps, facts.matrix) == (FRAMES, SIZE, 8, "bt709")
    source = Source.open((tmp_path / "blur.mp4").read_bytes())
    made = np.stack(list(source.pictures(range(FRAMES)))).astype(int)
    far = np.zeros_like(inside)
    far[:, :12] = True  # rows where the disc never is
    across = np.abs(np.diff(made[far].reshape(FRAMES, 12, SIZE, 3), axis=2)).max()
    assert across < 0.7 * np.abs(np.diff(frames[0].astype(int), axis=1)).max(), "stripes have soft edges now"
    core = np.stack([shrunk(one, 2) for one in inside])  # 4:2:0 mixes colours at an edge
    assert np.abs(made[core] - frames[core]).mean() < 6


def test_the_subject_does_not_bleed_into_the_blur() -> None:
    picture = np.full((40, 40, 3), 50, np.uint8)
    picture[10:30, 10:30] = 255
    alpha = np.where(picture[..., 0] == 255, 255, 0).astype(np.uint8)
    assert np.array_equal(blur_behind(picture, alpha), picture)


def test_a_track_is_a_table(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    SideAssets(tmp_path / "a.mp4").write("track", tmp_path / "track.parquet")
    table = pq.read_table(tmp_path / "track.parquet")
    assert table.num_rows == FRAMES and table["x"][3].as_py() == pytest.approx(15, abs=2)


def test_a_still(tmp_path: Path) -> None:
    frame = np.full((SIZE, SIZE, 3), 40, np.uint8)
    frame[20:40, 20:40] = (20, 220, 240)
    encode_still(frame, tmp_path / "a.png")
    made = SideAssets(tmp_path / "a.png")
    made.write("matte", tmp_path / "matte.png")
    made.write("blur", tmp_path / "blur.png")
    alpha = np.asarray(Image.open(tmp_path / "matte.png"))
    assert alpha[25:35, 25:35].min() == 255 and alpha[:15].max() == 0
    assert probe(tmp_path / "blur.png").width == SIZE


def test_what_is_no_film_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing to see" * 40)
    with pytest.raises(Unplayable):
        SideAssets(tmp_path / "a.mp4").write("blur", tmp_path / "blur.mp4")
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
