"""Draws a run's loss curve from its `loss.csv`: one line a column, each on its own scale, logarithmic.

python -m model.training.curve runs/transformer/loss.csv loss.png
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

from PIL import Image, ImageDraw

_SIZE = (720, 360)
_EDGE = 40
_INKS = ((31, 78, 160), (190, 60, 40), (40, 130, 70), (140, 60, 160), (190, 130, 20), (60, 60, 60))
_NOT_DRAWN = ("step", "seconds_per_step")


def read_curve(path: Path) -> dict[str, list[float]]:
    """Columns of a `loss.csv` by name."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else {})}


def draw_curve(columns: dict[str, list[float]]) -> Image.Image:
    """A picture of the columns over `step`; ValueError with fewer than two rows."""
    steps = columns.get("step", [])
    if len(steps) < 2:
        raise ValueError("a curve needs at least two rows")
    page = Image.new("RGB", _SIZE, "white")
    pen = ImageDraw.Draw(page)
    width, height = _SIZE[0] - 2 * _EDGE, _SIZE[1] - 2 * _EDGE
    pen.rectangle((_EDGE, _EDGE, _EDGE + width, _EDGE + height), outline=(200, 200, 200))
    drawn = [name for name in columns if name not in _NOT_DRAWN]
    for number, name in enumerate(drawn):
        values = [math.log10(max(abs(value), 1e-8)) for value in columns[name]]
        low, high = min(values), max(values)
        span = (high - low) or 1.0
        points = [
            (
                _EDGE + width * (step - steps[0]) / (steps[-1] - steps[0]),
                _EDGE + height * (1 - (value - low) / span),
            )
            for step, value in zip(steps, values, strict=True)
        ]
        ink = _INKS[number % len(_INKS)]
        pen.line(points, fill=ink, width=2)
        told = f"{name}: {columns[name][0]:.3g} to {columns[name][-1]:.3g}"
        pen.text((_EDGE + 8 + 220 * (number % 3), 6 + 15 * (number // 3)), told, fill=ink)
    pen.text((_EDGE, _SIZE[1] - 28), f"step {steps[0]:.0f}", fill=(90, 90, 90))
    pen.text((_EDGE + width - 70, _SIZE[1] - 28), f"step {steps[-1]:.0f}", fill=(90, 90, 90))
    return page


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("losses", type=Path)
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()
    draw_curve(read_curve(given.losses)).save(given.picture)


if __name__ == "__main__":
    main()
