"""What can go wrong with media. Every error survives pickling, so that it can cross from a worker to the driver."""

from __future__ import annotations


class MediaError(Exception):
    """Any fault of encoding, probing or comparing a film or a still."""


class BadFrames(MediaError, ValueError):
    """The frames cannot be encoded as they are: wrong type, wrong shape, odd size."""


class UpscalerFailed(MediaError):
    """An upscaler that is not there, raises, or gives something other than the frames that it was asked for."""


class FfmpegMissing(MediaError):
    """No usable ffmpeg program on this machine."""


class EncodeError(MediaError):
    """ffmpeg failed, was killed, or took too long; nothing was left at the destination.

    `returncode` is ffmpeg's (negative: ended by that signal), None when it was stopped for taking too long.
    `stderr` holds its last lines.
    """

    def __init__(self, message: str, returncode: int | None = None, stderr: str = "") -> None:
        super().__init__(message, returncode, stderr)
        self.message = message
        self.returncode = returncode
        self.stderr = stderr

    @property
    def no_space(self) -> bool:
        """Whether the disk was full: the machine's fault, not the film's."""
        return "No space left on device" in self.stderr

    def __str__(self) -> str:
        return f"{self.message}\n{self.stderr}".rstrip()


class Unplayable(MediaError):
    """A file that is no film or still, or one that breaks off or does not decode."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path} does not play: {self.reason}"


class MediaMismatch(MediaError):
    """A file that plays but is not what was ordered."""

    def __init__(self, field: str, found: object, wanted: object) -> None:
        super().__init__(field, found, wanted)
        self.field = field
        self.found = found
        self.wanted = wanted

    def __str__(self) -> str:
        return f"{self.field} is {self.found}, wanted {self.wanted}"
