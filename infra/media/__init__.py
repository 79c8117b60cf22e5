"""Films and stills: encoding by ffmpeg, probing by PyAV, and the small pictures that people look at.

    encode_film(frames, "a.mp4", fps=24)             # H.264 High, 4:2:0, 8 bit, BT.709 limited range, faststart
    expect(probe("a.mp4"), width=768, height=432, frames=49, fps=24)

Frames are arrays (frames, height, width, 3), RGB, full range, uint8 or uint16.
"""

from infra.media.errors import (
    BadFrames,
    EncodeError,
    FfmpegMissing,
    MediaError,
    MediaMismatch,
    Unplayable,
    UpscalerFailed,
)
from infra.media.ffmpeg import ffmpeg_path
from infra.media.film import encode_film
from infra.media.pictures import contact_sheet, poster
from infra.media.probe import MediaFacts, expect, probe
from infra.media.rate import as_rate
from infra.media.shape import fit
from infra.media.still import encode_still
from infra.media.upscale import of_aspect, upscale

__all__ = [
    "BadFrames",
    "EncodeError",
    "FfmpegMissing",
    "MediaError",
    "MediaFacts",
    "MediaMismatch",
    "Unplayable",
    "UpscalerFailed",
    "as_rate",
    "contact_sheet",
    "encode_film",
    "encode_still",
    "expect",
    "ffmpeg_path",
    "fit",
    "of_aspect",
    "poster",
    "probe",
    "upscale",
]
