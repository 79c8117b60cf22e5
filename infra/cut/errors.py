"""What can be wrong with a cut before anything of it is made, or with a film that was made of it."""

from __future__ import annotations


class CutError(Exception):
    """A cut that cannot be made as it was asked for.

    Attributes:
        hint: what people can do about it, where there is something.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class BadTimeline(CutError):
    """A timeline that cannot be read, or asks for what no film can be."""


class TakeMissing(CutError):
    """A timeline names a take, or a selection a shot, that the store does not have."""


class BadAudio(CutError):
    """A sound file that cannot be read, holds no sound, or cannot be brought to the loudness that was asked for."""


class FilmDiffers(CutError):
    """A film that was made, and is not what the timeline adds up to. Nothing of it goes into the store."""
