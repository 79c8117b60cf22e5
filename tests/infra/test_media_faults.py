"""Levels and banding of films: faults that are made on purpose are measured, and what cannot be measured says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from infra.media import Unplayable, encode_film
from infra.media.banding import banding as cambi
from infra.media.levels import out_of_range


def film(path: Path, frames: np.ndarray) -> Path:
    encode_film(frames.astype(np.uint8), path, fps=8, preset="ultrafast")
    return path


def test_pictures_within_range_have_nothing_outside(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 64)[None, None, :, None], (4, 64, 1, 3))
    assert out_of_range(film(tmp_path / "a.mp4", ramp), frames=4) == 0.0


def test_hard_saturated_edges_ring_beyond_what_a_broadcaster_takes(tmp_path: Path) -> None:
    lines = np.zeros((4, 64, 64, 3))
    lines[:, :, ::2] = (255, 0, 0)  # colour has half the resolution: red spills over black
    assert out_of_range(film(tmp_path / "a.mp4", lines), frames=4) > 0.3


def test_a_film_that_is_none_is_no_pass(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(Unplayable):
        out_of_range(tmp_path / "a.mp4", frames=4)


def test_banding_is_told_from_a_gradient_and_a_small_film_is_not_measured(tmp_path: Path) -> None:
    sizes = {"width": 320, "height": 192, "frames": 2}
    if cambi(film(tmp_path / "flat.mp4", np.full((2, 192, 320, 3), 90)), **sizes) is None:
        pytest.skip("this ffmpeg has no libvmaf")
    ramp = np.tile(np.linspace(40, 90, 320)[None, None, :, None], (2, 192, 1, 3))
    grain = ramp + np.random.default_rng(0).normal(0, 3, ramp.shape)
    found = [cambi(film(tmp_path / f"{n}.mp4", clip), **sizes) for n, clip in enumerate((ramp // 4 * 4, grain))]
    assert found[0] is not None and found[1] is not None and found[0] > found[1] + 0.3
    assert cambi(tmp_path / "0.mp4", width=64, height=64, frames=2) is None


def test_an_ffmpeg_without_libvmaf_measures_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.media.banding._has_cambi", lambda _: False)
    assert cambi(tmp_path / "none.mp4", width=1920, height=1080, frames=2) is None
