"""One command trains from nothing, in pieces, and what comes out renders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.pipeline import Pipeline
from model.training.run import STOPPED

WORDS = [
    *("--autoencoder-steps", "6", "--clips", "8", "--stills", "6"),
    *("--measure", "1", "--reading-steps", "3", "--transformer-steps", "4", "--threads", "1"),
]


def run(out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model.training", "--out", str(out), *WORDS, *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.timeout(900)
def test_from_nothing_to_a_folder_that_renders_in_pieces(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    first = run(tmp_path, "--seconds", "1")
    assert first.returncode == STOPPED, first.stderr
    assert "the same command goes on" in first.stderr and not (tmp_path / "model").exists()
    rest = run(tmp_path)
    assert rest.returncode == 0, rest.stderr
    parts = sorted(path.name for path in (tmp_path / "latents").iterdir())
    assert parts == ["part-00000.safetensors", "slow-00000.safetensors", "still-00000.safetensors"], (
        "no more than asked"
    )
    for stage in ("autoencoder", "transformer"):
        assert (tmp_path / stage / "progress.json").exists()
        assert {"loss.csv", "loss.png"} <= {path.name for path in (tmp_path / stage).iterdir()}
        assert np.asarray(Image.open(tmp_path / stage / "sheet.png")).std() > 5
    again = run(tmp_path)
    assert again.returncode == 0 and "--steps" not in again.stdout, "nothing is done twice"
    frames = Pipeline.from_pretrained(tmp_path / "model")(
        "a red circle", width=32, height=32, frames=5, steps=2, seed=0
    )
    assert frames.shape == (5, 32, 32, 3) and frames.dtype == np.uint8


def test_a_decoder_alone_needs_an_encoder_to_fit() -> None:
    command = [sys.executable, "-m", "model.training.autoencoder", "--out", "x", "--decoder-only"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2 and "--start" in ran.stderr
