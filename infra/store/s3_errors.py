"""Every error of s3fs, botocore and aiohttp as one of the store's own."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from infra.store.errors import DISK_FULL, NotFound, OutcomeUnknown, StoreError, StoreRefused, StoreUnavailable

log = logging.getLogger(__name__)

_CHECKSUM = {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
_PASSING = {"ExpiredToken", "RequestTimeTooSkewed", "TokenRefreshRequired", "RequestTimeout", "SlowDown", "Throttling"}
_KEYS = "check the keys: store.access_key_id and store.secret_access_key, or the usual AWS places"


class PreconditionFailed(StoreError):
    """412: the condition of a conditional put did not hold."""


class BadChecksum(StoreUnavailable):
    """The server found other bytes than the checksum says."""


@contextlib.contextmanager
def mapped(method: str, path: str, *, writes: bool = False) -> Iterator[None]:
    """Turn whatever a request raises into a StoreError.

    StoreUnavailable is worth another attempt; for a request that `writes` it is OutcomeUnknown.
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        translated = _translate(error, f"{method} {path}", writes)
        if translated is None:  # a mistake of ours, or this machine's disk, and not an answer
            raise
        raise translated from error


def _translate(error: Exception, what: str, writes: bool) -> StoreError | None:
    response = _response(error)
    if response is not None:
        return _translate_answer(response, what, writes)
    from aiohttp import ClientError
    from botocore import exceptions as aws
    from botocore.parsers import ResponseParserError

    passing = (
        aws.HTTPClientError,
        aws.ConnectionError,
        aws.IncompleteReadError,
        aws.ResponseStreamingError,
        aws.FlexibleChecksumError,  # other bytes came than the server sent
        aws.CredentialRetrievalError,
        aws.MetadataRetrievalError,
        ResponseParserError,  # an error page that is no XML, from a proxy or a server under load
        ClientError,
        OSError,  # resets and time-outs; fsspec's own time-out too
        EOFError,
    )
    if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError):
        return StoreRefused(f"{what}: no complete S3 keys were found; {_KEYS}")
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return None  # the file that a read goes into
    if isinstance(error, passing):
        # aiobotocore says "could not connect" of a reset in mid-request too, so no error proves that nothing was sent.
        kind = OutcomeUnknown if writes else StoreUnavailable
        return kind(f"{what}: {type(error).__name__}: {error}")
    if isinstance(error, aws.BotoCoreError):
        return StoreRefused(f"{what}: {error}")
    return None


def _translate_answer(response: dict[str, Any], what: str, writes: bool) -> StoreError:
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(response.get("Error", {}).get("Code", ""))
    said = f"{what}: {status} {code}: {response.get('Error', {}).get('Message', '')}"
    if code == "NoSuchBucket":
        return StoreRefused(f"{said}; make the bucket first")
    if status == 404:
        return NotFound(said)
    if status == 412 or code == "PreconditionFailed":
        return PreconditionFailed(said)
    if code in _CHECKSUM:
        return BadChecksum(said)
    if status == 411:
        return StoreRefused(f'{said}; this server takes no checksum trailers: set store.checksums = "when_required"')
    if status == 409 or status == 429 or status >= 500 or code in _PASSING:
        # 500 and above may come after the write was done, 501 before anything.
        if status == 501:
            return StoreRefused(f"{said}; this server lacks something the store needs")
        return OutcomeUnknown(said) if writes else StoreUnavailable(said)
    if status in (401, 403):
        return StoreRefused(f"{said}; {_KEYS}, and what they may do")
    return StoreRefused(said)


def _response(error: BaseException) -> dict[str, Any] | None:
    """The server's answer, which s3fs hides behind the OSErrors that it makes of it."""
    for place in (error, error.__cause__):
        response = getattr(place, "response", None)
        if isinstance(response, dict):
            return response
    return None
