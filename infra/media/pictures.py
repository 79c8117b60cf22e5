"""Small pictures for people: a take's poster and a job's contact sheet."""

from __future__ import annotations

import bisect
import io
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

from infra.media.shape import Frames, check_frames, to_eight_bit

_POSTER_QUALITY = 85
_MARGIN = 8
_LABEL_SIZE = 12
_LABEL_HEIGHT = 20
_BACKGROUND = (24, 24, 27)
_EMPTY = (63, 63, 70)
_INK = (228, 228, 231)


def poster(frames: Frames, *, longest: int = 256) -> bytes:
    """The middle frame of (frames, height, width, 3) as a JPEG whose longer side is at most `longest` pixels."""
    check_frames(frames)
    picture = Image.fromarray(to_eight_bit(frames[len(frames) // 2]))
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return _saved(picture, "JPEG", quality=_POSTER_QUALITY, optimize=True)


def contact_sheet(
    tiles: Sequence[tuple[str, bytes | None]], *, columns: int | None = None, tile: tuple[int, int] | None = None
) -> bytes:
    """One PNG with a labelled picture for each (label, poster); a grey box where the poster is None or unreadable.

    `tile` is the (width, height) that a picture is fitted into. By default there are up to eight columns, and the
    tiles are smaller where there are hundreds. ValueError without tiles.
    """
    if not tiles:
        raise ValueError("a contact sheet needs at least one tile")
    columns = columns or min(8, math.ceil(math.sqrt(len(tiles))))
    width, height = tile or ((192, 144) if len(tiles) <= 200 else (128, 96))
    rows = math.ceil(len(tiles) / columns)
    step_x, step_y = width + _MARGIN, height + _LABEL_HEIGHT + _MARGIN
    sheet = Image.new("RGB", (columns * step_x + _MARGIN, rows * step_y + _MARGIN), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_LABEL_SIZE)  # comes with Pillow: no font of the machine is needed
    for number, (label, data) in enumerate(tiles):
        row, column = divmod(number, columns)
        left, top = _MARGIN + column * step_x, _MARGIN + row * step_y
        picture = _opened(data, (width, height))
        if picture is None:
            draw.rectangle((left, top, left + width - 1, top + height - 1), fill=_EMPTY)
        else:
            sheet.paste(picture, (left + (width - picture.width) // 2, top + (height - picture.height) // 2))
        draw.text((left, top + height + 3), _shortened(label, width, font), fill=_INK, font=font)
    return _saved(sheet, "PNG", optimize=False)


def _opened(data: bytes | None, box: tuple[int, int]) -> Image.Image | None:
    if data is None:
        return None
    try:
        with Image.open(io.BytesIO(data)) as stored:
            stored.draft("RGB", box)  # a large JPEG is decoded at a fraction of its size
            return ImageOps.contain(stored.convert("RGB"), box, Image.Resampling.LANCZOS)
    except (OSError, Image.DecompressionBombError):
        return None


def _shortened(label: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The label, or as much of its two ends as fits: shots of a show often differ in their last letters only."""
    label = " ".join(label.split())
    if font.getlength(label) <= width:
        return label

    def needed(kept: int) -> int:
        return math.ceil(font.getlength(_ends(label, kept)))

    fitting = bisect.bisect_right(range(1, len(label)), width, key=needed)
    return _ends(label, max(1, fitting))


def _ends(label: str, kept: int) -> str:
    tail = kept // 2
    return f"{label[: kept - tail]}…{label[len(label) - tail :]}"


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()
