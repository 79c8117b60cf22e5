"""Renders fresh prompts with a model and measures whether the clips obey them.

    python -m model.training.evaluate --model model/default --count 200 --best-of 8 --out runs/evaluation

Leaves `obedience.json` (each measure's score, 95 % interval, baseline and the check's own accuracy), `sheet.png` (one
prompt a row, none left out) and the clips, so that the same command goes on where `--seconds` stopped it, and a better
check measures the same clips again. A third of the prompts ask for combinations of colour, kind and background that
training never saw; they are reported apart.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.errors import InputError, ModelError
from model.facts import read_facts
from model.pipeline import Pipeline
from model.quality import Asked, Reading, asked_of, judge, read, score
from model.quality.tally import free_of_faults, interval, obeys_all, summarise
from model.training import captions
from model.training.run import STOPPED
from model.training.sheet import SHEET, sheet
from model.training.world import Scene, from_json, held_out, sample_scene, to_json

# How many of twenty prompts each family has: enough of each for a figure, more than training has of the rare ones.
FAMILIES: Mapping[str, int] = {
    "one": 5, "two": 4, "count": 3, "camera": 2, "turning": 2, "contact": 1, "physics": 2, "occlusion": 1,
}  # fmt: skip
HELD_OUT_EVERY = 3
_SEED = 7 * 10**6  # of the prompts; training draws its scenes from other seeds
_TAKES_APART = 10**6  # between the seeds of one prompt's takes
SHEET_ROWS = 16


@dataclass(frozen=True)
class Job:
    """One clip to render: the number of its prompt, its take (0 is the one that is measured), and its file."""

    number: int
    take: int
    path: Path


@dataclass(frozen=True)
class Clip:
    """One rendered clip, frames (frames, height, width, 3) uint8."""

    scene: Scene
    prompt: str
    frames: np.ndarray
    seconds: float


def prompt_scene(number: int, size: tuple[int, int, int], families: Sequence[str] = tuple(FAMILIES)) -> Scene:
    """The scene that the prompt of that number asks for; size: width, height, frames. The same on every machine."""
    rng = np.random.default_rng((_SEED, number))
    cycle = [name for name in families for _ in range(FAMILIES[name])]
    before = number // HELD_OUT_EVERY
    rank = before if is_apart(number) else number - before  # among those of its own group, so that both have all
    order = np.random.default_rng((_SEED, 2, rank // len(cycle))).permutation(cycle)
    shares = {str(order[rank % len(cycle)]): 1.0}
    while True:
        scene = sample_scene(rng, *size, shares=shares)
        if held_out(scene) == is_apart(number):
            return scene


def is_apart(number: int) -> bool:
    """Whether that prompt asks for a combination that is held out of training."""
    return number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1


def caption(scene: Scene, number: int, varied: bool) -> str:
    """The scene's prompt: the dense caption, or as a person might put it."""
    return captions.varied(scene, np.random.default_rng((_SEED, number, 1))) if varied else captions.dense(scene)


def load(path: Path) -> Clip:
    """A clip that this command rendered."""
    with np.load(path) as file:
        return Clip(from_json(str(file["scene"])), str(file["prompt"]), file["frames"], float(file["seconds"]))


