"""Signing a finished file, and telling whether one is still what was signed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from infra.media.files import appears_whole
from infra.provenance.errors import Invalid, SigningFailed
from infra.provenance.signer import Claim, Signer

if TYPE_CHECKING:
    import c2pa

# Containers that carry a manifest inside, and that players then still play.
EMBEDDED: Final = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".m4a": "audio/mp4",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
}
_ANYTHING: Final = "application/octet-stream"
_SOUND: Final = ("Valid", "Trusted")


class Ingredient(NamedTuple):
    """A source of the file: its definition, and the file itself, with or without a manifest inside."""

    definition: Mapping[str, Any]
    path: Path


class Validation(NamedTuple):
    """What a reader finds of a file.

    state: Valid (as it was signed), Trusted (and by a certificate below a trusted one), or Invalid; None without a
        manifest. codes: the C2PA status codes of what failed. active: the manifest's name. store: all that was read.
    """

    state: str | None
    codes: tuple[str, ...]
    active: str | None
    store: Mapping[str, Any]

    @property
    def sound(self) -> bool:
        """Whether the file is byte for byte what was signed."""
        return self.state in _SOUND

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The active manifest."""
        found: Mapping[str, Any] = self.store.get("manifests", {}).get(self.active, {})
        return found

    @property
    def ingredients(self) -> list[Mapping[str, Any]]:
        """Its ingredients."""
        return list(self.manifest.get("ingredients", ()))


def mime_of(path: Path) -> str:
    """As which format a manifest is bound to the file; application/octet-stream for all that cannot hold one."""
    return EMBEDDED.get(path.suffix.lower(), _ANYTHING)


def embed(path: Path, manifest: Mapping[str, Any], ingredients: Sequence[Ingredient], signer: Signer) -> None:
    """Signs the file in place: afterwards it holds the manifest. It is replaced whole or left as it was.

    Raises SigningFailed.
    """
    with appears_whole(path) as partial, _signing(path, signer) as claim:
        builder = _builder(manifest, ingredients)
        with path.open("rb") as source, partial.open("w+b") as target:
            builder.sign(claim.native(), mime_of(path), source, target)


def detach(path: Path, manifest: Mapping[str, Any], ingredients: Sequence[Ingredient], signer: Signer) -> bytes:
    """A manifest that is bound to the file's bytes and stands beside it. Raises SigningFailed."""
    with _signing(path, signer) as claim:
        builder = _builder(manifest, ingredients)
        builder.set_no_embed()
        with path.open("rb") as source:
            return bytes(builder.sign(claim.native(), mime_of(path), source, io.BytesIO()))
    raise AssertionError("not reached")


def validate(path: Path, *, detached: bytes | None = None, trust_anchors: str | None = None) -> Validation:
    """Reads the manifest, in the file or beside it, and compares it with the file's bytes. Nothing is fetched.

    `trust_anchors` are certificates in PEM below which a signer is trusted. What cannot be read at all has state None.
    """
    import c2pa

    try:
        with path.open("rb") as source:
            reader = c2pa.Reader(mime_of(path), source, detached, _context(trust_anchors))
            store, state = json.loads(reader.json()), reader.get_validation_state()
            results = reader.get_validation_results() or {}
    except c2pa.C2paError.ManifestNotFound:
        return Validation(None, (), None, {})
    except c2pa.C2paError as error:
        return Validation("Invalid", (type(error).__name__.removeprefix("_C2pa"),), None, {})
    failed = (results.get("activeManifest") or {}).get("failure") or ()
    deltas = (found.get("validationDeltas") or {} for found in results.get("ingredientDeltas") or ())
    failed = [*failed, *(failure for delta in deltas for failure in delta.get("failure") or ())]
    codes = tuple(dict.fromkeys(str(failure["code"]) for failure in failed))
    return Validation(state, codes, store.get("active_manifest"), store)


def require_sound(path: Path, *, detached: bytes | None = None, trust_anchors: str | None = None) -> Validation:
    """As `validate`. Raises Invalid for a file that has no manifest, or is not what was signed."""
    found = validate(path, detached=detached, trust_anchors=trust_anchors)
    if found.state is None:
        raise Invalid(f"{path.name} carries no C2PA manifest: it was never signed, or re-encoded since", ("none",))
    if not found.sound:
        raise Invalid(f"{path.name} is not what was signed ({', '.join(found.codes) or found.state})", found.codes)
    return found


def _builder(manifest: Mapping[str, Any], ingredients: Sequence[Ingredient]) -> c2pa.Builder:
    import c2pa

    builder = c2pa.Builder.from_json(dict(manifest), _context(None))
    for found in ingredients:
        with found.path.open("rb") as source:
            builder.add_ingredient(dict(found.definition), mime_of(found.path), source)
    return builder


@contextmanager
def _signing(path: Path, signer: Signer) -> Iterator[Claim]:
    import c2pa

    claim = Claim(signer)
    try:
        yield claim
    except c2pa.C2paError as error:
        if claim.failed is not None:
            raise SigningFailed(f"{path.name}: the signer raised {claim.failed}") from None
        # The library's words speak of files and formats; a signer's own never get there.
        raise SigningFailed(f"{path.name} cannot be signed: {error}") from None


def _context(trust_anchors: str | None) -> c2pa.Context:
    import c2pa

    settings: dict[str, Any] = {
        "builder": {"thumbnail": {"enabled": False}},
        # Never a request to the network, whatever a file asks for. What was signed is read back by `require_sound`.
        "verify": {
            "verify_after_sign": False,
            "verify_trust": trust_anchors is not None,
            "remote_manifest_fetch": False,
            "ocsp_fetch": False,
        },
    }
    if trust_anchors is not None:
        settings["trust"] = {"trust_anchors": trust_anchors}
    return c2pa.Context.from_dict(settings)
