"""What each task beside text to video is measured by, on sources that the world draws and whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.conditions.given import Given
from model.conditions.surround import around
from model.conditions.takes import clip_of, decode, render, sample
from model.long import Long, plan_pieces, story_of
from model.pipeline import Pipeline
from model.quality import identity
from model.quality.drift import drift
from model.quality.seams import seams, steps
from model.training import captions
from model.training.world import BACKGROUNDS, COLORS, Motion, Scene, coverage, draw, sample_scene

Film = NDArray[np.uint8]
T = TypeVar("T")
_SEED = 9 * 10**6  # of the sources; prompts and training draw their scenes from others
SIDE, FRAMES = 128, 17
KEPT = ((0, 4), (13, 16))  # what infill is given
SHOTS = ("still", "zooms out")  # cameras of a scene's shots, before which no thing leaves the frame
PLAIN = 60.0  # how far a pixel may be from a colour to be it; the second tone of a texture is farther
MARGIN = 8  # pixels around a thing that a mask over it leaves, as a brush does
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


def nearer(film: Film, ink: Sequence[int], *others: Sequence[int]) -> NDArray[np.bool_]:
    """Pixels (frames, h, w) of a film (frames, h, w, 3) that are nearer to one colour than to all others."""
    values = film.astype(np.float64)
    far = [np.linalg.norm(values - np.array(color), axis=-1) for color in (ink, *others)]
    return np.asarray(far[0] < np.min(far[1:], axis=0))


def _middle(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean row and column of a mask (h, w)."""
    return np.argwhere(mask).mean(axis=0)


class Tasks:
    """The measures of one pipeline. Each gives a figure for one source."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self._made: dict[str, tuple[int, Any]] = {}  # what two measures look at, of the last source

    def _once(self, what: str, one: Source, make: Callable[[], T]) -> T:
        if what not in self._made or self._made[what][0] != one.number:
            self._made[what] = one.number, make()
        made: T = self._made[what][1]
        return made

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
        film = self._film("edit", one, Given(video=one.film, mask=~thing), prompt)
        return overlap(nearer(film, COLORS[one.scene.things[0].color], BACKGROUNDS[paper]), thing)

    def subject(self, one: Source) -> float:
        """Overlap of a thing of another colour, put in the place of the one in the film, with how it would be drawn."""
        thing = one.scene.things[0]
        color = next(name for name in COLORS if name not in (one.scene.background, thing.color))
        told = replace(one.scene, things=(replace(thing, color=color),))
        mask = around(coverage(one.scene) > 0.5, MARGIN)
        film = self._film("edit", one, Given(video=one.film, mask=mask), captions.dense(told))
        new = nearer(film, COLORS[color], COLORS[thing.color], BACKGROUNDS[one.scene.background])
        return overlap(new, coverage(told) > 0.5)

    def _animated(self, one: Source) -> tuple[Film, NDArray[np.bool_]]:
        """A picture of which only where the thing goes is animated, and that region, (1, h, w)."""
        way = np.any(coverage(one.scene) > 0.5, axis=0)[None]
        mask = around(way, MARGIN)
        return self._once("animated", one, lambda: self._film("edit", one, Given(image=one.film[0], mask=mask))), mask

    def region(self, one: Source) -> float:
        """PSNR in dB of what lies outside of a region that is animated."""
        film, mask = self._animated(one)
        outside = np.broadcast_to(~mask, film.shape[:3])
        return psnr(film, np.broadcast_to(one.film[0], film.shape), outside)

    def animation(self, one: Source) -> float:
        """How far the thing in a region that is animated comes in the direction told, of how far it was drawn to."""
        film, _ = self._animated(one)
        ink = nearer(film, COLORS[one.scene.things[0].color], BACKGROUNDS[one.scene.background])
        if not ink[-1].any():
            return 0.0
        drawn = coverage(one.scene) > 0.5
        start = _middle(drawn[0])
        asked, made = _middle(drawn[-1]) - start, _middle(ink[-1]) - start
        return float(np.clip(made @ asked / (asked @ asked), 0.0, 1.0))

    def restyle(self, one: Source) -> float:
        """Overlap of the thing before and after it is rendered anew in clay."""
        prompt = captions.dense(replace(one.scene, style="clay"))
        film = self._film("v2v", one, Given(video=one.film, strength=0.7), prompt).astype(np.float64)
        ground = np.array(BACKGROUNDS[one.scene.background])
        far = np.linalg.norm(film - ground, axis=-1)
        return overlap(far > PLAIN, coverage(one.scene) > 0.5)

    def _shots(self, one: Source) -> list[Film]:
        """Two shots of one scene: both start from one picture, and another camera looks at each."""
        thing = one.scene.things[0]
        stands = replace(thing, motion=Motion("still", "still", thing.motion.start))
        prompts = [captions.dense(replace(one.scene, things=(stands,), camera=camera)) for camera in SHOTS]
        given = Given(image=one.film[0])
        return self._once("shots", one, lambda: [self._film("i2v", one, given, prompt) for prompt in prompts])

    def scene(self, one: Source) -> float:
        """Identity of two shots of one scene."""
        return identity(self._shots(one))

    def ground(self, one: Source) -> float:
        """Share of the pixels, in the worse of two shots of a scene, that are the thing or its plain background."""
        known = COLORS[one.scene.things[0].color], BACKGROUNDS[one.scene.background]
        near = (np.linalg.norm(film[..., None, :] - np.array(known, float), axis=-1) for film in self._shots(one))
        return min(float((far.min(axis=-1) < PLAIN).mean()) for far in near)

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
