"""Images on their way into the model: decoded with limits, turned upright, flattened, scaled and cropped."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 100_000_000
"""Pixels of an image that is still decoded: a small file can unpack to more memory than the machine has."""
BACKGROUND = (255, 255, 255)
"""What shows through transparent parts."""


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The first picture in the bytes of an image file, upright and without transparency: (height, width, 3), uint8.

    Raises:
        InputError: not an image that pillow reads, truncated, or of more than `max_pixels`.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Our own limit below is stricter or wider by choice; pillow's warning would only repeat it.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > max_pixels:
                    raise InputError(
                        f"the image is {image.width}x{image.height}; the limit is {max_pixels / 1e6:g} megapixels"
                    )
                image.load()
                return np.asarray(_flatten(ImageOps.exif_transpose(image)))
    except InputError:
        raise
    except UnidentifiedImageError as error:
        kinds = "of no kind that is known, such as PNG, JPEG or WebP"
        raise InputError(f"not a readable image ({len(data)} bytes): {kinds}") from error
    except Exception as error:  # pillow's plugins raise whatever their formats make them stumble over
        raise InputError(f"not a readable image ({len(data)} bytes): {type(error).__name__}: {error}") from error


def _flatten(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode.startswith(("I", "F")):  # 16 and 32 bits a channel: pillow would clip, not scale
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if image.mode.startswith("I") else 1.0
        return Image.fromarray((np.clip(values / top, 0, 1) * 255 + 0.5).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        below = Image.new("RGBA", layer.size, (*BACKGROUND, 255))
        return Image.alpha_composite(below, layer).convert("RGB")
    return image.convert("RGB")


def cover(image: NDArray[Any], width: int, height: int) -> NDArray[np.uint8]:
    """`image` scaled so that it covers `width` x `height`, and cropped about its centre: (height, width, 3).

    Args:
        image: uint8, (h, w, 3). One of the right size comes back unchanged.

    Raises:
        InputError: another shape or type.
    """
    from PIL import Image

    found = np.asarray(image)
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[2] != 3 or 0 in found.shape:
        raise InputError(f"an image is uint8 of shape (height, width, 3), not {found.dtype} {found.shape}")
    if width < 1 or height < 1:
        raise InputError(f"an image cannot be fitted to {width}x{height}")
    own_height, own_width = found.shape[:2]
    if (own_width, own_height) == (width, height):
        return found
    scale = max(width / own_width, height / own_height)
    # The part of the image that is seen, in its own pixels; scaling and cropping in one go loses nothing to rounding.
    seen_width, seen_height = width / scale, height / scale
    left, top = (own_width - seen_width) / 2, (own_height - seen_height) / 2
    box = (max(left, 0.0), max(top, 0.0), min(left + seen_width, own_width), min(top + seen_height, own_height))
    fitted = Image.fromarray(found).resize((width, height), Image.Resampling.LANCZOS, box=box)
    return np.asarray(fitted)
