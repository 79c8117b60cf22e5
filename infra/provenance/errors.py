"""What can go wrong with provenance. No message holds a key, a signature or what an operator's own code said."""

from __future__ import annotations


class ProvenanceError(Exception):
    """Any fault of signing, checking or marking."""


class SigningFailed(ProvenanceError):
    """No manifest was made: the signer cannot be used, or the file cannot be signed. The file is as it was."""


class Invalid(ProvenanceError):
    """A file whose manifest does not hold: changed since it was signed, or never signed as was promised.

    `codes` are the C2PA status codes of what failed.
    """

    def __init__(self, message: str, codes: tuple[str, ...] = ()) -> None:
        super().__init__(message, codes)
        self.message = message
        self.codes = codes

    def __str__(self) -> str:
        return self.message


class MarkingFailed(ProvenanceError):
    """The watermark's function cannot be used, failed, or gave back something that is not the same film."""
