"""What can go wrong with a deliverable. Every error survives pickling."""

from __future__ import annotations

from infra.media.errors import MediaError


class DeliverError(MediaError):
    """Any fault of making or checking a deliverable."""


class BadProfiles(DeliverError, ValueError):
    """Profiles that cannot be used: nothing is started."""


class BadTemplate(DeliverError, ValueError):
    """A naming template that cannot be used: nothing is started."""


class BadCaptions(DeliverError, ValueError):
    """Captions that cannot be read or drawn."""


class BadAudio(DeliverError, ValueError):
    """Sound that cannot be read, or cannot be brought to the loudness that is asked for."""


class EncoderMissing(DeliverError):
    """The ffmpeg of this machine lacks an encoder: nothing is started."""


class Refused(DeliverError):
    """A finished file that differs from its profile; it is not kept. `field`, `found` and `wanted` say in what."""

    def __init__(self, field: str, found: object, wanted: object) -> None:
        super().__init__(field, found, wanted)
        self.field, self.found, self.wanted = field, found, wanted

    def __str__(self) -> str:
        return f"{self.field} is {self.found}, the profile wants {self.wanted}"
