"""The canvas of a task: what is given of its clip, laid at the frames and pixels where it is.

Frames that are not given hold the nearest given one, so that the causal autoencoder has a past to encode them from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from model.conditions.given import Film, Given, Mask
from model.conditions.overlay import Overlay
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

_Array = TypeVar("_Array", Film, Mask)


@dataclass(frozen=True)
class Canvas:
    """The clip as far as it is given.

    Attributes:
        film: (frames, h, w, 3) uint8.
        known: pixels that are given, (frames, h, w) or (frames, 1, 1) bool.
        overlay: pixels of the source that are laid over the decoded frames, if any.
        background: whether it is the background of what is given that is made anew.
    """

    film: Film
    known: NDArray[np.bool_]
    overlay: Overlay | None = None
    background: bool = False


def laid(task: str, given: Given, clip: Clip, form: Form) -> Canvas | None:
    """The task's canvas."""
    match task:
        case "t2v" | "still":
            return None
        case "i2v":
            return _at(clip, [(0, _one(given.image, "image_uri", clip))])
        case "flf2v":
            first, last = _one(given.image, "image_uri", clip), _one(given.last, "last_image_uri", clip)
            # Mask channels tell of single frames; otherwise the last group is known whole, and the image held in it.
            start = clip.film_frames - 1 if form is Form.CHANNELS else clip.end
            return _at(clip, [(0, first), (start, _held(last, clip.frames - start))])
        case "loop":
            first = _one(given.image, "image_uri", clip)
            return _at(clip, [(0, first), (clip.frames - clip.stride, _held(first, clip.stride))])
        case "extend":
            return _at(clip, [(0, _tail(given.video, clip, 2))])
        case "extend_back":
            return _at(clip, [_head(given.video, "video_uri", clip, 2)])
        case "connect":
            tail, head = _tail(given.video, clip, 3), _head(given.last, "last_image_uri", clip, 3)
            return _at(clip, [(0, tail), head])
        case "v2v":
            film = _whole(given.video, "video_uri", clip)
            return Canvas(film, np.ones((clip.frames, 1, 1), bool))
        case "infill":
            film = _whole(given.video, "video_uri", clip)
            kept = kept_frames(clip, given.keep or default_keep(clip))
            apart = partly_kept(clip, kept)
            overlay = Overlay(film, apart[:, None, None]) if apart.any() else None
            return Canvas(film[held_between(kept)], kept[:, None, None], overlay)
        case "edit":
            source = given.video
            if source is None and given.image is not None:
                source = _one(given.image, "image_uri", clip)
            film = _whole(source, "video_uri", clip)
            if given.mask is None:
                raise InputError("mask_uri: this task needs a mask")
            stays = ~_whole(given.mask, "mask_uri", clip)
            background = is_background(stays)
            stills = source is not None and len(source) == len(given.mask) == 1
            if stills and len(film) > 1 and not background:
                stays[0] = True  # a region is animated: what is in it moves on from where the picture shows it
            return Canvas(film, stays, Overlay(film, stays), background)
    raise InputError(f"no task is called {task!r}")


def _at(clip: Clip, pieces: Sequence[tuple[int, Film]]) -> Canvas:
    """Pieces of film at their first frames, and between them what holds.

    Raises:
        InputError: the film is so short that one would be laid over another, and be lost.
    """
    height, width = clip.height, clip.width
    film, known = np.zeros((clip.frames, height, width, 3), np.uint8), np.zeros(clip.frames, bool)
    for start, piece in pieces:
        if known[start : start + len(piece)].any():
            raise InputError(f"frames: a film of {clip.film_frames} has no room for both ends that are given; 2 have")
        film[start : start + len(piece)] = piece
        known[start : start + len(piece)] = True
    return Canvas(film[held_between(known)], known[:, None, None])


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


def _head(film: Film | None, column: str, clip: Clip, share: int) -> tuple[int, Film]:
    """A film's head at the frame of the clip where it begins. One that is too short for a group is held before it."""
    if film is None:
        raise InputError(f"{column}: this task needs a film or a picture")
    _sized(film, column, clip)
    start = head_start(clip, share, len(film))
    missing = max(0, clip.film_frames - start - len(film))
    places = np.clip(np.arange(clip.frames - start) - missing, 0, len(film) - 1)
    return start, film[places]


def _whole(film: _Array | None, column: str, clip: Clip) -> _Array:
    """A film, or a picture that is held, on all frames of the clip; beyond the film's end its last frame is held."""
    if film is None:
        raise InputError(f"{column}: this task needs a film or a picture")
    _sized(film, column, clip)
    if 1 < len(film) < clip.film_frames:
        raise InputError(f"{column}: {len(film)} frames; this clip takes {clip.film_frames}")
    return _held(film, clip.frames)
