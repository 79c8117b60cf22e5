"""A certificate chain for one process: an authority and one signing certificate below it, made anew each time.

They prove that a file is as it was when it was signed. They prove nothing about who signed it, and say so in their
names. The keys live in this process's memory alone and are never written anywhere.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ORGANIZATION = "rushes TEST certificate, proves no identity"
# A file without a time stamp is judged by today's date: a short life would turn archives invalid.
_LIFE = timedelta(days=3650)
_SLOW_CLOCKS = timedelta(hours=1)


class EphemeralChain:
    """Signs with ECDSA P-256 and SHA-256 (ES256), by a key that nobody else will ever have."""

    algorithm = "es256"
    timestamp_url: str | None = None
    is_test = True

    def __init__(self) -> None:
        authority, self._key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        self.certificates = _chain(authority, self._key)

    def __repr__(self) -> str:
        return "EphemeralChain()"

    def __reduce__(self) -> str:
        raise TypeError("a signing key does not leave its process")

    def sign(self, data: bytes) -> bytes:
        """The signature as C2PA wants it: r and s, 32 bytes each."""
        return raw_signature(self._key.sign(data, ec.ECDSA(hashes.SHA256())), 32)


@cache
def process_chain() -> EphemeralChain:
    """The chain of this process."""
    return EphemeralChain()


def raw_signature(der: bytes, size: int) -> bytes:
    """An ECDSA signature in ASN.1 as r and s of `size` bytes each. ValueError for what is none."""
    r, s = decode_dss_signature(der)
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def _chain(authority: ec.EllipticCurvePrivateKey, key: ec.EllipticCurvePrivateKey) -> str:
    """Signing certificate and authority in PEM, in this order, with the extensions that C2PA asks for."""
    above, below = _name("rushes TEST authority"), _name("rushes TEST signer")
    root = (
        _certificate(above, above, authority.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    )
    leaf = (
        _certificate(below, above, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
            critical=False,
        )
    )
    made = [builder.sign(authority, hashes.SHA256()) for builder in (leaf, root)]
    return "".join(found.public_bytes(serialization.Encoding.PEM).decode() for found in made)


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLOW_CLOCKS)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
