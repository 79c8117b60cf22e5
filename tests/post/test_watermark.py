"""The watermark hook: it marks every frame, survives the encode, and is refused where it is seen."""

from __future__ import annotations

import sys
from pathlib import Path

import ffmpeg
import numpy as np
import pytest

from infra.media import encode_film, ffmpeg_path, probe
from infra.media.source import Source
from infra.provenance import MarkingFailed, marked
from infra.provenance_settings import ProvenanceSettings
from tests.post import markers

KEY = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def _module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "house_marks", markers)


def take(path: Path) -> Path:
    rows = np.linspace(40, 200, 64)[None, :, None, None] + np.zeros((40, 64, 64, 3))
    encode_film(rows.astype(np.uint8), path, fps=24)
    return path


def frames(path: Path) -> np.ndarray:
    film = Source.open(path.read_bytes())
    return np.stack(list(film.pictures(range(film.frames))))


def test_without_a_hook_nothing_is_touched(tmp_path: Path) -> None:
    film = take(tmp_path / "a.mp4")
    assert marked(film, tmp_path, None, ProvenanceSettings()) is film
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_a_mark_is_found_again_after_the_delivery_encode(tmp_path: Path) -> None:
    film = take(tmp_path / "a.mp4")
    made = marked(film, tmp_path, {"spec_key": KEY}, ProvenanceSettings(watermark="house_marks:put"))
    facts, before = probe(made), probe(film)
    assert (facts.frames, facts.fps, facts.width, facts.matrix) == (40, before.fps, 64, "bt709")
    web = tmp_path / "web.mp4"
    ffmpeg.input(str(made)).output(str(web), crf=23, **{"c:v": "libx264"}).run(cmd=ffmpeg_path(), quiet=True)
    plain, seen = frames(film), frames(web)
    assert markers.strength(seen[-5:], plain[-5:], KEY) > 1.5, "frames beyond the first piece are marked too"
    assert abs(markers.strength(seen, plain, "f" * 64)) < 0.5, "another key's mark is not there"


@pytest.mark.parametrize(
    ("name", "words"),
    [("paint", "can be seen"), ("crop", "gave back"), ("fail", "raised ValueError"), ("gone", "cannot be loaded")],
)
def test_a_mark_that_is_seen_or_fails_is_refused(tmp_path: Path, name: str, words: str) -> None:
    film = take(tmp_path / "a.mp4")
    with pytest.raises(MarkingFailed, match=words) as failed:
        marked(film, tmp_path, {"spec_key": KEY}, ProvenanceSettings(watermark=f"house_marks:{name}"))
    assert "0000-1111" not in str(failed.value)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
