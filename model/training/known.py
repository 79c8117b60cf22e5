"""What is known of clips, in the measures of the tokens that show them.

It is kept beside their latents, because drawing it takes as long as they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from einops import reduce
from torch import Tensor

from model.training.world import COLORS, KINDS, SIZES, SPEED_PER_SECOND, Scene, Thing, coverage, on_screen
from model.training.world.drawing import PERIOD, tones
from model.training.world.motion import broken_at, camera_at, colors
from model.training.world.sampling import ZOOM
from model.training.world.vocabulary import OCCLUDER

TOKEN_SIDE = 16  # pixels: patches of 2 x 2 latents, each of 8 x 8 pixels
WINDOW = 5  # of a window's sides, in tokens; a large thing has 51 pixels
BROKEN = "broken"
LOOKS = (*KINDS, *COLORS, *SIZES, BROKEN)
OUTLINE_SIDE = 8  # the outline is told at half the resolution of the picture
MOTION = 5  # numbers that tell of a side's motion, and the camera's
GROUND = 5  # numbers that tell how far the camera has come
TONE_SIDE = 4  # spots of a token's side for which the background is told


class Known(NamedTuple):
    """What is known of clips of one shape.

    A clip's first latent frame is one picture and each further one four, whose mean counts. Of the two sides, the left
    one is that of the thing that begins leftmost, the right one that of the rightmost; of one thing they are alike.

    Attributes:
        looks: what the thing of either side looks like, (clips, latent frames, 2, words of `LOOKS`), uint8.
        motion: how it moves on the screen, (x, y), and how the camera does, (x, y, zoom), in the world's top speed
            and its widest zoom, (clips, latent frames, 2, `MOTION`).
        centre: where it is, (clips, latent frames, 2, 2) as (x, y) in -1..1.
        outline: how much of each spot things cover, (clips, latent frames, height and width in tokens, spots), uint8.
        ground: how far the camera has come, (clips, latent frames, `GROUND`): cosine and sine of its way along x and
            then y, the background repeating itself each turn, and its zoom in the world's widest.
        tone: how much of each spot of the background has its second tone, seen or not, (clips, latent frames, height
            and width in tokens, spots), uint8.
        things: (clips,) uint8, how many it shows.
        window: (clips, 2, 2), the lowest and the highest (y, x), in tokens, at which a window of `WINDOW` tokens holds
            the first frame's first thing whole.
    """

    looks: Tensor
    motion: Tensor
    centre: Tensor
    outline: Tensor
    ground: Tensor
    tone: Tensor
    things: Tensor
    window: Tensor


def known(scenes: Sequence[Scene]) -> Known:
    """What scenes of one size and length show."""
    told = (_looks, _motion, _centres, _outline, _ground, _tone, _things, _window)
    return Known(*(torch.from_numpy(np.ascontiguousarray([tell(scene) for scene in scenes])) for tell in told))


def cut_windows(values: Tensor, windows: Tensor, size: tuple[int, int]) -> Tensor:
    """Of each of (batch, frames, height, width, ...) the window of size (height, width) that begins at its (y, x)."""
    rows, columns = (
        windows[:, axis, None] + torch.arange(side, device=values.device) for axis, side in enumerate(size)
    )
    index = torch.arange(len(values), device=values.device)[:, None, None]
    return torch.movedim(values[index, :, rows[:, :, None], columns[:, None, :]], 3, 1)


def _sides(scene: Scene) -> tuple[int, int]:
    """Indices of the leftmost and the rightmost thing; a bar that others pass behind is none."""
    own = [index for index, thing in enumerate(scene.things) if thing.kind != OCCLUDER]
    own.sort(key=lambda index: scene.things[index].motion.start[0])
    return own[0], own[-1]


def _latent(values: np.ndarray) -> np.ndarray:
    """(frames, ...) -> (latent frames, ...)."""
    if len(values) == 1:
        return values
    return np.concatenate([values[:1], reduce(values[1:], "(t f) ... -> t ...", "mean", f=4)])


def _looks(scene: Scene) -> np.ndarray:
    by_frame = np.stack([_words(scene, index) for index in _sides(scene)], axis=1)
    return np.rint(255 * _latent(by_frame.astype(np.float32))).astype(np.uint8)


def _words(scene: Scene, index: int) -> np.ndarray:
    """Which of `LOOKS` hold of a thing, (frames, words)."""
    thing: Thing = scene.things[index]
    said = np.array([[word in (thing.kind, thing.size, color) for word in LOOKS] for color in colors(scene, index)])
    broken = broken_at(scene, index)
    if broken is not None:
        said[broken:, LOOKS.index(BROKEN)] = True
    return said


def _motion(scene: Scene) -> np.ndarray:
    top = SPEED_PER_SECOND[1] * min(scene.width, scene.height) / scene.fps
    path = on_screen(scene)[0][list(_sides(scene))]
    offset, zoom = camera_at(scene)
    steps = np.diff(path, axis=1) if scene.frames > 1 else np.zeros_like(path)
    # The first frame goes on as the second does.
    pace = _latent(np.concatenate([steps[:, :1], steps], axis=1)[:, : scene.frames].swapaxes(0, 1) / top)
    pan = (offset[-1] - offset[0]) / max(scene.frames - 1, 1) / top
    camera = np.array([*pan, np.log(zoom[-1]) / np.log(ZOOM[1])])
    return np.concatenate([pace, np.broadcast_to(camera, (*pace.shape[:2], 3))], axis=-1).astype(np.float32)


def _centres(scene: Scene) -> np.ndarray:
    path = on_screen(scene)[0][list(_sides(scene))].swapaxes(0, 1)
    return _latent(path / np.asarray([scene.width, scene.height]) * 2 - 1).astype(np.float32)


def _outline(scene: Scene) -> np.ndarray:
    return _spots(coverage(scene), OUTLINE_SIDE)


def _spots(shares: np.ndarray, side: int) -> np.ndarray:
    """Means of (frames, height, width) in 0..1 over side x side spots of each token, uint8."""
    height, width = (pixels // TOKEN_SIDE for pixels in shares.shape[1:])
    spots = reduce(shares, "t (h p r) (w q s) -> t h w (p q)", "mean", h=height, w=width, p=side, q=side)
    return np.rint(_latent(spots) * 255).astype(np.uint8)


def _ground(scene: Scene) -> np.ndarray:
    offset, zoom = camera_at(scene)
    turn = 2 * np.pi * offset / (2 * PERIOD * min(scene.width, scene.height))
    told = [
        np.cos(turn[:, 0]),
        np.sin(turn[:, 0]),
        np.cos(turn[:, 1]),
        np.sin(turn[:, 1]),
        np.log(zoom) / np.log(ZOOM[1]),
    ]
    return _latent(np.stack(told, axis=1)).astype(np.float32)


def _tone(scene: Scene) -> np.ndarray:
    return _spots(tones(scene), TONE_SIDE)


def _things(scene: Scene) -> np.ndarray:
    return np.asarray(len(scene.things), np.uint8)


def _window(scene: Scene) -> np.ndarray:
    paths, radii = on_screen(scene)
    middle, radius = paths[0, 0, ::-1], radii[0, 0]
    most = np.maximum(np.array([scene.height, scene.width]) // TOKEN_SIDE - WINDOW, 0)
    low = np.clip(np.ceil((middle + radius) / TOKEN_SIDE) - WINDOW, 0, most)
    high = np.clip(np.floor((middle - radius) / TOKEN_SIDE), low, most)
    return np.stack([low, high]).astype(np.int64)
