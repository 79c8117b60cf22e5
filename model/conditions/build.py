"""The condition of a task, built from pixels that are given.

The given frames are laid into a canvas of the clip's frames; frames that are not given hold the nearest given one, so
that the causal autoencoder has a past to encode them from. What is known of a latent is the share of its pixels that is
given: only a latent that is given whole is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from einops import rearrange, reduce, repeat
from numpy.typing import NDArray
from torch import Tensor

from model.condition import Condition
from model.conditions.overlay import GivenFrames, Overlay
from model.conditions.pixels import checked
from model.conditions.spans import (
    Clip,
    default_keep,
    head_start,
    held_between,
    kept_frames,
    partly_kept,
    tail_length,
)
from model.conditions.surround import is_background
from model.errors import InputError
from model.velocity import Form

if TYPE_CHECKING:
    from model.autoencoder import Autoencoder, ImageEncoder

Picture = NDArray[np.uint8]
Film = NDArray[np.uint8]
Mask = NDArray[np.bool_]
_Array = TypeVar("_Array", Film, Mask)


@dataclass(frozen=True)
class Given:
    """What a task is given, in pixels of the clip's size (see `spans.wants` for how many frames of each).

    Attributes:
        image: the first frame, (h, w, 3); in an edit the whole source, held still.
        last: the last frame, or the frames that the film is to end with, (n, h, w, 3).
        video: the frames of the source that the task looks at, (n, h, w, 3); one is a picture, held where it has to be.
        mask: where an edit makes anew, (n, h, w) or (h, w) bool; one frame stands for all.
        keep: ranges of frames that infill keeps.
        strength: of v2v and edit: share of the noise to start from, 0 to 1.
    """

    image: Picture | None = None
    last: Film | None = None
    video: Film | None = None
    mask: NDArray[np.bool_] | None = None
    keep: tuple[tuple[int, int], ...] | None = None
    strength: float | None = None


@dataclass(frozen=True)
class Told:
    """A condition, and what is done with its source afterwards.

    Attributes:
        overlay: pixels of the source that are laid over the decoded frames, if any.
        given: frames that are given whole, if any; they are laid over where they came back badly.
        background: whether it is the background of what is laid over that is made anew (`surround`).
    """

    condition: Condition
    overlay: Overlay | None = None
    given: GivenFrames | None = None
    background: bool = False


@dataclass(frozen=True)
class _Canvas:
    """The clip as far as it is given.

    film: (frames, h, w, 3) uint8. known: pixels that are given, (frames, h, w) or (frames, 1, 1) bool.
    """

    film: Film
    known: NDArray[np.bool_]
    overlay: Overlay | None = None


def build(
    task: str,
    given: Given,
    clip: Clip,
    *,
    form: Form,
    autoencoder: Autoencoder,
    image_encoder: ImageEncoder | None = None,
    two_images: bool = False,
) -> Told | None:
    """The condition of a task, or None for one that is given nothing.

    Args:
        task: of the catalog.
        given: pixels of the clip's size.
        form: how the checkpoint is told.
        image_encoder: of a checkpoint that attends to image tokens.
        two_images: whether it attends to those of a first and a last image.

    Raises:
        InputError: something that the task needs is not given, or is of another size or kind.
    """
    canvas = _laid(task, checked(task, given, clip), clip, form)
    if canvas is None:
        return None
    sourced = task in ("v2v", "edit")
    # At strength 0 nothing is sampled (see `takes`), so that a condition need not say so.
    strength = (given.strength if sourced else None) or 1.0
    known = canvas.known
    if task == "v2v":
        known = np.zeros((clip.frames, 1, 1), bool)
    background = task == "edit" and is_background(known)
    last_known = int(np.nonzero(known.any(axis=(1, 2)))[0].max(initial=0))
    latents = _encoded(autoencoder, canvas.film, None if sourced or form is Form.CHANNELS else last_known, clip)
    share = _shares(known, clip, autoencoder.spatial_stride).to(latents.device)
    if form is not Form.CHANNELS:
        mask = share.mean(dim=1, keepdim=True)
        return Told(Condition(latents, mask, strength), canvas.overlay, _whole_frames(canvas, known), background)
    grey = np.where(known[..., None], canvas.film, 0).astype(np.float32) / 127.5 - known[..., None]
    shown = autoencoder.encode(_tensor(grey))
    tokens = None
    if image_encoder is not None:
        ends = np.nonzero(known.any(axis=(1, 2)))[0] if known.any() else np.array([0])
        frames = [canvas.film[ends[0]], canvas.film[ends[-1]]] if two_images else [canvas.film[ends[0]]]
        tokens = torch.cat([image_encoder.encode(frame) for frame in frames])
    condition = Condition(
        shown,
        (share >= 1.0).float(),
        strength,
        tokens,
        original=latents,
        imposed=task not in ("i2v", "flf2v"),
    )
    whole = _whole_frames(canvas, known) if condition.imposed else None
    return Told(condition, canvas.overlay, whole, background)


def _whole_frames(canvas: _Canvas, known: Mask) -> GivenFrames | None:
    whole = np.asarray(known.all(axis=(1, 2)))
    return GivenFrames(canvas.film, whole) if whole.any() else None


def _laid(task: str, given: Given, clip: Clip, form: Form) -> _Canvas | None:
    """The task's canvas."""
    match task:
        case "t2v" | "still":
            return None
        case "i2v":
            return _at(clip, {0: _one(given.image, "image_uri", clip)})
        case "flf2v":
            first, last = _one(given.image, "image_uri", clip), _one(given.last, "last_image_uri", clip)
            # Mask channels tell of single frames; otherwise the last group is known whole, and the image held in it.
            start = clip.film_frames - 1 if form is Form.CHANNELS else clip.end
            return _at(clip, {0: first, start: _held(last, clip.frames - start)})
        case "loop":
            first = _one(given.image, "image_uri", clip)
            return _at(clip, {0: first, clip.frames - clip.stride: _held(first, clip.stride)})
        case "extend":
            return _at(clip, {0: _tail(given.video, clip, 2)})
        case "extend_back":
            return _at(clip, _head(given.video, "video_uri", clip, 2))
        case "connect":
            tail, head = _tail(given.video, clip, 3), _head(given.last, "last_image_uri", clip, 3)
            return _at(clip, {0: tail} | head)
        case "v2v":
            film = _whole(given.video, "video_uri", clip)
            return _Canvas(film, np.ones((clip.frames, 1, 1), bool))
        case "infill":
            film = _whole(given.video, "video_uri", clip)
            kept = kept_frames(clip, given.keep or default_keep(clip))
            apart = partly_kept(clip, kept)
            overlay = Overlay(film, apart[:, None, None]) if apart.any() else None
            return _Canvas(film[held_between(kept)], kept[:, None, None], overlay)
        case "edit":
            source = given.image[None] if given.video is None and given.image is not None else given.video
            film = _whole(source, "video_uri", clip)
            if given.mask is None:
                raise InputError("mask_uri: this task needs a mask")
            stays = ~_whole(given.mask, "mask_uri", clip)
            return _Canvas(film, stays, Overlay(film, stays))
    raise InputError(f"no task is called {task!r}")


