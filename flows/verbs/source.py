"""The catalog that a job is made from: where it is, its bytes, and the name that it gives to the job."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from flows.verbs.request import shot_bytes

if TYPE_CHECKING:
    from catalogs.sources import Source
    from infra.settings import Settings
    from infra.store import StoreOptions

log = logging.getLogger("rushes.plan")
_NOT_ID = re.compile(r"[^A-Za-z0-9._-]+")
_HASH_CHARACTERS = 12
_ESCAPED = ("file://", "http://", "https://")


@contextmanager
def catalog_file(catalog: str | None, shot: Mapping[str, Any] | None) -> Iterator[str]:
    """The URL of the catalog; a shot is written to a file of its own for as long as it is read."""
    if catalog is not None:
        yield catalog
        return
    with tempfile.TemporaryDirectory(prefix="rushes-") as folder:
        path = Path(folder) / "prompt.jsonl"
        path.write_bytes(shot_bytes(shot or {}))
        yield str(path)


@contextmanager
def opened(url: str, storage_options: Mapping[str, Any] | None = None) -> Iterator[tuple[Source, str]]:
    """A catalog's file and the SHA-256 of its bytes, as hex digits. A remote one is fetched once, and gone afterwards.

    Raises:
        CatalogError: it cannot be read.
    """
    from catalogs import CatalogError
    from catalogs.sources import open_source

    source = open_source(url, storage_options)
    try:
        try:
            with source.path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise CatalogError(f"the catalog {source.shown} cannot be read: {error.strerror or error}") from error
        yield source, digest
    finally:
        source.close()


def storage_options(url: str, options: StoreOptions) -> dict[str, Any] | None:
    """Options of fsspec for a catalog at `url`: those of the store, where that is S3; else fsspec's own places.

    Holds secrets: never log it.
    """
    if not url.startswith(("s3://", "s3a://")):
        return None
    from infra.store.options import secret

    style = options.addressing_style
    found: dict[str, Any] = {
        "key": secret(options.access_key_id),
        "secret": secret(options.secret_access_key),
        "token": secret(options.session_token),
        "endpoint_url": options.endpoint_url,
        "profile": options.profile,
        "client_kwargs": {"region_name": options.region} if options.region else None,
        "anon": options.anonymous or None,
        "config_kwargs": None if style == "auto" else {"s3": {"addressing_style": style}},
    }
    return {key: value for key, value in found.items() if value is not None}


def job_id_of(catalog: str, digest: str, options: Mapping[str, Any], *, part: str = "") -> str:
    """`<stem>-<12 hex>`, over the catalog's bytes and the options that enter a spec_key; `<stem>-<part>-<12 hex>`.

    Args:
        catalog: path or URL; its stem is cleaned to the letters that a job's name may have.
        digest: SHA-256 of the catalog's bytes.
        options: what else changes the pictures; must be JSON.
        part: which part of the catalog's work this is, in a word.
    """
    path = urlsplit(catalog).path if "://" in catalog else catalog
    if catalog.startswith(_ESCAPED):  # one file has one name, however its URL is written; keys of a bucket are literal
        path = unquote(path)
    name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    stem = _NOT_ID.sub("-", Path(name).stem)
    more = f"-{part}" if part else ""
    stem = (stem.strip("-._")[: 127 - _HASH_CHARACTERS - len(more)] or "catalog") + more
    text = json.dumps([digest, options], sort_keys=True, separators=(",", ":"))
    return f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARACTERS]}"


def input_digests(roots: Sequence[str], settings: Settings) -> Callable[[str], str | None]:
    """Digest of an input, or None for one that cannot be read now: its take asks again, and fails with a reason."""
    from infra.input_errors import InputUnreadable
    from infra.inputs import digest_input
    from infra.store.errors import StoreUnavailable

    def digest(uri: str) -> str | None:
        try:
            return digest_input(
                uri,
                roots=roots,
                max_bytes=settings.farm.input_bytes,
                storage_options=settings.store,
                timeout_s=settings.farm.input_timeout_s,
            )
        except (InputUnreadable, StoreUnavailable) as error:
            log.info("an input cannot be read now: %s", error)
            return None

    return digest
