"""What a take's task is given: fetched, decoded, brought to the clip's rate and size."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from actors.gangs.rendering import Order, fetch_planned
from actors.job import InputRules
from catalogs.dependencies import FIRST
from catalogs.tasks import TASKS, parse_frames
from infra.media import Unplayable
from infra.media.source import Source
from infra.store import open_store
from infra.store.errors import NotFound
from model.conditions.pixels import COLUMNS
from model.conditions.spans import Clip, Want, wants
from model.errors import InputError
from model.images import cover, decode_image

if TYPE_CHECKING:
    from model.conditions.given import Given

_LEGAL = "a film of any kind that FFmpeg decodes, or a picture, is taken"
_LEGAL_PICTURE = "; one picture is taken here, such as PNG, JPEG or WebP; tasks that take a film have it in video_uri"
_STILL = frozenset({"JPEG", "MPO"})
# Rec. 709; above half of it a mask's pixel is white.
_LUMA = np.array([0.2126, 0.7152, 0.0722])


def clip_of(order: Order, stride: int) -> Clip:
    """The clip of a take, and the film that is cut from it."""
    return Clip(
        int(order["render_width"]), int(order["render_height"]), int(order["render_frames"]), int(order["frames"]),
        stride,
    )  # fmt: skip


def is_given(order: Order, name: str) -> bool:
    """Whether a take is given its image, last, video or mask, by a column or by the film that it depends on."""
    column = COLUMNS[name]
    return bool(order.get(column) or (order.get("source_media") and TASKS[order["task"]].source == column))


def inputs_of(order: Order, rules: InputRules, stride: int, on_frame: Callable[[], None] | None = None) -> Given | None:
    """What the take's task is given, in pixels of its clip; None for a task that is given nothing.

    Args:
        order: names the inputs; ``source_media`` is the path in the store of the film that the shot depends on, and
            ``source_sha256`` its digest. It stands for the task's film, or its last frame for the task's picture; with
            ``source_frame`` "first" its first.
        stride: frames of one latent frame.
        on_frame: called now and then while films are decoded, as a sign of life.

    Raises:
        InputError: an input that is no film or picture, is damaged, or too short; it names the column.
        InputUnreadable, StoreError: it cannot be fetched.
    """
    from model.conditions.given import Given

    clip = clip_of(order, stride)
    pixels: dict[str, Any] = {}
    for name, want in wants(order["task"], clip).items():
        if not is_given(order, name):
            continue
        pixels[name] = _pixels_of(order, name, want, rules, clip, on_frame)
    if not pixels:
        return None
    if "mask" in pixels:
        pixels["mask"] = pixels["mask"] @ _LUMA > 127.5
    if "image" in pixels:
        pixels["image"] = pixels["image"][0]
    keep, strength = order.get("keep_frames"), order.get("strength")
    return Given(
        **pixels,
        keep=None if keep is None else parse_frames(keep),
        strength=None if strength is None else float(strength),
    )


def picture_of(order: Order, rules: InputRules, stride: int) -> NDArray[np.uint8] | None:
    """The picture that a take starts from, (height, width, 3) of its clip, without torch; None where it is given none.

    Args and errors: as of `inputs_of`.
    """
    clip = clip_of(order, stride)
    want = wants(order["task"], clip).get("image")
    if want is None or not is_given(order, "image"):
        return None
    picture: NDArray[np.uint8] = _pixels_of(order, "image", want, rules, clip, None)[0]
    return picture


def _pixels_of(
    order: Order, name: str, want: Want, rules: InputRules, clip: Clip, on_frame: Callable[[], None] | None
) -> NDArray[np.uint8]:
    """One of the things that a task is given, (n, height, width, 3)."""
    column = COLUMNS[name]
    data = _bytes_of(order, column, rules)
    stands_in = not order.get(column)
    try:
        number = (0 if order.get("source_frame") == FIRST else -1) if stands_in else None
        return _decoded(data, want, clip, float(order["fps"] or 1.0), on_frame, number)
    except (InputError, Unplayable) as error:
        shown = "depends_on" if stands_in else column
        hint = f"; {_LEGAL}" if isinstance(error, Unplayable) else _LEGAL_PICTURE if want.part == "picture" else ""
        raise InputError(f"{shown}: {error}{hint}") from error


def _bytes_of(order: Order, column: str, rules: InputRules) -> bytes:
    if order.get(column):
        return fetch_planned(order, column, rules)
    if rules.store_url is None:
        raise InputError("depends_on: no store is known to take the source from")
    path, planned = order["source_media"], order.get("source_sha256")
    try:
        data = open_store(rules.store_url, rules.options).read(path)
    except NotFound as error:
        raise InputError(f"depends_on: the film it depends on is gone: {path}") from error
    if planned is not None and planned != hashlib.sha256(data).hexdigest():
        raise InputError(f"depends_on: the film it depends on is damaged: {path} is not what its commit says")
    return data


def _decoded(
    data: bytes, want: Want, clip: Clip, fps: float, on_frame: Callable[[], None] | None, number: int | None
) -> NDArray[np.uint8]:
    """The frames that are wanted, (n, height, width, 3), covering the clip's frame; a picture is one.

    number: which frame of a film is taken where a picture is wanted; None where it has to be a picture.
    """
    if _is_picture(data) or (want.part == "picture" and number is None):
        return cover(decode_image(data), clip.width, clip.height)[None]
    film = Source.open(data, on_frame=on_frame)
    numbers = _numbers(film, want, fps) if want.part != "picture" else [range(film.frames)[number or 0]]
    return np.stack([cover(picture, clip.width, clip.height) for picture in film.pictures(numbers, on_frame)])


def _numbers(film: Source, want: Want, fps: float) -> NDArray[np.int64]:
    """The frames of a film that show it at the clip's rate, by the nearest time."""
    end = float(film.times[-1])
    there = int(end * fps + 1e-6) + 1
    steps = np.arange(min(want.frames, there)) / fps
    match want.part:
        case "tail":
            return film.nearest(end - steps[::-1])
        case "head":
            return film.nearest(steps)
    if film.seconds * fps + 0.5 < want.frames:
        raise InputError(
            f"{film.frames} frames, {film.seconds:.3f} s, are too short: this clip takes {want.frames} frames at "
            f"{fps:g} fps, {want.frames / fps:.3f} s"
        )
    return film.nearest(np.arange(want.frames) / fps)


def _is_picture(data: bytes) -> bool:
    """Whether the bytes are of one picture; an animation is a film."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.format in _STILL or getattr(image, "n_frames", 1) == 1
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
