"""A take of any task: from what it is given to latents, and from decoded frames to those of its film."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from model.autoencoder import Frames, OnLatent
from model.conditions.build import Told
from model.conditions.given import Given
from model.conditions.overlay import GivenFrames, Overlay
from model.conditions.pixels import checked
from model.conditions.spans import Clip, loop_frames
from model.conditions.surround import AGAIN, drawn_in
from model.errors import InputError
from model.gang import share_slowly
from model.long.choose import story_of
from model.long.planning import LEAST_WINDOW
from model.long.rings import opened
from model.long.run import Long, denoise_long

if TYPE_CHECKING:
    from model.parallel import ParallelGroup
    from model.pipeline import Pipeline

OnStage = Callable[[str, int, int], None]
"""Called with a stage, steps done and steps of it."""


@dataclass(frozen=True)
class Sampled:
    """Latents (1, c, t, h, w), fp32, of a take, and what it was told, which decoding heeds.

    On ranks other than 0 the latents may be None: only rank 0 decodes. Those of a ring (a long loop) are decoded by
    `Pipeline.decode_ring`; it `begins` somewhere when its first frame was given.
    """

    latents: Tensor | None
    told: Told | None = None
    ring: bool = False
    begins: bool = False


def clip_of(pipeline: Pipeline, task: str, width: int, height: int, film_frames: int) -> Clip:
    """The clip that a film of a task is cut from; `width` and `height` are on the model's grid."""
    if task == "still" and film_frames != 1:
        raise InputError(f"a still is one frame, not {film_frames}; for a clip from words the task is t2v")
    stride = pipeline.folder.frame_stride
    frames = -(-(film_frames - 1) // stride) * stride + 1
    return Clip(width, height, frames + (stride if task == "loop" else 0), film_frames, stride)


def sample(
    pipeline: Pipeline,
    task: str,
    prompt: str,
    clip: Clip,
    *,
    steps: int,
    told: Told | None = None,
    strength: float | None = None,
    draw_first: bool = False,
    long: Long | None = None,
    group: ParallelGroup | None = None,
    on_stage: OnStage | None = None,
    **settings: Any,
) -> Sampled:
    """Samples a take. Every rank of a gang calls it with the same arguments, but for `told`.

    Args:
        steps: of a walk from pure noise.
        told: what `Pipeline.condition` made of the givens; only rank 0's counts.
        strength: of v2v and edit. So little that no step is left, and the source comes back as it is.
        draw_first: a loop whose first frame is not given: it is drawn as a still from the same words and seed.
        long: how a clip is made that is longer than the model's own.
        group, settings: as `Pipeline.denoise` takes them.
        on_stage: called with "still", "denoise" and "surround", steps done and steps.

    Raises:
        InputError: also a `long` that is a method's name alone. NonFinite, PeerFailed: as `Pipeline.denoise`.
    """
    if long is not None and not isinstance(long, Long):
        raise InputError(f"long is {long!r}; how a long clip is made is told by model.long.Long, as Long('overlap')")
    tell: OnStage = on_stage or (lambda stage, step, total: None)
    if task in ("v2v", "edit") and strength is not None:
        left = int(min(steps * strength, steps))
        if left == 0:
            return Sampled(None if told is None else told.condition.truth, told)
        if long is None:  # how many steps the pieces of a long clip have is told with the first of them
            tell("denoise", 0, left)
    settings = {**settings, "width": clip.width, "height": clip.height, "steps": steps, "group": group}
    if task == "loop" and long is None and clip.groups > LEAST_WINDOW:
        # A ring has no first frame that stands alone, so nothing shows where it was closed.
        long = Long("co_denoise", clip.frames - clip.stride)
    ring = long is not None and story_of(task, long.method).closed
    if draw_first and not ring:
        told = _first_drawn(pipeline, task, prompt, clip, settings, tell)
    settings |= {"frames": clip.frames, "condition": None if told is None else told.condition}

    def on_step(step: int, total: int) -> None:
        tell("denoise", step, total)

    if long is None:
        made = pipeline.denoise(prompt, on_step=on_step, **settings)
        if task == "edit":
            made = _surrounded(pipeline, prompt, clip, made, told, settings, tell)
        return Sampled(made, told)
    story = story_of(task, long.method)._asdict()
    latents = denoise_long(pipeline, prompt, long, on_step=on_step, **story, **settings)
    return Sampled(latents, told, ring, begins=told is not None)


def _first_drawn(
    pipeline: Pipeline, task: str, prompt: str, clip: Clip, settings: dict[str, Any], tell: OnStage
) -> Told | None:
    still = pipeline.denoise(prompt, frames=1, on_step=lambda step, total: tell("still", step, total), **settings)
    made: list[Told | None] = []

    def condition() -> None:
        picture = pipeline.decode(still)[0].astype("uint8")
        made.append(pipeline.condition(task, Given(image=picture), clip))

    share_slowly(settings["group"], condition)
    return made[0] if made else None


def _surrounded(
    pipeline: Pipeline,
    prompt: str,
    clip: Clip,
    latents: Tensor,
    told: Told | None,
    settings: dict[str, Any],
    tell: OnStage,
) -> Tensor:
    """The latents of an edit, looked at once more where it has a new background; see `surround`."""
    group, left = settings["group"], int(settings["steps"] * AGAIN)
    again: list[Told] = []

    def look() -> bool:
        if told is None or told.overlay is None or not told.background or told.condition.strength <= AGAIN:
            return False
        stays = np.broadcast_to(told.overlay.keep, (clip.frames, clip.height, clip.width))
        token = pipeline.folder.spatial_stride * max(pipeline.folder.patch[1:])
        decoded = pipeline.decode(latents, on_latent=lambda *_: tell("surround", 0, left))
        film = drawn_in(decoded, told.overlay.film, stays, token)
        made = pipeline.condition("edit", Given(video=film, mask=~stays, strength=AGAIN), clip)
        assert made is not None
        again.append(made)
        return True

    if not left or not share_slowly(group, look):
        return latents
    settings = {**settings, "condition": again[0].condition if again else None}
    return pipeline.denoise(prompt, on_step=lambda step, total: tell("surround", step, total), **settings)


def decode(pipeline: Pipeline, sampled: Sampled, task: str, clip: Clip, *, on_latent: OnLatent | None = None) -> Frames:
    """The film (film_frames, height, width, 3), uint8, of a take's latents, on the rank that has them.

    on_latent: called with (latents done, latents), as a sign of life.

    Raises:
        NonFinite: NaN or infinity among the decoded values.
    """
    assert sampled.latents is not None
    if sampled.ring:
        return film_of(pipeline.decode_ring(sampled.latents, on_latent=on_latent), task, clip, sampled)
    return film_of(pipeline.decode(sampled.latents, on_latent=on_latent), task, clip, sampled)


def film_of(frames: Frames, task: str, clip: Clip, sampled: Sampled) -> Frames:
    """The film's frames (film_frames, h, w, 3) of the decoded ones: (clip.frames, h, w, 3), of a ring one less."""
    if not sampled.ring:
        return cut(_with_given(frames, sampled.told), task, clip)
    turn = _begun(frames, clip, sampled.told) if sampled.begins else opened(frames)
    return turn[loop_frames(clip, ring=True)]


def _begun(frames: Frames, clip: Clip, told: Told | None) -> Frames:
    """A ring that begins with a given picture.

    The picture stands still for a group of frames. The film begins with the last of them and ends with the others, so
    that its ends meet within the group; where they came back below 30 dB the picture is laid over all of them.
    """
    turn = np.roll(frames, 1 - clip.stride, axis=0)
    if told is None or told.given is None:
        return turn
    picture = told.given.film[-1:]
    if not GivenFrames(picture, np.ones(1, bool)).poor(turn[:1]).any():
        return turn
    still = np.roll(np.arange(len(turn)) < clip.stride, 1 - clip.stride)
    return Overlay(picture, still[:, None, None]).on(turn)


def _with_given(frames: Frames, told: Told | None) -> Frames:
    """Decoded frames with what of the source is laid over them."""
    if told is None:
        return frames
    for part in (told.overlay, told.given):
        frames = frames if part is None else part.on(frames)
    return frames


def cut(frames: Frames, task: str, clip: Clip) -> Frames:
    """The film's frames (film_frames, h, w, 3) of the decoded ones (clip.frames, h, w, 3)."""
    return frames[loop_frames(clip)] if task == "loop" else frames[: clip.film_frames]


def render(
    pipeline: Pipeline,
    task: str,
    prompt: str,
    given: Given | None = None,
    *,
    width: int,
    height: int,
    frames: int,
    steps: int | None = None,
    **settings: Any,
) -> Frames:
    """One film of any task, alone and in one call: (frames, height, width, 3), uint8.

    Args:
        given: what the task is given, in pixels of the clip's size.
        width, height: on the model's grid.
        frames: of the film; any number, of a still 1.
        steps, settings: as `Pipeline.denoise` takes them (seed, guidance_scale, ...).

    Raises:
        InputError: something that the task needs is not given or does not fit.
    """
    clip = clip_of(pipeline, task, width, height, frames)
    given = checked(task, given or Given(), clip)
    if task in ("v2v", "edit") and given.strength is None:
        given = replace(given, strength=0.6 if task == "v2v" else 1.0)
    draw_first = task == "loop" and given.image is None
    told = None if draw_first else pipeline.condition(task, given, clip)
    sampled = sample(
        pipeline, task, prompt, clip, steps=pipeline.facts["steps"] if steps is None else steps, told=told,
        strength=given.strength, draw_first=draw_first, **settings,
    )  # fmt: skip
    return decode(pipeline, sampled, task, clip)
