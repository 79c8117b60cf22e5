"""Pictures and films of the samples: how they are drawn, and how they are written without loss."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

BLUE, GRAY, RED = (50, 90, 220), (120, 120, 120), (220, 40, 40)
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def square(across: float, side: int = 128) -> np.ndarray:
    """A blue square on gray, `across` of the way from left to right; (side, side, 3) uint8."""
    half, centre = 0.16 * side, (across * side, 0.5 * side)
    x, y = np.meshgrid(np.arange(side) + 0.5 - centre[0], np.arange(side) + 0.5 - centre[1])
    cover = np.clip(half - np.maximum(np.abs(x), np.abs(y)) + 0.5, 0.0, 1.0)[..., None]
    return np.rint(np.asarray(GRAY) + cover * (np.asarray(BLUE) - np.asarray(GRAY))).astype(np.uint8)


def pair(side: int = 128) -> np.ndarray:
    """A blue square on the left of gray, and a red circle at the top of its right half; (side, side, 3) uint8."""
    picture = square(0.25, side).astype(np.float64)
    y, x = np.mgrid[:side, :side] + 0.5
    away = np.hypot(x - 0.75 * side, y - 0.2 * side)
    cover = np.clip(0.16 * side - away + 0.5, 0.0, 1.0)[..., None]
    return np.rint(picture + cover * (np.asarray(RED) - picture)).astype(np.uint8)


def travelling(
    frames: int, *, first: float = 0.22, step: float = 0.02, across: float = 0.36, side: int = 128
) -> np.ndarray:
    """A red circle on black, `across` of the width, that moves right by `step` of it each frame.

    Returns:
        (frames, side, side, 3) uint8.
    """
    film = np.empty((frames, side, side, 3), np.uint8)
    y, x = np.mgrid[:side, :side] + 0.5
    for number in range(frames):
        away = np.hypot(x - (first + step * number) * side, y - 0.5 * side)
        cover = np.clip(0.5 * across * side - away + 0.5, 0.0, 1.0)[..., None]
        film[number] = np.rint(cover * np.asarray(RED))
    return film


def png(picture: np.ndarray) -> bytes:
    """A PNG file of an (h, w, 3) uint8 picture."""
    height, width, _ = picture.shape
    body = _chunk(b"IDAT", _packed(picture))
    return _SIGNATURE + _header(width, height) + body + _chunk(b"IEND", b"")


def animation(film: np.ndarray, *, fps: int) -> bytes:
    """An animated PNG file of (frames, h, w, 3) uint8; of each frame only what differs from the one before."""
    count, height, width, _ = film.shape
    parts = [_SIGNATURE, _header(width, height), _chunk(b"acTL", struct.pack(">II", count, 0))]
    number = 0
    for place, (top, left, piece) in enumerate(_changes(film)):
        control = struct.pack(">IIIIIHHBB", number, piece.shape[1], piece.shape[0], left, top, 1, fps, 0, 0)
        parts.append(_chunk(b"fcTL", control))
        number += 1
        if place == 0:
            parts.append(_chunk(b"IDAT", _packed(piece)))
        else:
            parts.append(_chunk(b"fdAT", struct.pack(">I", number) + _packed(piece)))
            number += 1
    return b"".join([*parts, _chunk(b"IEND", b"")])


def _changes(film: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Top, left and pixels of the rectangle of each frame that changes; the first is whole, none is empty."""
    yield 0, 0, film[0]
    for before, frame in pairwise(film):
        rows, columns = np.nonzero((before != frame).any(axis=2))
        top, left = (int(rows.min()), int(columns.min())) if len(rows) else (0, 0)
        bottom, right = (int(rows.max()) + 1, int(columns.max()) + 1) if len(rows) else (1, 1)
        yield top, left, frame[top:bottom, left:right]


def _header(width: int, height: int) -> bytes:
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _packed(picture: np.ndarray) -> bytes:
    """The lines of a picture, compressed."""
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in picture), 9)
