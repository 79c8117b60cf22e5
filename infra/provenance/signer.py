"""Who signs: a test certificate of this process, or the operator's own signer by call-back.

An operator's function (`provenance.signer = module:function`) is called without arguments and returns an object with
`certificates` (PEM, the signing certificate first), `algorithm` (es256, es384, es512, ps256, ps384, ps512, ed25519),
`sign(data: bytes) -> bytes`, and perhaps `timestamp_url` (RFC 3161). The key may be in an HSM or behind a service:
rushes never asks for it. Signing is done in the process of the command, never in a Ray worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from infra.hooks import function_of
from infra.provenance.errors import SigningFailed

if TYPE_CHECKING:
    import c2pa

ALGORITHMS = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")
_HALF = {"es256": 32, "es384": 48, "es512": 66}  # bytes of r, and of s


class Signer(Protocol):
    """What signs a claim."""

    certificates: str
    algorithm: str

    def sign(self, data: bytes) -> bytes: ...


class Claim:
    """One use of a signer by the C2PA library, which swallows what a call-back raises: `failed` keeps its kind."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.failed: str | None = None

    def native(self) -> c2pa.Signer:
        """The library's own signer."""
        import c2pa

        algorithm = getattr(c2pa.C2paSigningAlg, self._signer.algorithm.upper())
        timestamp = getattr(self._signer, "timestamp_url", None)
        return c2pa.Signer.from_callback(self._sign, algorithm, self._signer.certificates, timestamp)

    def _sign(self, data: bytes) -> bytes:
        try:
            made = bytes(self._signer.sign(data))
            half = _HALF.get(self._signer.algorithm)
            if half is not None and len(made) != 2 * half:  # in ASN.1, as most libraries and HSMs give it
                from infra.provenance.certificates import raw_signature

                made = raw_signature(made, half)
        except Exception as error:  # told by kind alone: its words may hold what nobody should read
            self.failed = type(error).__name__
            return b""
        return made


def signer_of(path: str | None) -> Signer:
    """The operator's signer, or that of the test certificate where the settings name none. Raises SigningFailed."""
    if path is None:
        from infra.provenance.certificates import process_chain

        return process_chain()
    make = function_of(path, "provenance.signer", SigningFailed, secret=True)
    try:
        signer: Any = make()
    except Exception as error:
        raise SigningFailed(f"provenance.signer = {path}: it raised {type(error).__name__}") from None
    certificates, algorithm = getattr(signer, "certificates", None), getattr(signer, "algorithm", None)
    if not isinstance(certificates, str) or "BEGIN CERTIFICATE" not in certificates:
        raise SigningFailed(f"provenance.signer = {path}: `certificates` is not a chain in PEM")
    if "PRIVATE KEY" in certificates:
        raise SigningFailed(f"provenance.signer = {path}: `certificates` holds a private key; give certificates alone")
    if algorithm not in ALGORITHMS or not callable(getattr(signer, "sign", None)):
        raise SigningFailed(f"provenance.signer = {path}: needs `sign`, and `algorithm` out of {', '.join(ALGORITHMS)}")
    found: Signer = signer
    return found


def is_test(signer: Signer) -> bool:
    """Whether this is the test certificate, which proves no identity."""
    return getattr(signer, "is_test", False) is True
