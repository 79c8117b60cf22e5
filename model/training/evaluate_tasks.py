"""Measures what the tasks beside text to video promise, on sources that the world draws and whose truth is known.

    python -m model.training.evaluate_tasks --model model/default --count 8 --long 3 --out runs/tasks

Leaves `tasks.json`: how given frames come back, how loops close, what an edit leaves alone, and, with `--long`, seams
and drift of so many minutes by each method. `model.training.card` makes a table of it. Finished measures are kept, so
that the same command goes on where `--seconds` stopped it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.errors import ModelError
from model.long import METHODS
from model.pipeline import Pipeline
from model.training.card_tables import AT_MOST
from model.training.evaluate import at_least_one
from model.training.run import STOPPED
from model.training.task_measures import Tasks, source

MEASURES: dict[str, str] = {
    "i2v": "given frame back, dB", "flf2v": "given frames back, dB", "extend": "given frames back, dB",
    "extend_back": "given frames back, dB", "infill": "given frames back, dB", "loop": "seam, in median steps",
    "background": "subject kept, IoU", "subject": "another one in its place, IoU", "region": "outside of the mask, dB",
    "animation": "way of what is in the mask, of the drawn one", "restyle": "subject kept, IoU",
    "scene": "identity of two cameras' shots, 0 to 1", "ground": "of their pixels thing or plain ground, 0 to 1",
}  # fmt: skip


def measurements(tasks: Tasks, count: int, minutes: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Names of the figures, and how each is come by."""
    for number in range(count):
        one = source(number)
        for name in MEASURES:
            yield f"{name}/{number}", partial(getattr(tasks, name), one)
    for method in METHODS:
        for number in range(minutes):
            yield f"minute/{method}/{number}", partial(tasks.minute, method, source(number))


def summary(figures: dict[str, Any]) -> dict[str, Any]:
    """Median and worst of each measure, and the minutes."""
    found: dict[str, Any] = {}
    for name, what in MEASURES.items():
        values = [value for key, value in figures.items() if key.startswith(f"{name}/")]
        if values:
            worst = max(values) if name in AT_MOST else min(values)
            found[name] = {"what": what, "clips": len(values), "median": float(np.median(values)), "worst": worst}
    minutes: dict[str, list[dict[str, float]]] = {}
    for key, value in figures.items():
        if key.startswith("minute/"):
            minutes.setdefault(key.split("/")[1], []).append(value)
    return {**found, **({"minute": {name: _of_films(films) for name, films in minutes.items()}} if minutes else {})}


def _of_films(films: list[dict[str, float]]) -> dict[str, float]:
    """Of several films the worst of each figure, but of steps and seams that are medians already their median.

    `usual_seam` is the widest seam of the median film.
    """
    found: dict[str, float] = {"films": len(films)}
    for name in films[0]:
        over = np.median if name.startswith("median") else np.max
        found[name] = float(over([film[name] for film in films]))
    if "seam" in found:
        found["usual_seam"] = float(np.median([film["seam"] for film in films]))
    return found


def main() -> int:
    """Command line. 0 when all is measured, 75 when the seconds are over and there is more to do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="a model's name, its folder or its URL")
    parser.add_argument("--count", type=at_least_one, default=8, help="sources of each measure")
    parser.add_argument("--long", type=int, nargs="?", const=1, default=0, help="so many minutes by each method too")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long; run again to go on")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for one GPU")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    try:
        pipeline = Pipeline.from_pretrained(given.model, device=given.device)
    except ModelError as error:
        parser.error(str(error))
    begun = time.monotonic()
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "figures.json"
    held: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {"model": pipeline.facts["digest"]}
    if held["model"] != pipeline.facts["digest"]:
        parser.error(f"{kept} holds figures of another model: give another --out")
    figures = held.setdefault("figures", {})
    for name, measure in measurements(Tasks(pipeline), given.count, given.long):
        if name in figures:
            continue
        if time.monotonic() - begun > given.seconds:
            return STOPPED
        figures[name] = measure()
        kept.write_text(json.dumps(held, indent=1) + "\n")
        print(name, figures[name], flush=True)
    (given.out / "tasks.json").write_text(json.dumps(summary(figures), indent=2) + "\n")
    print(json.dumps(summary(figures), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
