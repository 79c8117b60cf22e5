"""Renders fresh prompts with a model and measures whether the clips obey them.

    python -m model.training.evaluate --model model/default --count 60 --out runs/evaluation

Leaves `obedience.json` and `sheet.png`, one prompt a row, none left out. The baseline holds the same clips against the
captions of other clips: what a model that ignores its prompt would reach.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from model.pipeline import Pipeline
from model.quality.shapes import Seen, look
from model.training import captions
from model.training.world import Scene, sample_scene

MEASURED = ("color", "kind", "size", "background", "direction")
SHEET_ROWS = 12


def agreement(seen: list[Seen], scenes: list[Scene]) -> dict[str, float]:
    """Share of clips that show what each scene's caption says, per attribute, and of all five together."""
    pairs = list(zip(seen, scenes, strict=True))
    hits = {name: [getattr(found, name) == getattr(asked, name) for found, asked in pairs] for name in MEASURED}
    hits["all"] = [all(row) for row in zip(*hits.values(), strict=True)]
    return {name: round(float(np.mean(row)), 4) for name, row in hits.items()}


def sheet(rows: list[tuple[str, np.ndarray]], zoom: int = 2) -> Image.Image:
    """One row per clip: five frames in order, and the prompt below them."""
    height, width = rows[0][1].shape[1] * zoom, rows[0][1].shape[2] * zoom
    page = Image.new("RGB", (5 * width, len(rows) * (height + 16)), "white")
    pen = ImageDraw.Draw(page)
    for index, (prompt, frames) in enumerate(rows):
        top = index * (height + 16)
        for column, frame in enumerate(frames[np.linspace(0, len(frames) - 1, 5).round().astype(int)]):
            page.paste(Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST), (column * width, top))
        pen.text((4, top + height + 1), prompt, fill="black")
    return page


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    pipeline = Pipeline.from_pretrained(given.model)
    facts = pipeline.facts
    steps, guidance = given.steps or facts["steps"], given.guidance or facts["guidance_scale"]
    rng = np.random.default_rng(7 * 10**6)
    scenes = [sample_scene(rng, 64, 64, 17) for _ in range(given.count)]
    seen, rows, began = [], [], time.monotonic()
    for seed, scene in enumerate(scenes):
        prompt = captions.dense(scene)
        frames = pipeline(
            prompt=prompt, negative_prompt="", width=64, height=64, frames=17,
            seed=seed, steps=steps, guidance_scale=guidance,
        )  # fmt: skip
        seen.append(look(frames))
        rows.append((prompt, frames))
    given.out.mkdir(parents=True, exist_ok=True)
    sheet(rows[:SHEET_ROWS]).save(given.out / "sheet.png")
    result = {
        "clips": given.count,
        "steps": steps,
        "guidance_scale": guidance,
        "seconds_per_clip": round((time.monotonic() - began) / given.count, 2),
        "obedience": agreement(seen, scenes),
        "baseline": agreement(seen, scenes[1:] + scenes[:1]),
    }
    (given.out / "obedience.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
