"""An invisible watermark, by a function of the operator's, put into frames before the last encode. Off by default.

    settings: provenance.watermark = "house.marks:put"

    def put(frames, facts):      # (frames, height, width, 3), uint8, RGB of full range; facts as a sidecar tells a take
        return frames + ...      # the same shape and type

It is called with up to `FRAMES` frames at a time, in order; `facts["first_frame"]` says which is the first of them.
rushes brings no watermark of its own: one whose code everybody can read is taken out by everybody.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from infra.hooks import function_of
from infra.provenance.errors import MarkingFailed

if TYPE_CHECKING:
    from infra.provenance_settings import ProvenanceSettings

Frames = NDArray[np.uint8]
Hook = Callable[[Frames, Mapping[str, Any]], Frames]

FRAMES: Final = 32
VISIBLE_DB: Final = 34.0
"""Peak signal-to-noise ratio below which a mark counts as seen."""
_FINEST: Final = 1  # CRF of the marked film: an encode from it loses nothing that can be seen


def marked(
    film: Path,
    folder: Path,
    facts: Mapping[str, Any] | None,
    settings: ProvenanceSettings,
    *,
    ffmpeg: Path | None = None,
) -> Path:
    """The film itself where no watermark is set; else a marked copy of it in `folder`, to encode from.

    For takes: their frames are held on disk, not in memory. A film that has sound has none afterwards. Raises
    MarkingFailed; whoever asked for a mark gets nothing without one.
    """
    if settings.watermark is None:
        return film
    hook = function_of(settings.watermark, "provenance.watermark", MarkingFailed, secret=True)
    from infra.media import encode_film, encode_still
    from infra.media.probe import probe
    from infra.media.source import Source

    source, found = Source.open(film.read_bytes()), probe(film)
    target = folder / f"marked-{film.name}"
    with tempfile.TemporaryFile(dir=folder) as pixels:
        shape = (source.frames, found.height, found.width, 3)
        frames = np.memmap(pixels, np.uint8, "w+", shape=shape)
        first = 0
        for piece in _pieces(source.pictures(range(source.frames))):
            frames[first : first + len(piece)] = mark(piece, {**(facts or {}), "first_frame": first}, hook)
            first += len(piece)
        if found.fps is None:
            encode_still(np.asarray(frames[0]), target)
        else:
            encode_film(frames, target, fps=Fraction(found.fps), crf=_FINEST, ffmpeg=ffmpeg)
        del frames
    return target


def mark(frames: Frames, facts: Mapping[str, Any], hook: Hook) -> Frames:
    """The frames as the hook gives them back. Raises MarkingFailed unless they are the same film, to the eye."""
    try:
        made = hook(frames.copy(), facts)
    except Exception as error:  # told by kind alone: its words may hold the operator's key
        raise MarkingFailed(f"the watermark's function raised {type(error).__name__}") from None
    if not isinstance(made, np.ndarray) or made.shape != frames.shape or made.dtype != frames.dtype:
        told = f"{made.shape}, {made.dtype}" if isinstance(made, np.ndarray) else type(made).__name__
        raise MarkingFailed(f"the watermark's function gave back {told}, not {frames.shape}, {frames.dtype}")
    changed = float(np.square(made.astype(np.float32) - frames).mean())
    if changed > 255.0**2 / 10 ** (VISIBLE_DB / 10):
        ratio = 10 * np.log10(255.0**2 / changed)
        raise MarkingFailed(f"the watermark can be seen: {ratio:.1f} dB, at least {VISIBLE_DB:g} are asked for")
    return made


def _pieces(pictures: Iterator[Frames]) -> Iterator[Frames]:
    held: list[Frames] = []
    for picture in pictures:
        held.append(picture)
        if len(held) == FRAMES:
            yield np.stack(held)
            held = []
    if held:
        yield np.stack(held)
