"""Banding: steps in what should be a smooth gradient, as CAMBI sees them, a part of libvmaf that some ffmpegs have."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

import ffmpeg as graph

from infra.media.errors import EncodeError
from infra.media.ffmpeg import ffmpeg_path, run

LEAST_LONG, LEAST_SHORT = 320, 180
"""Pixels of the longer and the shorter side below which CAMBI has no scale to look at."""
MOST_FRAMES: Final = 24
"""Frames that are looked at, evenly chosen."""


def banding(
    path: str | os.PathLike[str], *, width: int, height: int, frames: int,
    ffmpeg: str | os.PathLike[str] | None = None, timeout_s: float = 600.0,
) -> float | None:  # fmt: skip
    """CAMBI of a film, 0 (none) to 24; about 5 is slightly annoying. None where it cannot be measured.

    It cannot where this ffmpeg has no libvmaf, or the film is too small. Nothing is known of banding then: it is no
    pass.

    Raises:
        EncodeError: ffmpeg failed at it.
    """
    if max(width, height) < LEAST_LONG or min(width, height) < LEAST_SHORT or not _has_cambi(ffmpeg_path(ffmpeg)):
        return None
    source = graph.input(os.fspath(Path(path).absolute())).video
    every = max(1, -(-frames // MOST_FRAMES))
    if every > 1:
        source = source.filter("select", f"not(mod(n,{every}))")
    both = source.filter_multi_output("split")
    with tempfile.TemporaryDirectory(prefix="rushes-cambi-") as folder:
        told = Path(folder) / "cambi.json"
        compared = graph.filter([both[0], both[1]], "libvmaf", feature="name=cambi", log_fmt="json", log_path=str(told))
        run(compared.output("-", format="null"), timeout_s=timeout_s, ffmpeg=ffmpeg)
        try:
            return float(json.loads(told.read_text())["pooled_metrics"]["cambi"]["mean"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EncodeError(f"libvmaf told no CAMBI: {type(error).__name__}: {error}") from error


@cache
def _has_cambi(program: str) -> bool:
    told = subprocess.run(
        [program, "-hide_banner", "-filters"], capture_output=True, text=True, timeout=60, check=False
    )
    return " libvmaf " in told.stdout