def _at(clip: Clip, pieces: dict[int, Film]) -> _Canvas:
    """Pieces of film at their first frames, and between them what holds."""
    height, width = clip.height, clip.width
    film, known = np.zeros((clip.frames, height, width, 3), np.uint8), np.zeros(clip.frames, bool)
    for start, piece in pieces.items():
        film[start : start + len(piece)] = piece
        known[start : start + len(piece)] = True
    return _Canvas(film[held_between(known)], known[:, None, None])


def _one(picture: NDArray[np.uint8] | None, column: str, clip: Clip) -> Film:
    if picture is None:
        raise InputError(f"{column}: this task needs a picture")
    film = picture[None] if picture.ndim == 3 else picture[:1]
    return _sized(film, column, clip)


def _sized(film: _Array, column: str, clip: Clip) -> _Array:
    if film.ndim < 3 or len(film) < 1 or film.shape[1:3] != (clip.height, clip.width):
        raise InputError(f"{column}: frames of {film.shape} are not of the clip's size {clip.width}x{clip.height}")
    return film


def _held(film: _Array, frames: int) -> _Array:
    """The first frames of a film; where it is too short its last one is held."""
    return film[np.minimum(np.arange(frames), len(film) - 1)]


def _tail(film: Film | None, clip: Clip, share: int) -> Film:
    if film is None:
        raise InputError("video_uri: this task needs a film")
    _sized(film, "video_uri", clip)
    return film[len(film) - tail_length(clip, share, len(film)) :]


def _head(film: Film | None, column: str, clip: Clip, share: int) -> dict[int, Film]:
    """A film's head at the frame of the clip where it begins. One that is too short for a group is held before it."""
    if film is None:
        raise InputError(f"{column}: this task needs a film or a picture")
    _sized(film, column, clip)
    start = head_start(clip, share, len(film))
    missing = max(0, clip.film_frames - start - len(film))
    places = np.clip(np.arange(clip.frames - start) - missing, 0, len(film) - 1)
    return {start: film[places]}


def _whole(film: _Array | None, column: str, clip: Clip) -> _Array:
    """A film, or a picture that is held, on all frames of the clip; beyond the film's end its last frame is held."""
    if film is None:
        raise InputError(f"{column}: this task needs a film or a picture")
    _sized(film, column, clip)
    if 1 < len(film) < clip.film_frames:
        raise InputError(f"{column}: {len(film)} frames; this clip takes {clip.film_frames}")
    return _held(film, clip.frames)


def _tensor(values: NDArray[np.float32]) -> Tensor:
    return rearrange(torch.from_numpy(np.ascontiguousarray(values)), "t h w c -> 1 c t h w")


def _encoded(autoencoder: Autoencoder, film: Film, last: int | None, clip: Clip) -> Tensor:
    """Latents (1, c, t, h, w) of a film; up to frame `last` only, and zeros after it, where that is given.

    The autoencoder is causal: what comes later changes nothing.
    """
    groups = clip.groups if last is None else -(-last // clip.stride) + 1
    pixels = film[: clip.stride * (groups - 1) + 1].astype(np.float32) / 127.5 - 1.0
    latents = autoencoder.encode(_tensor(pixels)).float()
    whole = latents.new_zeros(1, latents.shape[1], clip.groups, *latents.shape[3:])
    whole[:, :, :groups] = latents
    return whole


def _shares(known: NDArray[np.bool_], clip: Clip, spatial_stride: int) -> Tensor:
    """The share of each latent's pixels that is known, frame by frame: (1, stride, t, h, w) in 0..1."""
    rows, columns = clip.height // spatial_stride, clip.width // spatial_stride
    pixels = torch.from_numpy(np.ascontiguousarray(known)).float()
    if pixels.shape[1:] == (1, 1):
        blocks = repeat(pixels, "t 1 1 -> t h w", h=rows, w=columns)
    else:
        blocks = reduce(pixels, "t (h i) (w j) -> t h w", "mean", i=spatial_stride, j=spatial_stride)
    first = repeat(blocks[:1], "1 h w -> 1 s 1 h w", s=clip.stride)
    return torch.cat([first, rearrange(blocks[1:], "(t s) h w -> 1 s t h w", s=clip.stride)], dim=2)
