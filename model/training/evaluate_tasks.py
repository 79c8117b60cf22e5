"""Measures what the tasks beside text to video promise, on sources that the world draws and whose truth is known.

    python -m model.training.evaluate_tasks --model model/default --count 8 --long --out runs/tasks

Leaves `tasks.json`: how given frames come back, how loops close, what an edit leaves alone, and, with `--long`, seams
and drift of a minute by each method. `model.training.card` makes a table of it. Finished measures are kept, so that the
same command goes on where `--seconds` stopped it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.conditions.build import Given
from model.conditions.takes import clip_of, decode, render, sample
from model.errors import ModelError
from model.long import METHODS, Long, plan_pieces, story_of
from model.pipeline import Pipeline
from model.quality import identity
from model.quality.drift import drift
from model.quality.seams import seams, steps
from model.training import captions
from model.training.card_tables import AT_MOST
from model.training.evaluate import at_least_one
from model.training.run import STOPPED
from model.training.world import BACKGROUNDS, COLORS, Motion, Scene, coverage, draw, sample_scene

Film = NDArray[np.uint8]
_SEED = 9 * 10**6  # of the sources; prompts and training draw their scenes from others
SIDE, FRAMES = 128, 17
KEPT = ((0, 4), (13, 16))  # what infill is given
SHOTS = ("still", "zooms out")  # cameras of a scene's shots, before which no thing leaves the frame
MINUTE = 60 * 8 + 1


@dataclass(frozen=True)
class Source:
    """A drawn clip with one thing that moves, (frames, h, w, 3), and what its prompt says."""

    number: int
    scene: Scene
    prompt: str
    film: Film


def source(number: int) -> Source:
    """The source of that number, the same on every machine."""
    rng = np.random.default_rng((_SEED, number))
    while True:
        scene = replace(sample_scene(rng, SIDE, SIDE, FRAMES, shares={"one": 1.0}), texture="plain", style="flat")
        if scene.alone and scene.things[0].motion.kind == "straight":
            return Source(number, scene, captions.dense(scene), draw(scene))


def psnr(made: Film, given: Film, where: NDArray[np.bool_] | None = None) -> float:
    """Peak signal to noise ratio in dB of frames (frames, h, w, 3), over `where` (frames, h, w); at most 99."""
    error = np.square(made.astype(np.float64) - given)
    mean = float(error.mean() if where is None else error[where].mean())
    return float(min(99.0, 10 * np.log10(255**2 / max(mean, 1e-9))))


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks of one shape."""
    union = np.logical_or(one, other).sum()
    return float(np.logical_and(one, other).sum() / union) if union else 1.0


