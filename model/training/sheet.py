"""Sample sheets: what a model can do so far, to look at. Every run of a trainer leaves one, `sheet.png`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from model.pipeline import Pipeline
from model.training.release import assemble

Rows = Sequence[tuple[str, NDArray[np.uint8]]]
"""What stands below each clip, and its frames (frames, height, width, 3)."""

SHEET = "sheet.png"
SIDE, FRAMES, STEPS = 128, 17, 8  # a rough look: a few seconds a clip
SEED = 7 * 10**6
# One of each thing that is learnt: a motion, two that differ, a change, a camera.
PROMPTS = (
    "a large red circle moving right on a black background",
    "a small blue square on the left and a large yellow triangle on the right on a gray background",
    "a large orange triangle moving left turns cyan on a navy background",
    "a small purple circle standing still on a checkered pink background, the camera pans right",
)
_COLUMNS = 5


def sheet(rows: Rows, zoom: int = 1) -> Image.Image:
    """One row per clip: five frames in order, and its words below them. The first clip's size is all clips'."""
    height, width = rows[0][1].shape[1] * zoom, rows[0][1].shape[2] * zoom
    page = Image.new("RGB", (max(_COLUMNS * width, 760), len(rows) * (height + 16)), "white")
    pen = ImageDraw.Draw(page)
    for index, (words, frames) in enumerate(rows):
        top = index * (height + 16)
        for column, frame in enumerate(frames[np.linspace(0, len(frames) - 1, _COLUMNS).round().astype(int)]):
            page.paste(Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST), (column * width, top))
        pen.text((4, top + height + 1), words, fill="black")
    return page


def sampled(autoencoder: Path, transformer: Path, device: str) -> Rows:
    """`PROMPTS` by the parts that trainers left, in `STEPS` steps each; the same seeds for every run."""
    with tempfile.TemporaryDirectory() as folder:
        assemble(autoencoder, transformer, Path(folder))
        pipeline = Pipeline.from_pretrained(folder, device=device)
        clips = [
            pipeline(prompt, width=SIDE, height=SIDE, frames=FRAMES, steps=STEPS, seed=SEED + index)
            for index, prompt in enumerate(PROMPTS)
        ]
        return [(prompt, clip.astype(np.uint8)) for prompt, clip in zip(PROMPTS, clips, strict=True)]
