"""The gallery shows every take of a job, failures too, as it came out of the store."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from flows.gallery import evenly, main, strip
from infra.media import encode_film, encode_still
from infra.store import open_store
from infra.store.jobs import record_quarantine, write_manifest

JOB = "tasks-0123456789ab"


def row(shot: str, **changes: object) -> dict[str, object]:
    values: dict[str, object] = {
        "show": "default", "shot_id": shot, "revision": "0a1b2c3d", "take": 1, "seed": 2899672479, "spec_key": None,
        "state": "committed", "width": 64, "height": 48, "frames": 9, "fps": 8.0, "task": "t2v",
        "prompt": "a *red* circle", "media_path": None, "error_class": None,
    }  # fmt: skip
    return {**values, **changes}


@pytest.fixture
def store_with_job(tmp_path: Path) -> Path:
    root = tmp_path / "store"
    (root / "shots").mkdir(parents=True)
    frames = np.zeros((9, 48, 64, 3), np.uint8)
    frames[..., 0] = np.arange(9, dtype=np.uint8)[:, None, None] * 28
    encode_film(frames, root / "shots/film.mp4", fps=8)
    encode_still(frames[4], root / "shots/still.png")
    rows = [
        row("film", media_path="shots/film.mp4"),
        row("still", media_path="shots/still.png", task="still"),
        row("lost", state="quarantined", error_class="input"),
    ]
    write_manifest(open_store(str(root)), JOB, pa.Table.from_pylist(rows))
    return root


def test_every_take_is_there_and_a_failure_says_so(
    store_with_job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(store_with_job), "--job", JOB, "--out", str(tmp_path / "page"), "--command", "rushes x"]) == 1
    assert "2 of 3 takes" in capsys.readouterr().out
    page = (tmp_path / "page/README.md").read_text()
    assert page.index("## film") < page.index("## still") < page.index("## lost")
    assert "**quarantined**: input" in page and "seed 2899672479" in page
    assert f"    rushes x\n    python -m flows.gallery {store_with_job} --job {JOB} --out {tmp_path / 'page'}\n" in page
    assert "a \\*red\\* circle" in page, "prompts are text, not markup"
    film = np.asarray(Image.open(tmp_path / "page/film-001.png").convert("RGB")).astype(int)
    assert film.shape == (96, 8 * 128 + 7 * 2, 3)
    reds = film[48, 64::130, 0]
    assert (np.diff(reds) > 10).all() and reds[0] < 20 and reds[-1] > 200, "first to last, in order"
    still = np.asarray(Image.open(tmp_path / "page/still-001.png").convert("RGB"))
    assert still.shape == (96, 128, 3)


def test_what_cannot_be_shown_says_why(store_with_job: Path, tmp_path: Path) -> None:
    store = open_store(str(store_with_job))
    reason = {"show": "default", "shot_id": "lost", "take": 1, "round": 1, "message": "image_uri: no such picture"}
    record_quarantine(store, JOB, reason)
    (store_with_job / "shots/film.mp4").write_bytes(b"broken off")
    (store_with_job / "shots/still.png").unlink()
    assert main([str(store_with_job), "--job", JOB, "--out", str(tmp_path / "page")]) == 1
    page = (tmp_path / "page/README.md").read_text()
    assert "**quarantined**: input: image\\_uri: no such picture" in page
    assert page.count("its film cannot be shown") == 2
    assert "python -m flows.gallery" in page, "the page says what made it"


def test_shows_that_share_a_shot_id_have_strips_of_their_own(store_with_job: Path, tmp_path: Path) -> None:
    rows = [row("film", show=show, media_path="shots/film.mp4") for show in ("one", "two")]
    write_manifest(open_store(str(store_with_job)), "both", pa.Table.from_pylist(rows))
    assert main([str(store_with_job), "--job", "both", "--out", str(tmp_path / "page")]) == 0
    assert {path.name for path in (tmp_path / "page").glob("*.png")} == {"one.film-001.png", "two.film-001.png"}
    assert "## two/film" in (tmp_path / "page/README.md").read_text()


@pytest.mark.parametrize("job", ["nope", "../x"])
def test_a_job_that_is_not_there_is_told(
    job: str, store_with_job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(store_with_job), "--job", job, "--out", str(tmp_path / "page")]) == 2
    assert job in capsys.readouterr().err and not (tmp_path / "page").exists()


def test_frames_stand_at_even_distances_with_both_ends() -> None:
    assert evenly(33) == [0, 5, 9, 14, 18, 23, 27, 32]
    assert evenly(3) == [0, 1, 2] and evenly(1) == [0]


def test_pictures_are_enlarged_in_blocks() -> None:
    tiny = np.zeros((2, 2, 3), np.uint8)
    tiny[0, 0] = 255
    saved = io.BytesIO()
    strip([tiny], height=8).save(saved, "PNG")
    assert set(np.asarray(Image.open(saved)).flatten().tolist()) == {0, 255}
