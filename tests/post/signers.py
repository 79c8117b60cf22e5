"""Signers that an operator could have written, for the tests; each is named in the settings as module:function."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from infra.provenance.certificates import EphemeralChain

SECRET = "pin-0000-of-the-hsm"
_chain = EphemeralChain()


class House:
    """Signs in ASN.1, as an HSM does."""

    certificates = _chain.certificates
    algorithm = "es256"

    def sign(self, data: bytes) -> bytes:
        return _chain._key.sign(data, ec.ECDSA(hashes.SHA256()))


class Broken(House):
    def sign(self, data: bytes) -> bytes:
        raise RuntimeError(f"the HSM refused {SECRET}")


def house() -> House:
    return House()


def broken() -> Broken:
    return Broken()


def leaky() -> object:
    raise RuntimeError(f"cannot log in with {SECRET}")


def with_key() -> object:
    signer = House()
    signer.certificates += "-----BEGIN PRIVATE KEY-----\nMIG\n-----END PRIVATE KEY-----\n"
    return signer


def root() -> str:
    """The authority's certificate, in PEM."""
    return "-----BEGIN CERTIFICATE-----" + _chain.certificates.split("-----BEGIN CERTIFICATE-----")[2]