class Tasks:
    """The measures of one pipeline. Each gives a figure for one source."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def _film(self, task: str, one: Source, given: Given, prompt: str | None = None, **settings: Any) -> Film:
        film = render(
            self.pipeline, task, prompt or one.prompt, given,
            width=SIDE, height=SIDE, frames=FRAMES, seed=one.number, **settings,
        )  # fmt: skip
        return film.astype(np.uint8)

    def _back(self, task: str, one: Source, given: Given, places: slice | list[int], frames: Film) -> float:
        """PSNR in dB of the worst given frame."""
        made = self._film(task, one, given)[places]
        return min(psnr(a[None], b[None]) for a, b in zip(made, frames, strict=True))

    def i2v(self, one: Source) -> float:
        return self._back("i2v", one, Given(image=one.film[0]), [0], one.film[:1])

    def flf2v(self, one: Source) -> float:
        given = Given(image=one.film[0], last=one.film[-1:])
        return self._back("flf2v", one, given, [0, FRAMES - 1], one.film[[0, -1]])

    def extend(self, one: Source) -> float:
        return self._back("extend", one, Given(video=one.film[-5:]), slice(0, 5), one.film[-5:])

    def extend_back(self, one: Source) -> float:
        return self._back("extend_back", one, Given(video=one.film), slice(-8, None), one.film[:8])

    def infill(self, one: Source) -> float:
        kept = [frame for low, high in KEPT for frame in range(low, high + 1)]
        return self._back("infill", one, Given(video=one.film, keep=KEPT), kept, one.film[kept])

    def loop(self, one: Source) -> float:
        """The step from the last frame to the first over the clip's median step."""
        film = self._film("loop", one, Given(image=one.film[0]))
        around = steps(np.concatenate([film[-1:], film[:1]]))[0]
        return float(around / max(float(np.median(steps(film))), 0.25))

    def background(self, one: Source) -> float:
        """Overlap of the thing before and after its background is replaced: what is nearer to its ink than to paper."""
        thing = coverage(one.scene) > 0.5
        paper = next(name for name in BACKGROUNDS if name not in (one.scene.background, one.scene.things[0].color))
        prompt = captions.dense(replace(one.scene, background=paper))
        film = self._film("edit", one, Given(video=one.film, mask=~thing), prompt).astype(np.float64)
        ink, ground = np.array(COLORS[one.scene.things[0].color]), np.array(BACKGROUNDS[paper])
        nearer = np.linalg.norm(film - ink, axis=-1) < np.linalg.norm(film - ground, axis=-1)
        return overlap(nearer, thing)

    def region(self, one: Source) -> float:
        """PSNR in dB of what lies outside of the mask, where one half of a picture is animated."""
        mask = np.zeros((1, SIDE, SIDE), bool)
        mask[:, :, SIDE // 2 :] = True
        film = self._film("edit", one, Given(image=one.film[0], mask=mask))
        outside = np.broadcast_to(~mask, film.shape[:3])
        return psnr(film, np.broadcast_to(one.film[0], film.shape), outside)

    def restyle(self, one: Source) -> float:
        """Overlap of the thing before and after it is rendered anew in clay."""
        prompt = captions.dense(replace(one.scene, style="clay"))
        film = self._film("v2v", one, Given(video=one.film, strength=0.7), prompt).astype(np.float64)
        ground = np.array(BACKGROUNDS[one.scene.background])
        far = np.linalg.norm(film - ground, axis=-1)
        return overlap(far > 60, coverage(one.scene) > 0.5)

    def scene(self, one: Source) -> float:
        """Identity of two shots of one scene: both start from one picture, and another camera looks at each."""
        thing = one.scene.things[0]
        stands = replace(thing, motion=Motion("still", "still", thing.motion.start))
        prompts = [captions.dense(replace(one.scene, things=(stands,), camera=camera)) for camera in SHOTS]
        return identity([self._film("i2v", one, Given(image=one.film[0]), prompt) for prompt in prompts])

    def minute(self, method: str, one: Source) -> dict[str, float]:
        """A minute by one method: its seams and the widest step elsewhere in median steps, that step in grey levels,
        and the drift in CIEDE2000."""
        task = "loop" if method == "co_denoise" else "t2v"
        clip = clip_of(self.pipeline, task, SIDE, SIDE, MINUTE)
        window = int(self.pipeline.facts["long"]["window_frames"])
        sampled = sample(
            self.pipeline, task, one.prompt, clip,
            steps=self.pipeline.facts["steps"], seed=one.number, long=Long(method),
        )  # fmt: skip
        film = decode(self.pipeline, sampled, task, clip).astype(np.uint8)
        stride = clip.stride
        plan = plan_pieces(
            method, clip.groups - int(sampled.ring), (window - 1) // stride + 1, frame_stride=stride,
            **story_of(task, method)._asdict(),
        )  # fmt: skip
        joins = [join for join in plan.joins(stride) if 1 <= join < len(film)]
        found = {"drift": drift(film, self.pipeline.facts["fps"]), "median_step": float(np.median(steps(film)))}
        if not joins:
            return found
        across, elsewhere = seams(film, joins), seams(film, sorted({*range(1, len(film))} - {*joins}))
        return {
            **found,
            "seam": float(across.max()),
            "median_seam": float(np.median(across)),
            "elsewhere": float(elsewhere.max()),
        }


MEASURES: dict[str, str] = {
    "i2v": "given frame back, dB", "flf2v": "given frames back, dB", "extend": "given frames back, dB",
    "extend_back": "given frames back, dB", "infill": "given frames back, dB", "loop": "seam, in median steps",
    "background": "subject kept, IoU", "region": "outside of the mask, dB", "restyle": "subject kept, IoU",
    "scene": "identity of two cameras' shots, 0 to 1",
}  # fmt: skip


def measurements(tasks: Tasks, count: int, long: bool) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Names of the figures, and how each is come by."""
    for number in range(count):
        one = source(number)
        for name in MEASURES:
            yield f"{name}/{number}", partial(getattr(tasks, name), one)
    if long:
        first = source(0)
        for method in METHODS:
            yield f"minute/{method}", partial(tasks.minute, method, first)


def summary(figures: dict[str, Any]) -> dict[str, Any]:
    """Median and worst of each measure, and the minutes."""
    found: dict[str, Any] = {}
    for name, what in MEASURES.items():
        values = [value for key, value in figures.items() if key.startswith(f"{name}/")]
        if values:
            worst = max(values) if name in AT_MOST else min(values)
            found[name] = {"what": what, "clips": len(values), "median": float(np.median(values)), "worst": worst}
    minutes = {key.split("/")[1]: value for key, value in figures.items() if key.startswith("minute/")}
    return {**found, **({"minute": minutes} if minutes else {})}


def main() -> int:
    """Command line. 0 when all is measured, 75 when the seconds are over and there is more to do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="a model's name, its folder or its URL")
    parser.add_argument("--count", type=at_least_one, default=8, help="sources of each measure")
    parser.add_argument("--long", action="store_true", help="a minute by each method too")
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