class Evaluation:
    """One run: its settings, its clips, and what is measured of them."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.out = given, Path(given.out)
        self.facts = read_facts(given.model)
        self.size = given.size or (self.facts["width"], self.facts["height"], self.facts["frames"])
        self.steps = self.facts["steps"] if given.steps is None else given.steps
        self.guidance = self.facts["guidance_scale"] if given.guidance is None else given.guidance
        self.families = tuple(given.families or FAMILIES)

    def settings(self) -> dict[str, Any]:
        """What decides on the pictures: a folder of clips made with other settings is not gone on with."""
        return {
            "model": self.facts["digest"],
            "name": self.facts["name"],
            "parameters": self.facts["parameters"],
            "size": list(self.size),
            "steps": self.steps,
            "guidance_scale": self.guidance,
            "families": list(self.families),
            "captions": self.given.captions,
        }

    def jobs(self) -> Iterator[Job]:
        """First one take of each prompt, then the others that the best is chosen from."""
        takes = [(number, 0) for number in range(self.given.count)]
        chosen = range(min(self.given.best_prompts, self.given.count))
        takes += [(number, take) for number in chosen for take in range(1, self.given.best_of)]
        for number, take in takes:
            yield Job(number, take, self.out / "clips" / f"{number:05d}-{take:02d}.npz")

    def render(self) -> None:
        """Renders what is missing, until the time is up."""
        begun, pipeline = time.monotonic(), None
        for job in self.jobs():
            if job.path.exists() or time.monotonic() - begun > self.given.seconds:
                continue
            if pipeline is None:
                pipeline = Pipeline.from_pretrained(self.given.model, device=self.given.device)
                pipeline.grid_of(*self.size)  # before a scene of a size that cannot be is drawn
            scene = prompt_scene(job.number, self.size, self.families)
            prompt = caption(scene, job.number, self.given.captions == "varied")
            width, height, frames = self.size
            since = time.monotonic()
            clip = pipeline(
                prompt=prompt, negative_prompt="", width=width, height=height, frames=frames,
                seed=job.number + job.take * _TAKES_APART, steps=self.steps, guidance_scale=self.guidance,
            )  # fmt: skip
            spent = time.monotonic() - since
            job.path.parent.mkdir(parents=True, exist_ok=True)
            partial = job.path.with_suffix(".partial")
            with partial.open("wb") as file:
                np.savez_compressed(file, frames=clip, scene=to_json(scene), prompt=prompt, seconds=spent)
            partial.rename(job.path)
            print(f"{job.path.name} {spent:.1f} s: {prompt}", flush=True)

    def check_settings(self) -> None:
        """Raises SystemExit where the folder holds clips of other settings."""
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / "settings.json"
        clips = any((self.out / "clips").glob("*.npz"))
        if clips and path.exists() and json.loads(path.read_text()) != self.settings():
            raise SystemExit(f"{self.out} holds clips made with other settings ({path}): give another --out")
        path.write_text(json.dumps(self.settings(), indent=2) + "\n")

    def measure(self) -> dict[str, Any]:
        """What the clips that are there say."""
        jobs = [job for job in self.jobs() if job.path.exists()]
        singles = [(job, load(job.path)) for job in jobs if job.take == 0]
        readings = [read(clip.frames) for _, clip in singles]
        asked = [asked_of(clip.scene) for _, clip in singles]
        groups = {"obedience": False, "held_out": True}
        found: dict[str, Any] = {**self.settings(), "clips": len(singles), "of": self.given.count}
        found["seconds_per_clip"] = round(float(np.mean([clip.seconds for _, clip in singles])), 2) if singles else None
        for name, apart in groups.items():
            own = [index for index, (job, _) in enumerate(singles) if is_apart(job.number) == apart]
            found[name] = summarise([readings[index] for index in own], [asked[index] for index in own])
        found["faults"] = free_of_faults([clip.frames for _, clip in singles], asked, self.facts["fps"])
        if self.given.best_of > 1:
            found["best_of"] = best_of(jobs, self.given.best_of)
        self._sheet(singles, readings, asked)
        return found

    def _sheet(self, singles: list[tuple[Job, Clip]], readings: list[Reading], asked: list[Asked]) -> None:
        rows = []
        for (_, clip), reading, one in list(zip(singles, readings, asked, strict=True))[:SHEET_ROWS]:
            wrong = [name for name, verdict in judge(reading, one).items() if not verdict.passed]
            rows.append((clip.prompt + (f"  [not: {', '.join(wrong)}]" if wrong else ""), clip.frames))
        if rows:
            sheet(rows).save(self.out / SHEET)


def best_of(jobs: Sequence[Job], takes: int) -> dict[str, Any]:
    """What the best of several takes, by the same score that the farm ranks with, has over one of them.

    Only prompts count of which all takes are there. The measures that rank are those that judge, so that their own
    errors stay in: it is what best-of-N buys by these measures, not by people's eyes.
    """
    ranked: list[list[tuple[float, float, bool]]] = []
    for number in sorted({job.number for job in jobs}):
        own = [job for job in jobs if job.number == number]
        if len(own) < takes:
            continue
        row = []
        for job in own:
            clip = load(job.path)
            verdicts = judge(read(clip.frames), asked_of(clip.scene))
            share = float(np.mean([verdict.passed for verdict in verdicts.values()]))
            row.append((float(score(clip.frames, clip.prompt)["score"]), share, obeys_all(verdicts)))
        ranked.append(row)
    found: dict[str, Any] = {"takes": takes, "prompts": len(ranked)}
    if ranked:
        for name, column in (("measures_passed", 1), ("all", 2)):
            one = [float(np.mean([take[column] for take in row])) for row in ranked]
            best = [float(max(row)[column]) for row in ranked]
            found[name] = {"one_take": _mean(one), "best": _mean(best)}
    return found


def _mean(values: Sequence[float]) -> dict[str, float]:
    low, high = interval(values)
    return {"score": round(float(np.mean(values)), 4), "low": round(low, 4), "high": round(high, 4)}


def as_size(text: str) -> tuple[int, int, int]:
    """Width, height and frames of "64x64x17"."""
    try:
        width, height, frames = (int(part) for part in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not WxHxF, as 64x64x17") from None
    return width, height, frames


def at_least_one(text: str) -> int:
    """A count of something that there has to be."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. 0 when all clips are there and measured, 75 when the seconds are over and there is more to do."""
    parser = argparse.ArgumentParser(
        prog="python -m model.training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="default", help="a model's name, its folder or its URL")
    parser.add_argument("--count", type=at_least_one, default=120, help="prompts")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=as_size, metavar="WxHxF", help="the model's own by default")
    parser.add_argument("--steps", type=at_least_one, help="the model's own by default")
    parser.add_argument("--guidance", type=float, help="the model's own by default")
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES))
    parser.add_argument("--captions", choices=("dense", "varied"), default="dense")
    parser.add_argument(
        "--best-of", type=at_least_one, default=1, metavar="N", help="takes of the prompts in --best-prompts"
    )
    parser.add_argument("--best-prompts", type=int, default=16, help="how many prompts get N takes")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long; run again to go on")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for one GPU")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    try:
        run = Evaluation(given)
        run.check_settings()
        run.render()
    except (ModelError, InputError) as error:
        parser.error(str(error))
    result = run.measure()
    (run.out / "obedience.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return 0 if all(job.path.exists() for job in run.jobs()) else STOPPED


if __name__ == "__main__":
    sys.exit(main())
